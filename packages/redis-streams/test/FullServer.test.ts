import { assert, expect, layer } from "@effect/vitest"
import * as ConsumerGroup from "@safesync/redis-streams/ConsumerGroup"
import * as DeadLetter from "@safesync/redis-streams/DeadLetter"
import * as Delivery from "@safesync/redis-streams/Delivery"
import * as GroupMetrics from "@safesync/redis-streams/GroupMetrics"
import * as Reclaim from "@safesync/redis-streams/Reclaim"
import * as Redis from "@safesync/redis-streams/Redis"
import * as StreamConsumer from "@safesync/redis-streams/StreamConsumer"
import * as StreamIdentity from "@safesync/redis-streams/StreamIdentity"
import * as StreamProducer from "@safesync/redis-streams/StreamProducer"
import * as RedisServer from "@safesync/testkit/RedisServer"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import { type Capability, Without } from "../src/internal/capabilities.js"
import { age, deliveries, expectNothingLeft, freshGroup, order, RedisFromServer } from "./fixture.js"

/** Its memory is the whole server's. */
const own = (...without: ReadonlyArray<Capability>) =>
  Layer.provideMerge(
    Layer.provide(RedisFromServer, Layer.succeed(Without, new Set(without))),
    RedisServer.layerOwn()
  )

/** From here on the server takes no writes that need memory. */
const full = Effect.flatMap(Redis.Redis, (redis) =>
  Effect.acquireRelease(
    redis.command("CONFIG", "SET", "maxmemory", "1"),
    () => Effect.orDie(redis.command("CONFIG", "SET", "maxmemory", "0"))
  ))

const ways: ReadonlyArray<readonly [string, ReadonlyArray<Capability>]> = [
  ["", []],
  [", by the ways of Redis 5.0", ["auto-claim", "trim-min-id", "trim-acked", "claiming-read", "release"]]
]

for (const [name, without] of ways) {
  layer(own(...without), { excludeTestServices: true })(`A server whose memory is full${name}`, (it) => {
    it.scoped("is worked off: a consumer starts, reads, acks, and trims", () =>
      Effect.gen(function*() {
        const { group, producer, send, stream } = yield* freshGroup()
        const redis = yield* Redis.Redis
        yield* send(300)
        yield* StreamIdentity.create(group)
        const once = yield* StreamProducer.sendOnce(producer, order(301), { key: "k", remember: "1 hour" })
        yield* Effect.scoped(deliveries(group, 1, "gone"))
        yield* full
        assert.strictEqual((yield* Effect.flip(send(1)))._tag, "OutOfMemory")

        assert.isFalse(yield* ConsumerGroup.create(group))
        assert.isFalse(yield* StreamIdentity.create(group))
        assert.strictEqual((yield* Effect.flip(ConsumerGroup.create({ ...group, group: "new" })))._tag, "OutOfMemory")
        const elsewhere = { ...group, stream: `${stream}:new` }
        assert.strictEqual((yield* Effect.flip(ConsumerGroup.create(elsewhere)))._tag, "OutOfMemory")
        expect(yield* StreamProducer.sendOnce(producer, order(301), { key: "k", remember: "1 hour" }))
          .toEqual({ id: once.id, isNew: false })

        const { consumers } = yield* ConsumerGroup.info(group)
        assert.isFalse(consumers.some(({ name }) => name === "new"))
        yield* Effect.forEach(
          yield* Reclaim.once({ ...group, minIdle: group.minIdle }, { consumer: "new", count: 9 }),
          (
            delivery
          ) => Delivery.use(delivery, () => Effect.void)
        )
        const handled = yield* StreamConsumer.stream(group, {
          consumer: "new",
          reclaim: { every: Schedule.spaced("1 hour") }
        }).pipe(
          Stream.mapEffect((delivery) => Delivery.use(delivery, () => Effect.succeed(delivery.value.number))),
          Stream.take(250),
          Stream.runCollect
        )
        assert.strictEqual(handled.length, 250)
        const next = Option.getOrThrow(yield* StreamConsumer.next(group, { consumer: "new" }))
        yield* Delivery.retryAfter(next, "1 second")
        yield* age(group, [next.id], 3_600_000)
        const [again] = yield* Reclaim.once(group, { consumer: "new", count: 1 })
        yield* Delivery.use(again!, () => Effect.void)
        assert.isAtLeast(yield* StreamProducer.trimAcked(producer), 100)
        yield* GroupMetrics.update(group)
        // Before 7.0 that is refused as each XGROUP is.
        if ((yield* redis.capabilities).has("auto-claim")) {
          assert.isTrue(yield* ConsumerGroup.removeConsumer(group, "gone", { handTo: "new" }))
        }
        assert.strictEqual(yield* redis.command("XLEN", group.deadLetterStream), 0)
      }))

    it.scoped("has its dead letters listed, sent again and thrown away", () =>
      Effect.gen(function*() {
        const { group, send } = yield* freshGroup()
        yield* send(3)
        yield* Effect.flatMap(deliveries(group, 3), Effect.forEach((delivery) => Delivery.deadLetter(delivery, "no")))
        yield* full
        const letters = [...yield* Stream.runCollect(DeadLetter.stream(group))]
        // It only moves.
        assert.isTrue(Option.isSome(yield* DeadLetter.replay(group, letters[0]!)))
        const [again] = yield* deliveries(group, 1)
        yield* Delivery.deadLetter(again!, "no")
        assert.isTrue(yield* DeadLetter.remove(group, letters[1]!))
        assert.strictEqual(yield* DeadLetter.purge(group, { olderThan: 0 }), 2)
        yield* expectNothingLeft(group)
      }))

    it.scoped("has a consumer that goes on in a group that another one has created again", () =>
      Effect.gen(function*() {
        const { group, send, stream } = yield* freshGroup({ whenLost: { recreateFrom: "0" } })
        const redis = yield* Redis.Redis
        yield* send(2)
        let lost = true
        const seen = yield* StreamConsumer.stream(group, { consumer: "a", batchSize: 1 }).pipe(
          Stream.mapEffect((delivery) =>
            Effect.gen(function*() {
              if (lost) {
                lost = false
                yield* redis.command("XGROUP", "DESTROY", stream, group.group)
                // It is told that there is no group, and by then another consumer has been quicker.
              }
              return delivery.value.number
            })
          ),
          Stream.take(2),
          Stream.runCollect,
          Effect.provideService(Redis.Redis, {
            ...redis,
            command: (...command) =>
              command[1] !== "CREATE" ? redis.command(...command) : Effect.scoped(Effect.zipRight(
                redis.command(...command),
                Effect.zipRight(Effect.provideService(full, Redis.Redis, redis), redis.command(...command))
              ))
          })
        )
        assert.deepStrictEqual([...seen], [1, 1])
      }))
  })
}
