/**
 * The gauges of a consumer group: what is pending, how far it lags, how old its oldest pending entry is, what is dead.
 *
 * They are the server's own numbers, so one process a group is enough to report them; several do no harm.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import type * as Schedule from "effect/Schedule"
import type { ConsumerGroup } from "./ConsumerGroup.js"
import * as Redis from "./Redis.js"
import type { RedisError } from "./RedisError.js"
import * as Metrics from "./RedisStreamsMetrics.js"

/**
 * Asks the server once and sets the gauges `pending`, `lag`, `entriesRead`, `oldestPending`, `deadLetters` and `gaugesUpdated` of
 * `RedisStreamsMetrics`. It changes nothing on the server, and its cost does not grow with the stream or the pending list. Fails with
 * `NoGroup` where there is no such group.
 *
 * @category operations
 * @since 0.1.0
 */
export const update = <A>(self: ConsumerGroup<A>): Effect.Effect<void, RedisError, Redis.Redis> =>
  Effect.gen(function*() {
    const redis = yield* Redis.Redis
    const [groups, pending, dead, [seconds, micros]] = (yield* Effect.all([
      redis.command("XINFO", "GROUPS", self.stream),
      redis.command("XPENDING", self.stream, self.group, "-", "+", "1"),
      redis.command("XLEN", self.deadLetterStream),
      redis.command("TIME")
    ], { concurrency: "unbounded" })) as [
      ReadonlyArray<ReadonlyArray<unknown>>,
      ReadonlyArray<readonly [id: string, ...unknown: ReadonlyArray<unknown>]>,
      number,
      readonly [seconds: string, micros: string]
    ]
    const group = groups.find((fields) => field(fields, "name") === self.group)
    const lag = group === undefined ? undefined : field(group, "lag")
    const oldest = pending[0]?.[0]
    const labels = Metrics.groupLabels(self.stream, self.group)
    if (labels === undefined) return
    Metrics.gaugesUpdated.unsafeUpdate(Date.now() / 1000, labels)
    Metrics.pending.unsafeUpdate(group === undefined ? 0 : Number(field(group, "pending")), labels)
    const read = group === undefined ? undefined : field(group, "entries-read")
    if (typeof lag === "number") {
      Metrics.lag.unsafeUpdate(lag, labels)
    }
    if (typeof read === "number") {
      Metrics.entriesRead.unsafeUpdate(read, labels)
    }
    const age = oldest === undefined ? 0 : Number(seconds) + Number(micros) / 1e6 - Number.parseInt(oldest) / 1000
    Metrics.oldestPending.unsafeUpdate(Math.max(age, 0), labels)
    Metrics.deadLetters.unsafeUpdate(dead, labels)
  })

/**
 * `update` now and then each time that `every` says, until that ends. A failure is logged, once until it goes well again:
 * the gauges keep what was last seen.
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
): Effect.Effect<void, never, Redis.Redis> => {
  let failing = false
  const once = Effect.matchEffect(update(self), {
    onSuccess: () => {
      failing = false
      return Effect.void
    },
    onFailure: (error) => {
      const first = !failing
      failing = true
      return first
        ? Effect.logWarning(`The gauges of ${self.stream} and ${self.group} cannot be updated: ${error._tag}`)
        : Effect.void
    }
  })
  return Effect.asVoid(Effect.repeat(once, settings.every))
}

// internal

/** From a flat list of names and values, the RESP2 form of a map. */
const field = (flat: ReadonlyArray<unknown>, name: string): unknown => {
  for (let i = 0; i + 1 < flat.length; i += 2) {
    if (flat[i] === name) {
      return flat[i + 1]
    }
  }
}
