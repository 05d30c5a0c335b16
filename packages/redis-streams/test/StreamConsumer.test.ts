import { assert, describe, layer } from "@effect/vitest"
import * as ConsumerGroup from "@safesync/redis-streams/ConsumerGroup"
import * as Delivery from "@safesync/redis-streams/Delivery"
import * as Reclaim from "@safesync/redis-streams/Reclaim"
import * as Redis from "@safesync/redis-streams/Redis"
import * as StreamConsumer from "@safesync/redis-streams/StreamConsumer"
import * as StreamProducer from "@safesync/redis-streams/StreamProducer"
import * as Chunk from "effect/Chunk"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { Lease } from "../src/internal/lease.js"
import {
  deliveries,
  expectNothingLeft,
  freshGroup,
  numberOf,
  type Order,
  order,
  pendingOf,
  RedisLive,
  until,
  untilBlocked
} from "./fixture.js"

layer(RedisLive, { excludeTestServices: true })("StreamConsumer", (it) => {
  it.scoped("reads what was sent, in order", () =>
    Effect.gen(function*() {
      const { group, send } = yield* freshGroup()
      const ids = yield* send(150)
      const seen = yield* StreamConsumer.stream(group, { consumer: "a" }).pipe(
        Stream.mapEffect((delivery) => Effect.map(numberOf(delivery), (number) => [delivery.id, number])),
        Stream.take(150),
        Stream.runCollect
      )
      assert.deepStrictEqual(Chunk.toReadonlyArray(seen), ids.map((id, i) => [id, i + 1]))
      yield* expectNothingLeft(group)
    }))

  describe("L15: a delivery is acked when the bracket that took it ends with success, and not otherwise", () => {
    it.scoped("L15: not on failure, defect or interruption", () =>
      Effect.gen(function*() {
        const { group, send } = yield* freshGroup()
        const ids = yield* send(4)
        const exits = yield* StreamConsumer.stream(group, { consumer: "a" }).pipe(
          Stream.take(4),
          Stream.mapEffect((delivery) =>
            Effect.exit(Delivery.use(delivery, (order) => {
              switch (order.number) {
                case 1:
                  return Effect.succeed("done")
                case 2:
                  return Effect.fail("refused")
                case 3:
                  return Effect.die("broken")
                default:
                  return Effect.interrupt
              }
            }))
          ),
          Stream.runCollect
        )
        const [done, refused, broken, interrupted] = Chunk.toReadonlyArray(exits)
        assert.deepStrictEqual(done, Exit.succeed("done"))
        assert.deepStrictEqual(refused, Exit.fail("refused"))
        assert.deepStrictEqual(broken, Exit.die("broken"))
        assert.isTrue(Exit.isInterrupted(interrupted!))
        assert.deepStrictEqual((yield* pendingOf(group)).map(({ id }) => id), ids.slice(1))
      }))

    it.scoped("L15: not when its fiber is interrupted from outside while the handler runs", () =>
      Effect.gen(function*() {
        const { group, send } = yield* freshGroup()
        const ids = yield* send(1)
        const begun = yield* Deferred.make<void>()
        const fiber = yield* StreamConsumer.stream(group, { consumer: "a" }).pipe(
          Stream.mapEffect(Delivery.use(() => Effect.zipRight(Deferred.succeed(begun, void 0), Effect.never))),
          Stream.runDrain,
          Effect.fork
        )
        yield* Deferred.await(begun)
        yield* Fiber.interrupt(fiber)
        assert.deepStrictEqual((yield* pendingOf(group)).map(({ id }) => id), ids)
        const [again] = yield* deliveries(group, 1)
        assert.deepStrictEqual([again!.id, again!.attempt], [ids[0], 2])
      }))

    it.scoped("L15: under take, buffer and concurrent mapEffect, what was not begun is not acked", () =>
      Effect.gen(function*() {
        const { group, send } = yield* freshGroup()
        const ids = yield* send(100)
        const seen = yield* StreamConsumer.stream(group, { consumer: "a", batchSize: 30 }).pipe(
          Stream.buffer({ capacity: 16 }),
          Stream.mapEffect(
            Delivery.use((order) =>
              order.number % 10 === 0 ? Effect.fail("refused") : Effect.as(Effect.yieldNow(), order.number)
            ),
            { concurrency: 8 }
          ),
          Stream.take(3),
          Stream.runCollect,
          Effect.either
        )
        assert.isTrue(Either.isRight(seen))
        const pending = (yield* pendingOf(group)).map(({ id }) => id)
        const { pending: counted } = yield* ConsumerGroup.info(group)
        assert.strictEqual(counted, pending.length)
        for (const [i, id] of ids.entries()) {
          // number 10 and its like failed, so they cannot have been acked
          if ((i + 1) % 10 === 0 && i < pending.length) {
            assert.include(pending, id)
          }
        }
        for (const number of Chunk.toReadonlyArray(Either.getOrThrow(seen))) {
          assert.notInclude(pending, ids[number - 1])
        }
      }))

    it.scoped("L15: a delivery that is begun only after its stream has closed is used and acked, if nobody took it", () =>
      Effect.gen(function*() {
        const { group, send } = yield* freshGroup({ minIdle: "1 hour" })
        yield* send(2)
        const [taken, mine] = Chunk.toReadonlyArray(
          yield* StreamConsumer.stream(group, { consumer: "a" }).pipe(Stream.take(2), Stream.runCollect)
        )
        const [byOther] = yield* Reclaim.once(group, { consumer: "b", count: 1 })
        assert.strictEqual(byOther!.id, taken!.id)
        assert.strictEqual((yield* Effect.flip(numberOf(taken!)))._tag, "LeaseLost")
        assert.strictEqual(yield* numberOf(mine!), 2)
        assert.strictEqual(yield* numberOf(byOther!), 1)
        yield* expectNothingLeft(group)
      }))

    it.scoped("L15: after its stream has closed, a running use still acks", () =>
      Effect.gen(function*() {
        const { group, send } = yield* freshGroup()
        yield* send(1)
        const scope = yield* Scope.make()
        const finish = yield* Deferred.make<void>()
        const begun = yield* Deferred.make<void>()
        const pull = yield* Scope.extend(Stream.toPull(StreamConsumer.stream(group, { consumer: "a" })), scope)
        const [delivery] = Chunk.toReadonlyArray(yield* until(Effect.orDie(pull), (chunk) => chunk.length > 0))
        const using = yield* Effect.fork(
          Delivery.use(delivery!, () => Effect.zipRight(Deferred.succeed(begun, void 0), Deferred.await(finish)))
        )
        yield* Deferred.await(begun)
        yield* Scope.close(scope, Exit.void)
        yield* Deferred.succeed(finish, void 0)
        yield* Fiber.join(using)
        yield* expectNothingLeft(group)
      }))
  })

  describe("L16: what is pending for a consumer comes before what is new", () => {
    it.scoped("L16: at start", () =>
      Effect.gen(function*() {
        const { group, producer, send } = yield* freshGroup()
        yield* send(70)
        yield* StreamConsumer.stream(group, { consumer: "a", batchSize: 70 }).pipe(
          Stream.take(70),
          Stream.mapEffect((delivery) => Effect.exit(Delivery.use(delivery, () => Effect.fail("later")))),
          Stream.runDrain
        )
        yield* StreamProducer.send(producer, order(71))
        const seen = yield* StreamConsumer.stream(group, { consumer: "a", batchSize: 20 }).pipe(
          Stream.mapEffect((delivery) => Effect.map(numberOf(delivery), (number) => [number, delivery.attempt])),
          Stream.take(71),
          Stream.runCollect
        )
        assert.deepStrictEqual(
          Chunk.toReadonlyArray(seen),
          Array.from({ length: 71 }, (_, i) => [i + 1, i < 70 ? 2 : 1])
        )
        yield* expectNothingLeft(group)
      }))

    it.scoped("L16, L21: after a reconnect, and what still runs is not given out again", () =>
      Effect.gen(function*() {
        const { group, producer, send } = yield* freshGroup()
        yield* send(3)
        const redis = yield* Redis.Redis
        const slow = yield* Deferred.make<void>()
        const seen: Array<[number, number]> = []
        const fiber = yield* StreamConsumer.stream(group, {
          consumer: "a",
          block: "1 minute",
          reconnect: Schedule.spaced("10 millis")
        }).pipe(
          Stream.runForEach((delivery) =>
            Effect.zipRight(
              Effect.sync(() => seen.push([delivery.value.number, delivery.attempt])),
              Effect.fork(Effect.ignore(
                Delivery.use(
                  delivery,
                  ({ number }) => number === 2 && delivery.attempt === 1 ? Effect.fail("later") : Deferred.await(slow)
                )
              ))
            )
          ),
          Effect.fork
        )
        const [reader] = yield* untilBlocked(group)
        assert.deepStrictEqual(seen, [[1, 1], [2, 1], [3, 1]])
        yield* redis.command("CLIENT", "KILL", "ID", reader!.id)
        yield* until(Effect.sync(() => seen.length), (length) => length > 3)
        yield* untilBlocked(group)
        yield* StreamProducer.send(producer, order(4))
        yield* until(Effect.sync(() => seen.length), (length) => length > 4)
        assert.deepStrictEqual(seen.slice(3), [[2, 2], [4, 1]])
        // Nor has the server counted another delivery of it.
        assert.deepStrictEqual((yield* pendingOf(group)).map(({ attempts }) => attempts), [1, 2, 1, 1])
        yield* Deferred.succeed(slow, void 0)
        yield* until(pendingOf(group), (pending) => pending.length === 0)
        yield* Fiber.interrupt(fiber)
        yield* expectNothingLeft(group)
      }))
  })

  it.scoped("L18: what has come during a pause of the event loop is asked for before it is begun", () =>
    Effect.gen(function*() {
      const { group } = yield* freshGroup({ minIdle: "90 millis" })
      const taking = yield* Effect.fork(deliveries(group, 1))
      yield* untilBlocked(group)
      const redis = yield* Redis.Redis
      yield* Effect.all([
        redis.command("XADD", group.stream, "*", "data", `{"number":1}`),
        // In the same turn, right after the command has been written.
        Effect.sync(() => {
          const start = performance.now()
          while (performance.now() - start < 200);
        })
      ], { concurrency: 2 })
      const [delivery] = yield* Fiber.join(taking)
      assert.isAbove((delivery as Delivery.Delivery<Order> as Lease<Order>).age, 90)
    }))

  it.scoped("refuses what can never work", () =>
    Effect.gen(function*() {
      const { group } = yield* freshGroup()
      const refusal = (settings: StreamConsumer.Options) =>
        Effect.map(
          Effect.flip(Stream.runDrain(StreamConsumer.stream(group, settings))),
          (error) => error._tag === "InvalidOptions" ? error.option : error._tag
        )
      assert.strictEqual(yield* refusal({ consumer: "" }), "consumer")
      assert.strictEqual(yield* refusal({ consumer: "safesync.parked" }), "consumer")
      assert.strictEqual(yield* refusal({ consumer: "a", batchSize: 0 }), "batchSize")
      assert.strictEqual(yield* refusal({ consumer: "a", batchSize: -1 }), "batchSize")
      assert.strictEqual(yield* refusal({ consumer: "a", batchSize: 1.5 }), "batchSize")
      assert.strictEqual(yield* refusal({ consumer: "a", block: -1 }), "block")
      assert.strictEqual(yield* refusal({ consumer: "a", block: 0 }), "block")
      assert.strictEqual(yield* refusal({ consumer: "a", block: Duration.infinity }), "block")
    }))
})
