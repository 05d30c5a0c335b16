/**
 * What is seen while a scenario runs: a bar on a terminal, a line now and then elsewhere.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import type { Scope } from "effect/Scope"
import * as Bar from "../terminal/Bar.js"

/**
 * @since 0.1.0
 * @category models
 */
export interface Progress {
  /** How many runs are done, and a word on how it goes. */
  readonly update: (done: number, note?: string | undefined) => void
  /** One line for the user. */
  readonly say: (text: string) => void
}

/**
 * @since 0.1.0
 * @category constructors
 */
export const make = (total: number, unit: string): Effect.Effect<Progress, never, Scope> =>
  Bar.isTerminal
    ? Effect.map(
      Bar.make(`{bar} {value}/{total} ${unit}  {note}`, total, { note: "" }),
      ({ say, update }) => ({ update: (done, note = "") => update(done, { note }), say })
    )
    : Effect.sync(() => {
      const sayNowAndThen = Bar.sayEvery(5_000)
      return {
        update: (done, note = "") => sayNowAndThen(() => `${done}/${total} ${unit}${note === "" ? "" : `, ${note}`}`),
        say: Bar.say
      }
    })

/**
 * Says nothing: for tests.
 *
 * @since 0.1.0
 * @category constructors
 */
export const silent: Progress = { update: () => {}, say: () => {} }
