import { assert, layer } from "@effect/vitest"
import * as Delivery from "@safesync/redis-streams/Delivery"
import * as Redis from "@safesync/redis-streams/Redis"
import * as Metrics from "@safesync/redis-streams/RedisStreamsMetrics"
import * as StreamConsumer from "@safesync/redis-streams/StreamConsumer"
import * as StreamProducer from "@safesync/redis-streams/StreamProducer"
import * as Chunk from "effect/Chunk"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Metric from "effect/Metric"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import type { Capability } from "../src/internal/capabilities.js"
import { age, expectNothingLeft, freshGroup, numberOf, order, pendingOf, RedisWithout, until } from "./fixture.js"

const ways: ReadonlyArray<readonly [string, ReadonlyArray<Capability>]> = [
  ["", []],
  [" without XREADGROUP … CLAIM", ["claiming-read", "release"]]
]

/** Reads as a process does that is killed then. */
const readAndDie = (group: { readonly stream: string; readonly group: string }, consumer: string, count: number) =>
  Effect.flatMap(Redis.Redis, (redis) =>
    redis.command(
      ...["XREADGROUP", "GROUP", group.group, consumer, "COUNT", String(count), "STREAMS", group.stream, ">"] as const
    ))

for (const [name, without] of ways) {
  layer(RedisWithout(...without), { excludeTestServices: true })(`StreamConsumer that reclaims${name}`, (it) => {
    it.scoped("L16, L18: one stream brings what is its own, what is stale and what is new, each once", () =>
      Effect.gen(function*() {
        const { group, producer, send, stream } = yield* freshGroup({ minIdle: "1 hour" })
        const ids = yield* send(3)
        yield* readAndDie(group, "a", 1)
        yield* readAndDie(group, "gone", 2)
        yield* age(group, [ids[1]!], 7_200_000, "gone")
        yield* StreamProducer.send(producer, order(4))
        const seen = yield* StreamConsumer.stream(group, {
          consumer: "a",
          reclaim: { every: Schedule.spaced("1 hour") }
        }).pipe(
          Stream.mapEffect((delivery) => Effect.map(numberOf(delivery), (number) => [number, delivery.attempt])),
          Stream.take(3),
          Stream.runCollect
        )
        assert.deepStrictEqual([...seen].sort(([a], [b]) => a! - b!), [[1, 2], [2, 2], [4, 1]])
        assert.deepStrictEqual((yield* pendingOf(group)).map(({ consumer, id }) => [id, consumer]), [[ids[2], "gone"]])
        const counted = (metric: typeof Metrics.messagesRead) =>
          Effect.map(Metric.value(Metric.taggedWithLabels(metric, Metrics.labels(stream))), ({ count }) => count)
        assert.strictEqual(yield* counted(Metrics.messagesClaimed), 1)
        assert.strictEqual(yield* counted(Metrics.messagesRead), 1)
      }))

    it.scoped("L18: takes an entry over when it has become stale, though nothing new comes", () =>
      Effect.gen(function*() {
        const { group, redis, send } = yield* freshGroup({ minIdle: "150 millis" })
        yield* send(1)
        yield* readAndDie(group, "gone", 1)
        const claims = (yield* redis.capabilities).has("claiming-read")
        // A server that can tells it at once; else it is found by the next pass.
        const every = Schedule.spaced(claims ? "1 hour" : "20 millis")
        const seen = yield* StreamConsumer.stream(group, { consumer: "a", block: "1 minute", reclaim: { every } }).pipe(
          Stream.mapEffect((delivery) => Effect.map(numberOf(delivery), (number) => [number, delivery.attempt])),
          Stream.take(1),
          Stream.runCollect
        )
        assert.deepStrictEqual(Chunk.toReadonlyArray(seen), [[1, 2]])
        yield* expectNothingLeft(group)
      }))

    it.scoped("L18: does not take from itself what a handler is still working on", () =>
      Effect.gen(function*() {
        const { group, send, stream } = yield* freshGroup({ minIdle: "150 millis" })
        const done = yield* Deferred.make<void>()
        const seen: Array<number> = []
        yield* StreamConsumer.stream(group, {
          consumer: "a",
          block: "1 minute",
          reclaim: { every: Schedule.spaced("10 millis") }
        }).pipe(
          Stream.runForEach((delivery) =>
            Effect.sync(() => seen.push(delivery.attempt)).pipe(
              Effect.zipRight(Effect.fork(Delivery.use(delivery, () => Deferred.await(done))))
            )
          ),
          Effect.forkScoped
        )
        yield* send(1)
        // For twice as long as it takes an entry to get stale.
        const renewals = Metric.value(Metric.taggedWithLabels(Metrics.leaseRenewals, Metrics.labels(stream)))
        yield* until(renewals, ({ count }) => count >= 6)
        assert.deepStrictEqual((yield* pendingOf(group)).map(({ attempts, consumer }) => [consumer, attempts]), [[
          "a",
          1
        ]])
        yield* Deferred.succeed(done, undefined)
        yield* until(pendingOf(group), (pending) => pending.length === 0)
        assert.deepStrictEqual(seen, [1])
      }))

    it.scoped("L19: an entry that was deleted while pending is counted and removed, though no read sees it", () =>
      Effect.gen(function*() {
        const { group, redis, send, stream } = yield* freshGroup({ minIdle: "1 hour" })
        const ids = yield* send(1)
        yield* readAndDie(group, "gone", 1)
        yield* age(group, [ids[0]!], 7_200_000, "gone")
        yield* redis.command("XDEL", stream, ids[0]!)
        const reading = yield* Effect.fork(Stream.runDrain(
          StreamConsumer.stream(group, { consumer: "a", reclaim: { every: Schedule.spaced("10 millis") } })
        ))
        yield* until(pendingOf(group), (pending) => pending.length === 0)
        yield* Fiber.interrupt(reading)
        const deleted = Metric.taggedWithLabels(Metrics.messagesDeleted, Metrics.labels(stream))
        assert.strictEqual((yield* Metric.value(deleted)).count, 1)
      }))
  })
}
