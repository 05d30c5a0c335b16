import { assert, layer } from "@effect/vitest"
import * as Delivery from "@safesync/redis-streams/Delivery"
import * as GroupMetrics from "@safesync/redis-streams/GroupMetrics"
import * as Reclaim from "@safesync/redis-streams/Reclaim"
import * as Redis from "@safesync/redis-streams/Redis"
import * as Metrics from "@safesync/redis-streams/RedisStreamsMetrics"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import type * as Metric from "effect/Metric"
import { deliveries, expectNothingLeft, freshGroup, pendingOf, RedisLive, until } from "./fixture.js"

type Counter = Metric.Metric.Counter<number>

const count = (counter: Counter, stream: string) => counter.unsafeValue(Metrics.labels(stream)).count

layer(RedisLive, { excludeTestServices: true })("RedisStreamsMetrics", (it) => {
  it.scoped("only what was acked counts as acked", () =>
    Effect.gen(function*() {
      const { group, send, stream } = yield* freshGroup()
      yield* send(3)
      const [first, second, third] = yield* deliveries(group, 3)
      assert.strictEqual(count(Metrics.messagesRead, stream), 3)
      yield* Delivery.use(first!, () => Effect.void)
      assert.strictEqual(count(Metrics.messagesAcked, stream), 1)
      yield* Effect.exit(Delivery.use(second!, () => Effect.fail("no")))
      assert.strictEqual(count(Metrics.messagesAcked, stream), 1)
      // its handler succeeds, but somebody else has acked it by then
      const redis = yield* Redis.Redis
      yield* Delivery.use(third!, () => redis.command("XACK", stream, group.group, third!.id))
      assert.strictEqual(count(Metrics.messagesAcked, stream), 1)
      yield* Delivery.use(second!, () => Effect.void)
      assert.strictEqual(count(Metrics.messagesAcked, stream), 2)
      yield* expectNothingLeft(group)
    }))

  it.scoped("deliveries are counted by the entry's attempt, and the label is bounded", () =>
    Effect.gen(function*() {
      const { group, send, stream } = yield* freshGroup({ minIdle: 1 })
      yield* send(1)
      for (let attempt = 1; attempt <= 8; attempt++) {
        const [delivery] = attempt === 1
          ? yield* deliveries(group, 1)
          : yield* until(Reclaim.once(group, { consumer: "b", count: 1 }), (_) => _.length > 0)
        assert.strictEqual(delivery!.attempt, attempt)
        yield* Effect.exit(Delivery.use(delivery!, () => Effect.fail("no")))
      }
      const counts = [1, 2, 3, 4, 5, 6, 1_000].map((attempt) =>
        Metrics.deliveries.unsafeValue(Metrics.attemptLabels(stream, attempt)).count
      )
      assert.deepStrictEqual(counts, [1, 1, 1, 1, 1, 3, 3])
    }))

  it.scoped("what Reclaim takes over counts as claimed, and what a consumer finds of its own at its start does not", () =>
    Effect.gen(function*() {
      const { group, send, stream } = yield* freshGroup({ minIdle: 1 })
      yield* send(2)
      yield* Effect.forEach(
        yield* Effect.scoped(deliveries(group, 2)),
        (delivery) => Effect.exit(Delivery.use(delivery, () => Effect.fail("no")))
      )
      const own = yield* deliveries(group, 2)
      assert.strictEqual(count(Metrics.messagesClaimed, stream), 0)
      yield* Delivery.use(own[0]!, () => Effect.void)
      yield* Effect.exit(Delivery.use(own[1]!, () => Effect.fail("no")))
      yield* until(Reclaim.once(group, { consumer: "b", count: 1 }), (_) => _.length > 0)
      assert.strictEqual(count(Metrics.messagesClaimed, stream), 1)
    }))

  it.scoped("only what could be handed back counts as handed back", () =>
    Effect.gen(function*() {
      const { group, send, stream } = yield* freshGroup()
      const redis = yield* Redis.Redis
      const ids = yield* send(3)
      yield* Effect.scoped(Effect.zipRight(
        deliveries(group, 3),
        redis.command("XCLAIM", stream, group.group, "b", "0", ids[0]!)
      ))
      assert.strictEqual(count(Metrics.messagesHandedBack, stream), 2)
    }))

  it.scoped("the renewals of a slow handler are counted, and what is rare begins at 0", () =>
    Effect.gen(function*() {
      const { group, send, stream } = yield* freshGroup({ minIdle: 60 })
      yield* send(1)
      const [delivery] = yield* deliveries(group, 1)
      const done = yield* Deferred.make<void>()
      const slow = yield* Effect.fork(Delivery.use(delivery!, () => Deferred.await(done)))
      yield* until(Effect.sync(() => count(Metrics.leaseRenewals, stream)), (n) => n >= 2)
      yield* Deferred.succeed(done, undefined)
      yield* Fiber.join(slow)
      assert.strictEqual(count(Metrics.leasesLost, stream), 0)
    }))

  it.scoped("the gauges of a group are the server's own numbers", () =>
    Effect.gen(function*() {
      const { group, send, stream } = yield* freshGroup()
      const gauge = (metric: Metric.Metric.Gauge<number>) =>
        metric.unsafeValue(Metrics.groupLabels(stream, group.group)!).value
      yield* GroupMetrics.update(group)
      assert.deepStrictEqual([Metrics.pending, Metrics.lag, Metrics.oldestPending, Metrics.deadLetters].map(gauge), [
        0,
        0,
        0,
        0
      ])
      yield* send(5)
      const [first, second, third] = yield* deliveries(group, 3)
      yield* Delivery.deadLetter(first!, "no use")
      yield* GroupMetrics.update(group)
      assert.deepStrictEqual([Metrics.pending, Metrics.lag, Metrics.deadLetters].map(gauge), [2, 2, 1])
      assert.strictEqual(gauge(Metrics.entriesRead), 3)
      assert.closeTo(gauge(Metrics.gaugesUpdated), Date.now() / 1000, 5)
      // the server's clock goes on
      yield* until(
        Effect.zipRight(GroupMetrics.update(group), Effect.sync(() => gauge(Metrics.oldestPending))),
        (age) => age > 0.02
      )
      assert.isBelow(gauge(Metrics.oldestPending), 60)
      yield* Delivery.use(second!, () => Effect.void)
      yield* Delivery.use(third!, () => Effect.void)
      assert.deepStrictEqual(yield* pendingOf(group), [])
      yield* GroupMetrics.update(group)
      assert.strictEqual(gauge(Metrics.oldestPending), 0)
    }))
})
