/**
 * A caller's duration as what timers and the server count in.
 *
 * @internal
 */
import * as Duration from "effect/Duration"

/**
 * The longest that a timer of Node runs, 24.8 days: it takes a longer one, and one of for ever, for one millisecond. The
 * server's own bounds (`MAX_EXECUTION_TIME`, `innodb_lock_wait_timeout`, `GET_LOCK`) hold as much.
 */
export const longestMillis: number = 2 ** 31 - 1

/** Whole milliseconds, rounded up. What is longer than a timer runs, for ever included, is `longestMillis`. */
export const toMillis = (duration: Duration.DurationInput): number =>
  Math.min(Math.ceil(Duration.toMillis(duration)), longestMillis)

/** Whole seconds, rounded up, of the same. */
export const toSeconds = (duration: Duration.DurationInput): number => Math.ceil(toMillis(duration) / 1_000)

/**
 * Of a SELECT that waits for a lock: its own bound ends the wait, and not the session's or the server's `max_execution_time`. It is the
 * longest that can be said; 0 would mean theirs.
 */
export const untimed = "/*+ MAX_EXECUTION_TIME(4294967295) */"

/** `setTimeout` of any length: what is longer than a timer runs, for ever included, is `longestMillis`. */
export const later = (f: () => void, millis: number): NodeJS.Timeout => setTimeout(f, Math.min(millis, longestMillis))
