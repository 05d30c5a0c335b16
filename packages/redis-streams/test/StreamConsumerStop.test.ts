import { assert, describe, layer } from "@effect/vitest"
import * as Delivery from "@safesync/redis-streams/Delivery"
import * as Reclaim from "@safesync/redis-streams/Reclaim"
import * as Redis from "@safesync/redis-streams/Redis"
import * as StreamConsumer from "@safesync/redis-streams/StreamConsumer"
import * as StreamProducer from "@safesync/redis-streams/StreamProducer"
import * as RedisServer from "@safesync/testkit/RedisServer"
import * as TcpProxy from "@safesync/testkit/TcpProxy"
import * as Chunk from "effect/Chunk"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import { Redis as Client } from "ioredis"
import { expectNothingLeft, freshGroup, numberOf, order, pendingOf, RedisLive, until, untilBlocked } from "./fixture.js"

layer(RedisLive, { excludeTestServices: true })("StreamConsumer", (it) => {
  describe("L20: a consumer stops promptly and hands back what it has not begun", () => {
    it.scoped("L20: a read that blocks for a minute ends at once", () =>
      Effect.gen(function*() {
        const { group } = yield* freshGroup()
        const fiber = yield* Effect.fork(
          Stream.runDrain(StreamConsumer.stream(group, { consumer: "a", block: "1 minute" }))
        )
        yield* untilBlocked(group)
        const [took] = yield* Effect.timed(Fiber.interrupt(fiber))
        assert.isBelow(Duration.toMillis(took), 250)
        yield* expectNothingLeft(group)
      }))

    it.scoped("L20: another consumer can take at once what was fetched and not begun", () =>
      Effect.gen(function*() {
        const { group, send } = yield* freshGroup({ minIdle: "1 hour" })
        yield* send(10)
        const first = yield* StreamConsumer.stream(group, { consumer: "a" }).pipe(
          Stream.mapEffect(numberOf),
          Stream.take(1),
          Stream.runCollect
        )
        assert.deepStrictEqual(Chunk.toReadonlyArray(first), [1])
        const others = yield* Reclaim.once(group, { consumer: "b", count: 100 })
        assert.deepStrictEqual(others.map(({ value }) => value.number), [2, 3, 4, 5, 6, 7, 8, 9, 10])
        // They were not begun, and that does not count.
        assert.deepStrictEqual(new Set(others.map(({ attempt }) => attempt)), new Set([1]))
        yield* Effect.forEach(others, numberOf)
        yield* expectNothingLeft(group)
      }))

    it.scoped("L20: whatever the moment of the interruption, nothing that was delivered is held back", () =>
      Effect.gen(function*() {
        const { group, producer } = yield* freshGroup({ minIdle: "1 hour" })
        const acked = new Set<number>()
        for (let round = 0; round < 60; round++) {
          const fiber = yield* StreamConsumer.stream(group, { consumer: `a${round}`, block: "1 minute" }).pipe(
            Stream.runForEach((delivery) => Effect.map(numberOf(delivery), (number) => acked.add(number))),
            Effect.fork
          )
          yield* untilBlocked(group)
          // the entry and the wake-up race each other
          yield* Effect.all([
            StreamProducer.sendAll(producer, [order(round * 2), order(round * 2 + 1)]),
            Fiber.interrupt(fiber)
          ], { concurrency: 2 })
        }
        const rest = yield* Reclaim.once(group, { consumer: "b", count: 1000 })
        yield* Effect.forEach(rest, (delivery) => Effect.map(numberOf(delivery), (number) => acked.add(number)))
        const fresh = 120 - acked.size
        yield* StreamConsumer.stream(group, { consumer: "b" }).pipe(
          Stream.take(fresh),
          Stream.runForEach((delivery) => Effect.map(numberOf(delivery), (number) => acked.add(number)))
        )
        assert.strictEqual(acked.size, 120)
        yield* expectNothingLeft(group)
      }))
  })

  describe("L20: however Redis is, a consumer stops", () => {
    const stopping = (breakIt: (proxy: TcpProxy.TcpProxy) => Effect.Effect<unknown>) =>
      Effect.gen(function*() {
        const { group, send } = yield* freshGroup()
        yield* send(10)
        const { url } = yield* RedisServer.RedisServer
        const proxy = yield* TcpProxy.make(url)
        const begun = yield* Deferred.make<void>()
        const consuming = yield* StreamConsumer.stream(group, {
          consumer: "a",
          block: "1 minute",
          reconnect: Schedule.spaced("1 minute")
        }).pipe(
          Stream.runForEach((delivery) =>
            delivery.value.number < 10
              ? numberOf(delivery)
              : Effect.zipRight(Deferred.succeed(begun, void 0), numberOf(delivery))
          ),
          Effect.provide(Redis.layer({ url: proxy.through(url) })),
          Effect.fork
        )
        yield* Deferred.await(begun)
        yield* untilBlocked(group)
        yield* breakIt(proxy)
        const [took] = yield* Effect.timed(Fiber.interrupt(consuming))
        yield* proxy.resume()
        return Duration.toMillis(took)
      })

    it.scoped("L20: at once while it waits to connect again", () =>
      Effect.gen(function*() {
        const took = yield* stopping((proxy) =>
          proxy.refuse.pipe(
            Effect.zipRight(proxy.cut),
            Effect.zipRight(until(proxy.counters, ({ open }) => open === 0))
          )
        )
        assert.isBelow(took, 250)
      }))

    it.scoped("L20: within its limits while Redis is silent", () =>
      Effect.gen(function*() {
        const took = yield* stopping((proxy) => proxy.stall())
        assert.isBelow(took, 3500)
      }))

    it.scoped("L20: within its limits while Redis is silent and there is something to hand back", () =>
      Effect.gen(function*() {
        const { group, send } = yield* freshGroup()
        yield* send(10)
        const { url } = yield* RedisServer.RedisServer
        const proxy = yield* TcpProxy.make(url)
        const begun = yield* Deferred.make<void>()
        const consuming = yield* StreamConsumer.stream(group, { consumer: "a" }).pipe(
          Stream.runForEach(Delivery.use(() => Effect.zipRight(Deferred.succeed(begun, void 0), Effect.never))),
          Effect.provide(Redis.layer({ url: proxy.through(url) })),
          Effect.fork
        )
        yield* Deferred.await(begun)
        yield* proxy.stall()
        const [took] = yield* Effect.timed(Fiber.interrupt(consuming))
        assert.isBelow(Duration.toMillis(took), 3500)
        // Nothing is lost by it: they are still pending for this consumer.
        assert.strictEqual((yield* pendingOf(group)).length, 10)
      }))

    it.scoped("L20: at once though the wake-up overtakes the read", () =>
      Effect.gen(function*() {
        const { stream } = yield* freshGroup()
        const { url } = yield* RedisServer.RedisServer
        const clients: Array<Client> = []
        const own = Redis.layerFrom((required) => {
          clients.push(new Client(Redacted.value(url), required))
          return clients.at(-1)!
        })
        const redis = Context.get(yield* Layer.build(own), Redis.Redis)
        const reader = yield* redis.reserve(stream, "reader")
        const socket = clients.at(-1)!.stream
        socket.cork()
        const reading = yield* Effect.fork(
          reader.read("XREAD", ["BLOCK", "60000", "STREAMS", stream, "$"], 60_000, () => {})
        )
        yield* Effect.yieldNow()
        const [took] = yield* Effect.timed(Effect.all([
          Fiber.interrupt(reading),
          Effect.delay(Effect.sync(() => socket.uncork()), "50 millis")
        ], { concurrency: 2 }))
        assert.isBelow(Duration.toMillis(took), 500)
      }))
  })
})
