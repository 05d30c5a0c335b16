/**
 * What is seen while the workers run: a bar on a terminal, a line now and then elsewhere.
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
 * @since 0.1.0
 * @category constructors
 */
export const make = (total: number): Effect.Effect<Progress, never, Scope> =>
  Bar.isTerminal
    ? Effect.map(
      Bar.make("{bar} {value}/{total}  {rate}/s  lag {lag}  retries {retries}  conflicts {conflicts}", total, {
        rate: 0,
        lag: 0,
        retries: 0,
        conflicts: 0
      }),
      ({ say, update }) => ({
        update: ({ rate, settled, ...rest }) => update(settled, { rate: Math.round(rate), ...rest }),
        say
      })
    )
    : Effect.sync(() => {
      const sayNowAndThen = Bar.sayEvery(2_000)
      return {
        update: ({ conflicts, lag, rate, retries, settled }) =>
          sayNowAndThen(() =>
            `${settled}/${total}, ${Math.round(rate)}/s, lag ${lag}, retries ${retries}, conflicts ${conflicts}`
          ),
        say: Bar.say
      }
    })
