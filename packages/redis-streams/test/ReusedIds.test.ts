/** An id that is given out once more, since its stream was made anew: with `FLUSHALL`, by hand, or by a clock that has gone back. */
import { assert, layer } from "@effect/vitest"
import * as ConsumerGroup from "@safesync/redis-streams/ConsumerGroup"
import * as Delivery from "@safesync/redis-streams/Delivery"
import * as Redis from "@safesync/redis-streams/Redis"
import * as StreamConsumer from "@safesync/redis-streams/StreamConsumer"
import * as RedisServer from "@safesync/testkit/RedisServer"
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import {
  connect,
  deliveries,
  expectNothingLeft,
  freshGroup,
  numberOf,
  type Order,
  pendingOf,
  RedisFromServer,
  until
} from "./fixture.js"

const Live = Layer.provideMerge(RedisFromServer, RedisServer.layerOwn())

const add = (stream: string, id: string, number: number) =>
  Effect.flatMap(Redis.Redis, (redis) => redis.command("XADD", stream, id, "data", `{"number":${number}}`))

/** How a stream is made anew, and its group with it. */
const anew = {
  FLUSHALL: (): Redis.Command => ["FLUSHALL"],
  DEL: ({ stream }: { readonly stream: string }): Redis.Command => ["DEL", stream]
}

type Group = ConsumerGroup.ConsumerGroup<Order>

const makeAnew = (how: keyof typeof anew, group: Group) =>
  Effect.gen(function*() {
    const redis = yield* Redis.Redis
    yield* redis.command(...anew[how](group))
    yield* ConsumerGroup.create(group)
    yield* add(group.stream, "5-1", 2)
  })

/** How a handler ends that is told when to. */
const endings = {
  use: (delivery: Delivery.Delivery<Order>, until: Effect.Effect<void>) => Delivery.use(delivery, () => until),
  "use, uninterruptible": (delivery: Delivery.Delivery<Order>, until: Effect.Effect<void>) =>
    Effect.uninterruptible(Delivery.use(delivery, () => until)),
  useMany: (delivery: Delivery.Delivery<Order>, until: Effect.Effect<void>) =>
    Delivery.useMany([delivery], () => until),
  scoped: (delivery: Delivery.Delivery<Order>, until: Effect.Effect<void>) =>
    Effect.scoped(Effect.zipRight(Delivery.scoped(delivery), until)),
  "retryAfter": (delivery: Delivery.Delivery<Order>, until: Effect.Effect<void>) =>
    Effect.zipRight(until, Delivery.retryAfter(delivery, 0)),
  "deadLetter": (delivery: Delivery.Delivery<Order>, until: Effect.Effect<void>) =>
    Effect.zipRight(until, Delivery.deadLetter(delivery, "no"))
}

const isLeaseLost = <A, E>(exit: Exit.Exit<A, E>) =>
  Exit.isFailure(exit) &&
  (Cause.isInterruptedOnly(exit.cause) || (Cause.squash(exit.cause) as { _tag?: string })._tag === "LeaseLost")

