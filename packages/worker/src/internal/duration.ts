/**
 * Timers of any length.
 *
 * @internal
 */
import * as Effect from "effect/Effect"

/**
 * The longest that a timer of Node runs, 24.8 days: it takes a longer one, and one of for ever, for one millisecond, and
 * `Effect.sleep` never ends then.
 */
export const longestMillis: number = 2 ** 31 - 1

/** `setTimeout` of any length: what is longer than a timer runs, for ever included, is `longestMillis`. */
export const later = (f: () => void, millis: number): NodeJS.Timeout => setTimeout(f, Math.min(millis, longestMillis))

/** Sleeps for any number of milliseconds, which may be more than a timer runs. */
export const sleep = (millis: number): Effect.Effect<void> =>
  millis <= longestMillis
    ? Effect.sleep(millis)
    : Effect.zipRight(Effect.sleep(longestMillis), Effect.suspend(() => sleep(millis - longestMillis)))
