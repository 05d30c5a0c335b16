/**
 * What is seen while a scenario runs: a bar on a terminal, a line now and then elsewhere. All of it goes to standard error, so
 * that standard output holds the report alone.
 *
 * @since 0.1.0
 */
import { MultiBar } from "cli-progress"
import * as Effect from "effect/Effect"
import type { Scope } from "effect/Scope"

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
  process.stderr.isTTY ? bar(total, unit) : Effect.sync(() => plain(total, unit))

/**
 * Says nothing: for tests.
 *
 * @since 0.1.0
 * @category constructors
 */
export const silent: Progress = { update: () => {}, say: () => {} }

/**
 * One line for the user.
 *
 * @since 0.1.0
 * @category output
 */
export const say = (text: string): void => {
  process.stderr.write(`${text}\n`)
}

// internal

const bar = (total: number, unit: string): Effect.Effect<Progress, never, Scope> =>
  Effect.map(
    Effect.acquireRelease(
      Effect.sync(() => {
        const bars = new MultiBar({
          format: `{bar} {value}/{total} ${unit}  {note}`,
          barsize: 16,
          barCompleteChar: "█",
          barIncompleteChar: "░",
          hideCursor: true,
          linewrap: true,
          // Signals are our own business: there are servers to stop.
          gracefulExit: false
        })
        return { bars, bar: bars.create(total, 0, { note: "" }) }
      }),
      ({ bars }) => Effect.sync(() => bars.stop())
    ),
    ({ bar, bars }) => ({
      update: (done, note = "") => bar.update(Math.min(done, total), { note }),
      say: (text) => bars.log(`${text}\n`)
    })
  )

const plain = (total: number, unit: string): Progress => {
  const every = 5_000
  let last = performance.now()
  return {
    update: (done, note = "") => {
      if (performance.now() - last < every) return
      last = performance.now()
      say(`${done}/${total} ${unit}${note === "" ? "" : `, ${note}`}`)
    },
    say
  }
}
