/** Whether this process is awake: after a pause of its event loop, what has been received may be old. */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { longestMillis } from "./duration.js"

/** Answers a time of `performance.now()` since when everything that had come before has been read. */
export type Pulse = () => number

/** Beats six times in `minIdle` milliseconds. */
export const pulse = (minIdle: number): Effect.Effect<Pulse, never, Scope.Scope> =>
  Effect.map(
    Effect.acquireRelease(
      Effect.sync(() => {
        const state = { alive: -Infinity }
        const beat = () => {
          const now = performance.now()
          // Timers come before what sockets bring, and this after it: only then nothing older is to come.
          setImmediate(() => {
            state.alive = now
          })
        }
        const timer = setInterval(beat, Math.min(Math.max(minIdle / 6, 10), longestMillis))
        return { state, timer: timer.unref() }
      }),
      ({ timer }) => Effect.sync(() => clearInterval(timer))
    ),
    ({ state }) => () => state.alive
  )
