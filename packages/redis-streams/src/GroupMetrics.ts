/**
 * The gauges of a consumer group: what is pending, how far it lags, how old its oldest pending entry is, what is dead.
 *
 * They are the server's own numbers, so one process a group is enough to report them; several do no harm.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import type * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import type * as Schedule from "effect/Schedule"
import type { ConsumerGroup } from "./ConsumerGroup.js"
import * as deadCount from "./internal/deadCount.js"
import { firstFailure } from "./internal/firstFailure.js"
import * as groupState from "./internal/groupState.js"
import * as Redis from "./Redis.js"
import type { RedisError } from "./RedisError.js"
import * as Metrics from "./RedisStreamsMetrics.js"

/**
 * Asks the server once and sets the gauges `pending`, `lag`, `entriesRead`, `oldestPending`, `deadLetters` and `gaugesUpdated` of
 * `RedisStreamsMetrics`. It changes nothing on the server. Its cost does not grow with the stream or the pending list, and grows with
 * the dead-letter stream, whose entries are looked through a page at a time for the group's own. Fails with `NoGroup` where there is
 * no such group.
 *
 * @category operations
 * @since 0.1.0
 */
export const update = <A>(self: ConsumerGroup<A>): Effect.Effect<void, RedisError, Redis.Redis> =>
  Effect.flatMap(Redis.Redis, (redis) => updating(redis, self))

/**
 * `update` now and then each time that `every` says, until that ends. A failure is logged, once until it goes well again:
 * the gauges keep what was last seen. Of the dead-letter stream it looks through what has come since the last time alone, as long as
 * nothing was removed from it.
 *
 * @example
 * import * as Effect from "effect/Effect"
 * import * as Schedule from "effect/Schedule"
 * import type * as ConsumerGroup from "@safesync/redis-streams/ConsumerGroup"
 * import * as GroupMetrics from "@safesync/redis-streams/GroupMetrics"
 *
 * const report = <A>(group: ConsumerGroup.ConsumerGroup<A>) =>
 *   Effect.forkScoped(GroupMetrics.report(group, { every: Schedule.spaced("10 seconds") }))
 *
 * @category operations
 * @since 0.1.0
 */
export const report = <A>(
  self: ConsumerGroup<A>,
  settings: { readonly every: Schedule.Schedule<unknown> }
): Effect.Effect<void, never, Redis.Redis> =>
  Effect.flatMap(Redis.Redis, (redis) => {
    const reported = firstFailure((error: RedisError) =>
      Effect.logWarning(`The gauges of ${self.stream} and ${self.group} cannot be updated: ${error.message}`)
    )
    return Effect.asVoid(Effect.repeat(reported(updating(redis, self)), settings.every))
  })

// internal

const updating = <A>(redis: Redis.Service, self: ConsumerGroup<A>): Effect.Effect<void, RedisError> => {
  const dead = deadCount.counting(redis, self)
  return Effect.gen(function*() {
    const [{ entriesRead, lag, oldest, pending }, letters, time] = yield* Effect.all([
      groupState.ask(redis, self),
      dead,
      redis.command("TIME")
    ], { concurrency: "unbounded" })
    const labels = Metrics.groupLabels(self.stream, self.group)
    if (labels === undefined) return
    const set = (gauge: Metric.Metric.Gauge<number>, value: Option.Option<number>) => {
      if (Option.isSome(value)) gauge.unsafeUpdate(value.value, labels)
    }
    set(Metrics.lag, lag)
    set(Metrics.entriesRead, entriesRead)
    Metrics.pending.unsafeUpdate(pending, labels)
    Metrics.oldestPending.unsafeUpdate(
      Option.match(oldest, {
        onNone: () => 0,
        onSome: ({ id }) => Math.max(0, secondsOf(time) - Number.parseInt(id) / 1000)
      }),
      labels
    )
    Metrics.deadLetters.unsafeUpdate(letters, labels)
    Metrics.gaugesUpdated.unsafeUpdate(Date.now() / 1000, labels)
  })
}

/** The server's clock, which has made the entries' ids, in seconds. */
const secondsOf = (time: unknown): number => {
  const [seconds, micros] = time as readonly [seconds: string, micros: string]
  return Number(seconds) + Number(micros) / 1e6
}
