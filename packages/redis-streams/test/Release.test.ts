import { assert, layer } from "@effect/vitest"
import * as ConsumerGroup from "@safesync/redis-streams/ConsumerGroup"
import * as Delivery from "@safesync/redis-streams/Delivery"
import * as Reclaim from "@safesync/redis-streams/Reclaim"
import * as Redis from "@safesync/redis-streams/Redis"
import * as Metrics from "@safesync/redis-streams/RedisStreamsMetrics"
import * as StreamConsumer from "@safesync/redis-streams/StreamConsumer"
import * as StreamProducer from "@safesync/redis-streams/StreamProducer"
import * as Chunk from "effect/Chunk"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { Capability } from "../src/internal/capabilities.js"
import {
  deliveries,
  expectNothingLeft,
  freshGroup,
  numberOf,
  order,
  pendingOf,
  RedisWithout,
  until,
  untilBlocked
} from "./fixture.js"

/** Whether the server of the run has the command at all: what is not used must be missing. */
const hasXnack = Effect.flatMap(
  Redis.Redis,
  (redis) =>
    Effect.map(redis.command("COMMAND", "INFO", "XNACK"), (reply) => (reply as ReadonlyArray<unknown>)[0] !== null)
)

const ways: ReadonlyArray<readonly [string, ReadonlyArray<Capability>]> = [
  ["", []],
  [" without XNACK", ["release"]]
]

for (const [name, without] of ways) {
  layer(RedisWithout(...without), { excludeTestServices: true })(`handing back${name}`, (it) => {
    it.scoped("L20: what was not begun is for anybody at once, and has not counted", () =>
      Effect.gen(function*() {
        const { group, send } = yield* freshGroup({ minIdle: "1 hour" })
        const ids = yield* send(10)
        const scope = yield* Scope.make()
        const [first] = yield* Scope.extend(deliveries(group, 10), scope)
        assert.strictEqual(yield* numberOf(first!), 1)
        const waiting = yield* StreamConsumer.stream(group, { consumer: "b", block: "1 minute" }).pipe(
          Stream.mapEffect((delivery) => Effect.map(numberOf(delivery), (number) => [number, delivery.attempt])),
          Stream.take(9),
          Stream.runCollect,
          Effect.fork
        )
        yield* untilBlocked(group)
        yield* Scope.close(scope, Exit.void)
        const expected = [2, 3, 4, 5, 6, 7, 8, 9, 10].map((number) => [number, 1])
        if (without.length === 0 && (yield* hasXnack)) {
          // Nobody reclaims, and nothing is new: it is the hand-back that wakes the other.
          assert.deepStrictEqual(Chunk.toReadonlyArray(yield* Fiber.join(waiting)), expected)
        } else {
          assert.deepStrictEqual(
            (yield* pendingOf(group)).map(({ attempts, consumer, id }) => [id, consumer, attempts]),
            ids.slice(1).map((id) => [id, "a", 0])
          )
          const taken = yield* Reclaim.once(group, { consumer: "c", count: 10 })
          assert.deepStrictEqual(taken.map(({ attempt, value }) => [value.number, attempt]), expected)
          yield* Effect.forEach(taken, numberOf)
          yield* Fiber.interrupt(waiting)
        }
        yield* expectNothingLeft(group)
      }))

    it.scoped("L16: comes before what is new to a consumer that starts again and does not reclaim", () =>
      Effect.gen(function*() {
        const { group, producer, send } = yield* freshGroup()
        yield* send(2)
        yield* Effect.scoped(deliveries(group, 2))
        yield* StreamProducer.send(producer, order(3))
        for (const number of [1, 2, 3]) {
          const next = Option.getOrThrow(yield* StreamConsumer.next(group, { consumer: "a" }))
          assert.strictEqual(next.attempt, 1)
          assert.strictEqual(yield* numberOf(next), number)
        }
        yield* expectNothingLeft(group)
      }))

    it.scoped("L16: a delivery that was handed back can be used after all, unless somebody has taken it", () =>
      Effect.gen(function*() {
        const { group, send } = yield* freshGroup()
        yield* send(3)
        const [mine, buried, taken] = yield* Effect.scoped(deliveries(group, 3))
        const [other] = (yield* Reclaim.once(group, { consumer: "b", count: 3 })).filter(({ id }) => id === taken!.id)
        assert.strictEqual(yield* numberOf(other!), 3)
        assert.strictEqual((yield* Effect.flip(numberOf(taken!)))._tag, "LeaseLost")
        assert.strictEqual((yield* Effect.flip(numberOf(mine!)))._tag, "LeaseLost")
        assert.strictEqual((yield* Effect.flip(Delivery.deadLetter(buried!, "no")))._tag, "LeaseLost")
        yield* send(2)
        const [later, dead] = yield* Effect.scoped(deliveries(group, 2, "c"))
        assert.strictEqual(yield* numberOf(later!), 1)
        yield* Delivery.deadLetter(dead!, "no")
        const left = yield* pendingOf(group)
        assert.deepStrictEqual(left.map(({ consumer, id }) => [id, consumer]), [[mine!.id, "b"], [buried!.id, "b"]])
      }))

    it.scoped("L19: what was deleted before it was handed back is not given to anybody", () =>
      Effect.gen(function*() {
        const { group, send, stream } = yield* freshGroup()
        const redis = yield* Redis.Redis
        const ids = yield* send(2)
        yield* Effect.scoped(Effect.zipRight(deliveries(group, 2), redis.command("XDEL", stream, ids[0]!)))
        assert.deepStrictEqual((yield* pendingOf(group)).map(({ id }) => id), [ids[1]])
        assert.deepStrictEqual((yield* Reclaim.once(group, { consumer: "b", count: 9 })).map(({ id }) => id), [ids[1]])
      }))

    it.scoped("one whose handler has begun keeps its count: it was an attempt", () =>
      Effect.gen(function*() {
        const { group, send } = yield* freshGroup()
        yield* send(1)
        const [failed] = yield* deliveries(group, 1)
        yield* Effect.exit(Delivery.use(failed!, () => Effect.fail("no")))
        yield* Delivery.handBack(failed!)
        const [again] = yield* Reclaim.once(group, { consumer: "b", count: 1 })
        assert.strictEqual(again!.attempt, 2)
        yield* numberOf(again!)
        yield* expectNothingLeft(group)
      }))
  })
}