layer(Live, { excludeTestServices: true })("an id that is used again", (it) => {
  for (const how of ["FLUSHALL", "DEL"] as const) {
    for (const [name, ending] of Object.entries(endings)) {
      /** A handler of 5-1 runs; the stream is made anew; `read` gets the new 5-1; then the handler ends. */
      const scenario = <R>(
        read: (
          group: Group,
          all: Stream.Stream<Delivery.Delivery<Order>, never, Redis.Redis>
        ) => Effect.Effect<Delivery.Delivery<Order>, unknown, R>
      ) =>
        Effect.gen(function*() {
          const { group, stream } = yield* freshGroup()
          yield* add(stream, "5-1", 1)
          const pull = yield* Stream.toPull(StreamConsumer.stream(group, { consumer: "a", block: "100 millis" }))
          const reading = Stream.repeatEffectChunkOption(pull).pipe(Stream.orDie)
          const [old] = yield* Stream.runCollect(Stream.take(reading, 1))
          const end = yield* Deferred.make<void>()
          const handler = yield* Effect.fork(ending(old!, Deferred.await(end)))
          yield* Effect.yieldNow()
          yield* makeAnew(how, group)
          const other = yield* read(group, reading)
          yield* Deferred.succeed(end, undefined)
          const exit = yield* Fiber.await(handler)
          assert.isTrue(isLeaseLost(exit), `the old handler ended with ${exit}`)
          assert.deepStrictEqual((yield* pendingOf(group)).map(({ consumer, id }) => [id, consumer]), [[
            "5-1",
            other.consumer
          ]])
          assert.strictEqual(yield* numberOf(other), 2)
          yield* expectNothingLeft(group)
        })

      it.scoped(`L15: ${how}, ${name}: the entry of another consumer is not touched`, () =>
        scenario((group) => Effect.map(deliveries(group, 1, "b"), ([other]) => other!)))

      it.scoped(`L15: ${how}, ${name}: the entry of another process is not touched`, () =>
        scenario((group) =>
          Effect.gen(function*() {
            const { url } = yield* RedisServer.RedisServer
            const [other] = yield* Effect.provideService(
              deliveries(group, 1, "b"),
              Redis.Redis,
              yield* connect({ url })
            )
            return other!
          })
        ))

      it.scoped(`L15, L16: ${how}, ${name}: the entry that the same consumer reads is delivered, and not touched`, () =>
        scenario((_, all) => Effect.map(Stream.runCollect(Stream.take(all, 1)), ([other]) => other!)))

      it.scoped(`L15, L16: ${how}, ${name}: so is the one that it asks for by next`, () =>
        scenario((group) => Effect.map(StreamConsumer.next(group, { consumer: "a" }), Option.getOrThrow)))
    }
  }

  it.scoped("an entry that has come again is the same one where it holds the same: its handler goes on, and acks it", () =>
    Effect.gen(function*() {
      const { group, redis, stream } = yield* freshGroup()
      yield* add(stream, "5-1", 1)
      const [old] = yield* deliveries(group, 1)
      yield* Delivery.use(old!, () =>
        Effect.gen(function*() {
          yield* redis.command("XGROUP", "DESTROY", stream, group.group)
          yield* ConsumerGroup.create(group)
          yield* add(stream, "5-2", 2)
          assert.strictEqual(Option.getOrThrow(yield* StreamConsumer.next(group, { consumer: "a" })).id, "5-2")
        }))
      assert.deepStrictEqual((yield* pendingOf(group)).map(({ id }) => id), ["5-2"])
    }))

  it.scoped("a renewal that finds another entry remembers it, however often that one was delivered when the handler ends", () =>
    Effect.gen(function*() {
      const { group, redis, stream } = yield* freshGroup({ minIdle: "60 millis" })
      yield* add(stream, "5-1", 1)
      const [old] = yield* deliveries(group, 1)
      const exit = yield* Effect.exit(Effect.uninterruptible(Delivery.use(old!, () =>
        Effect.gen(function*() {
          yield* makeAnew("DEL", group)
          yield* redis.command("XREADGROUP", "GROUP", group.group, "b", "STREAMS", stream, ">")
          yield* until(Effect.sync(() => (old as { state?: string }).state), (state) => state === "lost")
          yield* redis.command("XCLAIM", stream, group.group, "c", "0", "5-1")
        }).pipe(Effect.scoped))))
      assert.isTrue(isLeaseLost(exit))
      assert.deepStrictEqual((yield* pendingOf(group)).map(({ attempts, consumer }) => [consumer, attempts]), [[
        "c",
        2
      ]])
    }))

  it.scoped("of many that end together, only the id that is another entry's is refused", () =>
    Effect.gen(function*() {
      const { group, stream } = yield* freshGroup()
      for (const n of [1, 2, 3]) yield* add(stream, `5-${n}`, n)
      const old = yield* deliveries(group, 3)
      const error = yield* Effect.flip(Delivery.useMany(old, () =>
        Effect.gen(function*() {
          yield* makeAnew("DEL", group)
          for (const n of [2, 3]) yield* add(stream, `5-${n}`, n)
          yield* deliveries(group, 1, "b")
        })))
      assert.strictEqual(error._tag === "LeaseLost" && error.id, "5-1")
      assert.deepStrictEqual(old.map((delivery) => [Delivery.isLost(delivery), Delivery.isSettled(delivery)]), [
        [true, false],
        [false, true],
        [false, true]
      ])
    }).pipe(Effect.scoped))

  it.scoped("a handler whose group is gone has acked all the same; however many end at once, and wherever the script is new", () =>
    Effect.gen(function*() {
      const { group, redis, send, stream } = yield* freshGroup()
      yield* send(1200)
      const all = yield* deliveries(group, 1200)
      yield* numberOf(all[1]!)
      yield* redis.command("SCRIPT", "FLUSH")
      yield* Delivery.useMany(all.slice(2), () => Effect.void)
      assert.strictEqual((yield* pendingOf(group)).length, 1)
      yield* redis.command("DEL", stream)
      assert.strictEqual(yield* numberOf(all[0]!), 1)
    }))
})
