/**
 * A bar on a terminal, on standard error, so that standard output holds the report alone.
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
export interface Bar<in Notes> {
  readonly update: (done: number, notes: Notes) => void
  /** One line above it. */
  readonly say: (text: string) => void
}

/**
 * Whether standard error is a terminal.
 *
 * @since 0.1.0
 * @category constructors
 */
export const isTerminal: boolean = process.stderr.isTTY === true

/**
 * `format` names the notes in braces, beside `{bar}`, `{value}` and `{total}`.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = <Notes extends object>(
  format: string,
  total: number,
  notes: Notes
): Effect.Effect<Bar<Notes>, never, Scope> =>
  Effect.map(
    Effect.acquireRelease(
      Effect.sync(() => {
        const bars = new MultiBar({
          format,
          barsize: 16,
          barCompleteChar: "█",
          barIncompleteChar: "░",
          hideCursor: true,
          linewrap: true,
          // Signals are the program's own business: it has servers to stop.
          gracefulExit: false
        })
        return { bars, bar: bars.create(total, 0, notes) }
      }),
      ({ bars }) => Effect.sync(() => bars.stop())
    ),
    ({ bar, bars }) => ({
      update: (done, notes) => bar.update(Math.min(done, total), notes),
      say: (text) => bars.log(`${text}\n`)
    })
  )

/**
 * One line for the user, where there is no bar.
 *
 * @since 0.1.0
 * @category output
 */
export const say = (text: string): void => {
  process.stderr.write(`${text}\n`)
}

/**
 * `say`, at most once in so many milliseconds.
 *
 * @since 0.1.0
 * @category output
 */
export const sayEvery = (millis: number): (text: () => string) => void => {
  let last = performance.now()
  return (text) => {
    if (performance.now() - last < millis) return
    last = performance.now()
    say(text())
  }
}
