/**
 * What is seen while the workers run: a bar on a terminal, a line now and then elsewhere. All of it goes to standard error,
 * so that standard output holds the report alone.
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
export interface Status {
  /** Entries that are acked. */
  readonly settled: number
  /** How many of them a second, of late. */
  readonly rate: number
  /** Entries of the stream that no worker has read yet. */
  readonly lag: number
  readonly retries: number
  readonly conflicts: number
}

/**
 * @since 0.1.0
 * @category models
 */
export interface Progress {
  readonly update: (status: Status) => void
  readonly say: (text: string) => void
}

/**
 * One line for the user.
 *
 * @since 0.1.0
 * @category output
 */
export const say = (text: string): void => {
  process.stderr.write(`${text}\n`)
}

/**
 * @since 0.1.0
 * @category constructors
 */
export const make = (total: number): Effect.Effect<Progress, never, Scope> =>
  process.stderr.isTTY ? bar(total) : Effect.sync(() => plain(total))

// internal

const bar = (total: number): Effect.Effect<Progress, never, Scope> =>
  Effect.map(
    Effect.acquireRelease(
      Effect.sync(() => {
        const bars = new MultiBar({
          format: "{bar} {value}/{total}  {rate}/s  lag {lag}  retries {retries}  conflicts {conflicts}",
          barsize: 16,
          barCompleteChar: "█",
          barIncompleteChar: "░",
          hideCursor: true,
          linewrap: true,
          // Signals are the demo's own business: it has servers and workers to stop.
          gracefulExit: false
        })
        return { bars, bar: bars.create(total, 0, { rate: 0, lag: 0, retries: 0, conflicts: 0 }) }
      }),
      ({ bars }) => Effect.sync(() => bars.stop())
    ),
    ({ bar, bars }) => ({
      update: ({ rate, settled, ...rest }) => bar.update(settled, { rate: Math.round(rate), ...rest }),
      say: (text) => bars.log(`${text}\n`)
    })
  )

const plain = (total: number): Progress => {
  const every = 2_000
  let last = performance.now()
  return {
    update: ({ conflicts, lag, rate, retries, settled }) => {
      if (performance.now() - last < every) return
      last = performance.now()
      say(`${settled}/${total}, ${Math.round(rate)}/s, lag ${lag}, retries ${retries}, conflicts ${conflicts}`)
    },
    say
  }
}
