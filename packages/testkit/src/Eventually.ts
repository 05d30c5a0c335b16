/**
 * Waiting for the server's own state, in place of a sleep of a guessed length.
 *
 * @since 0.1.0
 */
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"

/**
 * Asks again and again until the answer is as it should be, and gives that answer. It waits for ever: the test's own bound ends it.
 *
 * @example
 * import * as ConsumerGroup from "@safesync/redis-streams/ConsumerGroup"
 * import * as Eventually from "@safesync/testkit/Eventually"
 *
 * const settled = <A>(group: ConsumerGroup.ConsumerGroup<A>) =>
 *   Eventually.until(ConsumerGroup.info(group), ({ pending }) => pending === 0)
 *
 * @since 0.1.0
 * @category combinators
 */
export const until = <A, E, R>(
  ask: Effect.Effect<A, E, R>,
  holds: (answer: A) => boolean,
  /** How long to wait before asking again; by default 5 milliseconds. */
  every: Duration.DurationInput = "5 millis"
): Effect.Effect<A, E, R> =>
  Effect.flatMap(
    ask,
    (answer) => holds(answer) ? Effect.succeed(answer) : Effect.delay(until(ask, holds, every), every)
  )
