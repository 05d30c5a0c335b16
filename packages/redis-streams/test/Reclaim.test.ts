import { assert, layer } from "@effect/vitest"
import * as Delivery from "@safesync/redis-streams/Delivery"
import * as Reclaim from "@safesync/redis-streams/Reclaim"
import * as Redis from "@safesync/redis-streams/Redis"
import * as Metrics from "@safesync/redis-streams/RedisStreamsMetrics"
import * as RedisServer from "@safesync/testkit/RedisServer"
import * as TcpProxy from "@safesync/testkit/TcpProxy"
import * as Chunk from "effect/Chunk"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Logger from "effect/Logger"
import * as Metric from "effect/Metric"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import type { Capability } from "../src/internal/capabilities.js"
import type { Lease } from "../src/internal/lease.js"
import {
  age,
  deliveries,
  expectNothingLeft,
  freshGroup,
  numberOf,
  type Order,
  pendingOf,
  RedisWithout,
  until
} from "./fixture.js"

const ways: ReadonlyArray<readonly [string, ReadonlyArray<Capability>]> = [
  ["", []],
  [" without XAUTOCLAIM (5.0, 6.2)", ["auto-claim"]]
]

for (const [name, without] of ways) {
  layer(RedisWithout(...without), { excludeTestServices: true })(`Reclaim${name}`, (it) => {
    it.scoped("L18: finds every stale entry, however many younger ones lie before it", () =>
      Effect.gen(function*() {
        const { group, send } = yield* freshGroup()
        yield* send(3000)
        const held = yield* deliveries(group, 3000)
        const stale = held.filter((_, i) => i > 2500 && i % 50 === 0).map(({ id }) => id)
        yield* age(group, stale, 60_000)
        const taken = yield* Reclaim.once(group, { consumer: "b", count: 1000, batchSize: 4 })
        assert.deepStrictEqual(taken.map(({ id }) => id), stale)
        assert.deepStrictEqual(taken.map(({ attempt }) => attempt), stale.map(() => 2))
        assert.deepStrictEqual(
          (yield* pendingOf(group)).filter(({ consumer }) => consumer === "b").map(({ id }) => id),
          stale
        )
      }))

    it.scoped("one call may have a minIdle of its own: longer, shorter, or none", () =>
      Effect.gen(function*() {
        const { group, send } = yield* freshGroup({ minIdle: "1 minute" })
        yield* send(3)
        const held = yield* deliveries(group, 3)
        yield* age(group, [held[0]!.id], 30_000)
        yield* age(group, [held[1]!.id], 90_000)
        const take = (minIdle?: Duration.DurationInput) =>
          Effect.map(
            Reclaim.once(group, { consumer: "b", count: 10, minIdle }),
            (taken) => taken.map(({ id }) => held.findIndex((delivery) => delivery.id === id))
          )
        assert.deepStrictEqual(yield* take("2 minutes"), [])
        assert.deepStrictEqual(yield* take(), [1])
        assert.deepStrictEqual(yield* take("20 seconds"), [0])
        assert.deepStrictEqual((yield* take(0)).at(-1), 2)
        const refused = yield* Effect.flip(take(Duration.infinity))
        assert.isTrue(refused._tag === "InvalidOptions" && refused.option === "minIdle")
      }))

    it.scoped("L18: the stream looks at once, and again when its schedule says so", () =>
      Effect.gen(function*() {
        const { group, send } = yield* freshGroup()
        yield* send(3)
        const held = yield* deliveries(group, 3)
        yield* age(group, [held[0]!.id], 60_000)
        const firstSeen = yield* Deferred.make<void>()
        const fiber = yield* Reclaim.stream(group, { consumer: "b", every: Schedule.spaced("10 millis") }).pipe(
          Stream.mapEffect(numberOf),
          Stream.tap(() => Deferred.succeed(firstSeen, void 0)),
          Stream.take(3),
          Stream.runCollect,
          Effect.fork
        )
        yield* Deferred.await(firstSeen)
        yield* age(group, [held[1]!.id, held[2]!.id], 60_000)
        assert.deepStrictEqual(Chunk.toReadonlyArray(yield* Fiber.join(fiber)), [1, 2, 3])
        yield* expectNothingLeft(group)
      }))

    it.scoped("the stream ends when its schedule ends", () =>
      Effect.gen(function*() {
        const { group } = yield* freshGroup()
        const none = yield* Stream.runCollect(Reclaim.stream(group, { consumer: "b", every: Schedule.recurs(3) }))
        assert.strictEqual(none.length, 0)
      }))

    it.scoped("L18: does not give out what this process is still working on", () =>
      Effect.gen(function*() {
        const { group, send } = yield* freshGroup()
        yield* send(1)
        const [mine] = yield* deliveries(group, 1)
        yield* Delivery.use(mine!, () =>
          Effect.gen(function*() {
            yield* age(group, [mine!.id], 60_000)
            assert.deepStrictEqual(yield* Effect.scoped(Reclaim.once(group, { consumer: "a", count: 10 })), [])
          }))
        yield* expectNothingLeft(group)
      }))

    it.scoped("L15, L16: what was dropped is given to this process again once it is stale, and has not counted", () =>
      Effect.gen(function*() {
        const { group, send } = yield* freshGroup({ minIdle: "150 millis" })
        yield* send(2)
        const [dropped, late] = yield* deliveries(group, 2)
        // A third of minIdle later it counts as not delivered.
        yield* until(pendingOf(group), (pending) => pending.every(({ attempts }) => attempts === 0))
        yield* Delivery.use(
          late!,
          () =>
            Effect.map(pendingOf(group), (pending) => assert.deepStrictEqual(pending.map((_) => _.attempts), [0, 1]))
        )
        yield* age(group, [dropped!.id], 60_000)
        const [again] = yield* Reclaim.once(group, { consumer: "a", count: 10 })
        assert.deepStrictEqual([again!.id, again!.attempt], [dropped!.id, 1])
        const error = yield* Effect.flip(numberOf(dropped!))
        assert.strictEqual(error._tag, "LeaseLost")
        assert.strictEqual(yield* numberOf(again!), 1)
        yield* expectNothingLeft(group)
      }))

    it.scoped("L18: a delivery that this process claims while it asks for it is not lost", () =>
      Effect.gen(function*() {
        const { group, send } = yield* freshGroup({ minIdle: "1 hour" })
        const redis = yield* Redis.Redis
        yield* send(1)
        const [delivery] = yield* deliveries(group, 1)
        const lease = delivery as Delivery.Delivery<Order> as Lease<Order>
        yield* age(group, [lease.id], 7_200_000)
        const sent = yield* Deferred.make<void>()
        const reclaiming = yield* Reclaim.once(group, { consumer: "a", count: 1 }).pipe(
          Effect.provideService(Redis.Redis, {
            ...redis,
            take: (...args) => Effect.zipRight(Deferred.succeed(sent, undefined), redis.take(...args))
          }),
          Effect.fork
        )
        lease.state = "asked"
        yield* Deferred.await(sent)
        yield* lease.hold("test", "a", "0", 1)
        assert.deepStrictEqual(yield* Fiber.join(reclaiming), [])
        assert.deepStrictEqual((yield* pendingOf(group)).map(({ attempts, consumer }) => [consumer, attempts]), [[
          "a",
          1
        ]])
      }))

    it.scoped("L20: a pass stops within its limits while Redis is silent", () =>
      Effect.gen(function*() {
        const { group } = yield* freshGroup()
        const { url } = yield* RedisServer.RedisServer
        const proxy = yield* TcpProxy.make(url)
        yield* Effect.gen(function*() {
          yield* Effect.scoped(Reclaim.once(group, { consumer: "a", count: 1 }))
          yield* proxy.stall()
          const passing = yield* Effect.fork(Effect.scoped(Reclaim.once(group, { consumer: "a", count: 1 })))
          yield* Effect.yieldNow()
          const [took] = yield* Effect.timed(Fiber.interrupt(passing))
          assert.isBelow(Duration.toMillis(took), 2500)
        }).pipe(Effect.scoped, Effect.provide(Redis.layer({ url: proxy.through(url) })))
      }))

    it.scoped("L18: leaves a consumer's own entries alone if asked to, and finds all others", () =>
      Effect.gen(function*() {
        const { group, send } = yield* freshGroup()
        const ids = yield* send(300)
        yield* deliveries(group, 100)
        yield* deliveries(group, 100, "b")
        yield* deliveries(group, 100, "c")
        for (const [consumer, from] of [["a", 0], ["b", 100], ["c", 200]] as const) {
          yield* age(group, ids.slice(from, from + 100), 60_000, consumer)
        }
        const taken = yield* Reclaim.once(group, { consumer: "b", count: 1000, batchSize: 7, takeOwn: false })
        assert.deepStrictEqual(taken.map(({ id }) => id), [...ids.slice(0, 100), ...ids.slice(200)])
        const own = yield* Reclaim.once(group, { consumer: "d", count: 1000 })
        assert.deepStrictEqual(own.map(({ id }) => id), ids.slice(100, 200))
      }))

    for (const [who, consumer] of [["Reclaim", "b"], ["its own consumer's start", "a"]] as const) {
      it.scoped(`L19: an entry that was deleted while pending is reported, counted and removed by ${who}`, () =>
        Effect.gen(function*() {
          const { group, send, stream } = yield* freshGroup()
          const redis = yield* Redis.Redis
          const ids = yield* send(3)
          yield* Effect.scoped(deliveries(group, 3))
          yield* age(group, ids, 60_000)
          yield* redis.command("XDEL", stream, ids[1]!)
          const logged: Array<string> = []
          const logger = Logger.make(({ logLevel, message }) => {
            logged.push(`${logLevel.label} ${String(message)}`)
          })
          const taken = yield* (consumer === "b"
            ? Reclaim.once(group, { consumer, count: 10 })
            : deliveries(group, 2)).pipe(Effect.provide(Logger.replace(Logger.defaultLogger, logger)))
          assert.deepStrictEqual(taken.map(({ id }) => id), [ids[0], ids[2]])
          assert.deepStrictEqual(logged, [`WARN Entries of ${stream} were deleted while they were pending: ${ids[1]}`])
          const deleted = Metric.taggedWithLabels(Metrics.messagesDeleted, Metrics.labels(stream))
          assert.strictEqual((yield* Metric.value(deleted)).count, 1)
          assert.deepStrictEqual((yield* pendingOf(group)).map(({ id }) => id), [ids[0], ids[2]])
          yield* Effect.forEach(taken, numberOf)
          yield* expectNothingLeft(group)
        }))
    }

    it.scoped("L20: what was taken and not begun is handed back when the scope closes", () =>
      Effect.gen(function*() {
        const { group, send } = yield* freshGroup()
        const ids = yield* send(5)
        yield* Effect.forEach(yield* deliveries(group, 5), (delivery) =>
          Effect.exit(Delivery.use(delivery, () => Effect.fail("no"))))
        yield* age(group, ids, 60_000)
        yield* Effect.scoped(
          Effect.flatMap(Reclaim.once(group, { consumer: "b", count: 10 }), (taken) =>
            numberOf(taken[0]!))
        )
        const taken = yield* Reclaim.once(group, { consumer: "c", count: 10 })
        // One delivery that failed, and one that was not begun and does not count.
        assert.deepStrictEqual(taken.map(({ attempt, id }) => [id, attempt]), ids.slice(1).map((id) => [id, 2]))
        yield* Effect.forEach(taken, numberOf)
        yield* expectNothingLeft(group)
      }))
  })
}

layer(RedisWithout(), { excludeTestServices: true })("Reclaim", (it) => {
  it.scoped("refuses what can never work", () =>
    Effect.gen(function*() {
      const { group } = yield* freshGroup()
      const refusal = (settings: Partial<Parameters<typeof Reclaim.once>[1]>) =>
        Effect.map(
          Effect.flip(Reclaim.once(group, { consumer: "a", count: 1, ...settings })),
          (error) => error._tag === "InvalidOptions" ? error.option : error._tag
        )
      assert.strictEqual(yield* refusal({ consumer: " " }), "consumer")
      assert.strictEqual(yield* refusal({ consumer: "safesync.parked" }), "consumer")
      assert.strictEqual(yield* refusal({ batchSize: 0 }), "batchSize")
      assert.strictEqual(yield* refusal({ count: 0 }), "count")
      assert.strictEqual(yield* refusal({ count: 1.5 }), "count")
      const none = Reclaim.stream(group, { consumer: "", every: Schedule.stop })
      assert.strictEqual((yield* Effect.flip(Stream.runDrain(none)))._tag, "InvalidOptions")
    }))
})