const scans: ReadonlyArray<readonly [string, ReadonlyArray<Capability>]> = [
  ...ways,
  [" by scan", ["auto-claim"]]
]

for (const [name, without] of scans) {
  layer(RedisWithout(...without), { excludeTestServices: true })(`what others have released by XNACK${name}`, (it) => {
    it.scoped("L18: is reclaimed at once, whatever its delivery count, and disturbs no other lease", () =>
      Effect.gen(function*() {
        const { group, send, stream } = yield* freshGroup({ minIdle: "150 millis" })
        const redis = yield* Redis.Redis
        if (!(yield* hasXnack)) {
          assert.isFalse((yield* redis.capabilities).has("release"))
          return
        }
        const ids = yield* send(3)
        yield* redis.command("XREADGROUP", "GROUP", group.group, "foreign", "STREAMS", stream, ">")
        yield* redis.command("XNACK", stream, group.group, "FATAL", "IDS", "1", ids[0]!)
        yield* redis.command("XNACK", stream, group.group, "SILENT", "IDS", "2", ids[1]!, ids[2]!)
        assert.strictEqual(
          Option.getOrThrow((yield* ConsumerGroup.info(group)).oldestPendingIdle).toString(),
          "Duration(0)"
        )
        const taken = yield* Reclaim.once(group, { consumer: "a", count: 9, takeOwn: false })
        assert.deepStrictEqual(taken.map(({ id }) => id), ids)
        assert.deepStrictEqual(taken.map(({ attempt }) => attempt), [Number.MAX_SAFE_INTEGER, 1, 1])
        const done = yield* Deferred.make<void>()
        const running = yield* Effect.forEach(
          taken,
          (delivery) => Effect.fork(Delivery.use(delivery, () => Deferred.await(done)))
        )
        const renewals = Metric.value(Metric.taggedWithLabels(Metrics.leaseRenewals, Metrics.labels(stream)))
        yield* until(renewals, ({ count }) => count >= 6)
        yield* Deferred.succeed(done, undefined)
        yield* Fiber.joinAll(running)
        yield* expectNothingLeft(group)
      }))
  })
}
