/**
 * How long is waited before something is tried again.
 *
 * @internal
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Option from "effect/Option"
import type * as Schedule from "effect/Schedule"
import * as ScheduleDecision from "effect/ScheduleDecision"
import * as ScheduleIntervals from "effect/ScheduleIntervals"

/** Redis is away: how long until it is asked again. A key waits for its message, which those behind it must not overtake. */
export const untilRedisIsBack = Duration.millis(500)

/**
 * The delay that a schedule gives after its n-th input; none when it is done by then. The schedule is walked in its own
 * time, from its start, since the attempts before this one may have been made by other processes. One that is not done after
 * 10,000 steps keeps the delay that it has then: a count may be any number (XNACK FATAL makes it the greatest that there is).
 * A delay is a century at most: an exponential one gets infinite, and nothing can be reckoned from there.
 */
export const nth = (
  schedule: Schedule.Schedule<unknown, unknown>,
  n: number
): Effect.Effect<Option.Option<Duration.Duration>> => {
  const step = (
    state: unknown,
    now: number,
    left: number
  ): Effect.Effect<Option.Option<Duration.Duration>> =>
    Effect.flatMap(schedule.step(now, undefined, state), ([next, , decision]) => {
      if (ScheduleDecision.isDone(decision)) return Effect.succeedNone
      const delay = Math.min(Math.max(0, ScheduleIntervals.start(decision.intervals) - now), longestDelay)
      return left === 1 ? Effect.succeedSome(Duration.millis(delay)) : step(next, now + delay, left - 1)
    })
  return step(schedule.initial, 0, Math.min(n, 10_000))
}

// internal

/** Milliseconds: a century. */
const longestDelay = 36_500 * 24 * 60 * 60 * 1_000
