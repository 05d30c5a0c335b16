import { assert, describe, layer } from "@effect/vitest"
import * as Delivery from "@safesync/redis-streams/Delivery"
import * as Reclaim from "@safesync/redis-streams/Reclaim"
import * as Redis from "@safesync/redis-streams/Redis"
import type { InvalidOptions, RedisError } from "@safesync/redis-streams/RedisError"
import * as StreamConsumer from "@safesync/redis-streams/StreamConsumer"
import * as RedisServer from "@safesync/testkit/RedisServer"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import { age, expectNothingLeft, freshGroup, type Order, until, untilBlocked } from "./fixture.js"

/** A server of its own, whose users and limits are the test's. */
const own = Layer.provideMerge(
  Layer.unwrapEffect(Effect.map(RedisServer.RedisServer, ({ url }) => Redis.layer({ url }))),
  RedisServer.layerOwn()
)

/** The layer of another user than the one that the test works as. */
const as = (login: string) =>
  Effect.map(
    RedisServer.RedisServer,
    ({ url }) => Redis.layer({ url: Redacted.make(Redacted.value(url).replace("redis://", `redis://${login}@`)) })
  )

const patiently = Schedule.spaced("20 millis")

/** Consumes in the background; gives what the stream's schedule has been told, and what was handled. */
const consuming = (
  stream: (
    reconnect: Schedule.Schedule<unknown, RedisError>
  ) => Stream.Stream<Delivery.Delivery<Order>, RedisError | InvalidOptions, Redis.Redis>
) =>
  Effect.gen(function*() {
    const told: Array<string> = []
    const handled: Array<number> = []
    const reconnect = Schedule.tapInput(patiently, (error: RedisError) => Effect.sync(() => told.push(error._tag)))
    const fiber = yield* Effect.fork(Stream.runForEach(stream(reconnect), (delivery) =>
      Delivery.use(delivery, ({ number }) =>
        Effect.sync(() => handled.push(number)))))
    const ends = Effect.flatMap(Fiber.join(fiber), () =>
      Effect.dieMessage("the consumer has ended"))
    const all = (numbers: ReadonlyArray<number>) =>
      Effect.raceFirst(until(Effect.sync(() => handled.length), (n) => n >= numbers.length), ends).pipe(
        Effect.tap(() => Effect.sync(() => assert.deepStrictEqual(handled, numbers)))
      )
    const hears = (tag: RedisError["_tag"]) =>
      Effect.raceFirst(until(Effect.sync(() => told), (_) => _.includes(tag)), ends)
    return { told, handled, fiber, all, hears }
  })

layer(own, { excludeTestServices: true })("A consumer whose server refuses it", (it) => {
  it.scoped("goes on by its schedule when the server has had as many clients as it takes (maxclients)", () =>
    Effect.gen(function*() {
      const admin = yield* Redis.Redis
      const { group, send } = yield* freshGroup()
      const { url } = yield* RedisServer.RedisServer
      const layer = yield* Layer.build(Layer.fresh(Redis.layer({ url })))
      const consumer = yield* Effect.provide(
        consuming((reconnect) => StreamConsumer.stream(group, { consumer: "a", reconnect })),
        layer
      )
      yield* send(1)
      yield* consumer.all([1])
      const [reader] = yield* untilBlocked(group)
      const rejected = Effect.map(
        admin.command("INFO", "stats"),
        (info) => Number(/rejected_connections:(\d+)/.exec(String(info))![1])
      )
      yield* admin.command("CONFIG", "SET", "maxclients", "1")
      yield* admin.command("CLIENT", "KILL", "ID", reader!.id)
      yield* consumer.hears("ConnectFailed")
      // The connection that all share is refused as well.
      yield* admin.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
      const before = yield* rejected
      yield* until(rejected, (n) => n > before)
      yield* admin.command("CONFIG", "SET", "maxclients", "1000")
      yield* send(1)
      yield* consumer.all([1, 1])
      yield* Fiber.interrupt(consumer.fiber)
      yield* expectNothingLeft(group)
    }))

  it.scoped("a new layer is refused with ConnectFailed, and with nothing else", () =>
    Effect.gen(function*() {
      const admin = yield* Redis.Redis
      const { url } = yield* RedisServer.RedisServer
      yield* admin.command("CONFIG", "SET", "maxclients", "1")
      for (const layer of [Redis.layer({ url }), Redis.layerCluster([url])]) {
        const error = yield* Effect.flip(Effect.scoped(Layer.build(Layer.fresh(layer))))
        assert.strictEqual(error._tag, "ConnectFailed")
      }
      yield* admin.command("CONFIG", "SET", "maxclients", "1000")
    }))

  it.scoped("an operator's CLIENT UNBLOCK, with ERROR or without, ends one wait and no stream", () =>
    Effect.gen(function*() {
      const redis = yield* Redis.Redis
      const { group, send } = yield* freshGroup()
      const consumer = yield* Effect.fork(
        StreamConsumer.stream(group, { consumer: "a", block: "1 minute" }).pipe(
          Stream.mapEffect(Delivery.use(({ number }) => Effect.succeed(number))),
          Stream.take(1),
          Stream.runCollect
        )
      )
      for (const way of ["ERROR", "ERROR", "TIMEOUT"]) {
        const [reader] = yield* untilBlocked(group)
        yield* until(redis.command("CLIENT", "UNBLOCK", reader!.id, way), (n) => n === 1)
      }
      const [reader] = yield* Effect.raceFirst(untilBlocked(group), Effect.zipRight(Fiber.join(consumer), Effect.never))
      yield* send(1)
      assert.deepStrictEqual([...yield* Fiber.join(consumer)], [1])
      assert.isDefined(reader)
      yield* expectNothingLeft(group)
    }))

  it.scoped("an operator's CLIENT UNBLOCK … ERROR of a read of the caller's is no NoGroup", () =>
    Effect.gen(function*() {
      const redis = yield* Redis.Redis
      const { group, stream } = yield* freshGroup()
      const id = yield* redis.command("CLIENT", "ID")
      const reading = yield* Effect.fork(Effect.flip(redis.command("XREAD", "BLOCK", "60000", "STREAMS", stream, "$")))
      const { url } = yield* RedisServer.RedisServer
      const admin = yield* Layer.build(Layer.fresh(Redis.layer({ url })))
      yield* until(
        Effect.provide(Effect.flatMap(Redis.Redis, (_) => _.command("CLIENT", "UNBLOCK", String(id), "ERROR")), admin),
        (n) => n === 1
      )
      const error = yield* Fiber.join(reading)
      assert.strictEqual(error._tag === "CommandFailed" && error.code, "UNBLOCKED")
      assert.isDefined(group)
    }))

  describe("credentials and rights", () => {
    const users: ReadonlyArray<
      readonly [what: string, lose: ReadonlyArray<string>, regain: ReadonlyArray<string>, tag: RedisError["_tag"]]
    > = [
      ["a password that is not the right one any more", ["resetpass", ">other"], [">pass"], "LoginRefused"],
      ["a user that is off", ["off"], ["on"], "LoginRefused"],
      ["a right to read that is missing", ["-xreadgroup"], ["+xreadgroup"], "NoPermission"],
      ["a right to scripts that is missing", ["-evalsha", "-eval"], ["+evalsha", "+eval"], "NoPermission"],
      ["a right to the key that is missing", ["resetkeys"], ["~*"], "NoPermission"]
    ]
    for (const [what, lose, regain, tag] of users) {
      it.scoped(`${what} is an outage for a consumer that has read, and a failure at once at its start`, () =>
        Effect.gen(function*() {
          const admin = yield* Redis.Redis
          const { group, send } = yield* freshGroup()
          const user = `user-${group.stream.slice(5, 13)}`
          const set = (...rules: ReadonlyArray<string>) => admin.command("ACL", "SETUSER", user, ...rules)
          const kill = admin.command("CLIENT", "KILL", "USER", user)
          yield* set("on", ">pass", "~*", "+@all")
          const wrong = yield* as(`${user}:pass`)
          const layer = yield* Layer.build(Layer.fresh(wrong))
          const consumer = yield* Effect.provide(
            consuming((reconnect) => StreamConsumer.stream(group, { consumer: "a", reconnect })),
            layer
          )
          yield* send(1)
          yield* consumer.all([1])
          yield* untilBlocked(group)
          yield* set(...lose)
          yield* kill
          yield* consumer.hears(tag)

          // Those that begin meanwhile are told at once, though they have a schedule.
          const starting = StreamConsumer.stream(group, { consumer: "b", reconnect: patiently }).pipe(
            Stream.runDrain,
            Effect.provide(Layer.fresh(wrong)),
            Effect.flip
          )
          assert.strictEqual((yield* starting)._tag, tag)

          yield* send(1)
          yield* set(...regain)
          yield* consumer.all([1, 1])
          yield* Fiber.interrupt(consumer.fiber)
          yield* expectNothingLeft(group)
          yield* admin.command("ACL", "DELUSER", user)
        }))
    }

    it.scoped("Reclaim goes on as well", () =>
      Effect.gen(function*() {
        const admin = yield* Redis.Redis
        const { group, redis, send, stream } = yield* freshGroup()
        yield* admin.command("ACL", "SETUSER", "reclaimer", "on", ">pass", "~*", "+@all")
        const layer = yield* Layer.build(Layer.fresh(yield* as("reclaimer:pass")))
        const passed = yield* Deferred.make<void>()
        const every = Schedule.tapOutput(Schedule.spaced("10 millis"), () => Deferred.succeed(passed, undefined))
        const consumer = yield* Effect.provide(
          consuming((reconnect) => Reclaim.stream(group, { consumer: "a", every, reconnect })),
          layer
        )
        yield* Deferred.await(passed)
        yield* admin.command("ACL", "SETUSER", "reclaimer", "-evalsha", "-eval")
        yield* consumer.hears("NoPermission")
        const [id] = yield* send(1)
        yield* redis.command("XREADGROUP", "GROUP", group.group, "gone", "STREAMS", stream, ">")
        yield* age(group, [id!], 120_000, "gone")
        yield* admin.command("ACL", "SETUSER", "reclaimer", "+evalsha", "+eval")
        yield* consumer.all([1])
        yield* Fiber.interrupt(consumer.fiber)
        yield* expectNothingLeft(group)
      }))

    it.scoped("without a schedule they end the stream, as every other failure does", () =>
      Effect.gen(function*() {
        const admin = yield* Redis.Redis
        const { group } = yield* freshGroup()
        yield* admin.command("ACL", "SETUSER", "brief", "on", ">pass", "~*", "+@all")
        const layer = yield* Layer.build(Layer.fresh(yield* as("brief:pass")))
        const consumer = yield* Effect.fork(
          Effect.provide(Stream.runDrain(StreamConsumer.stream(group, { consumer: "a", block: "50 millis" })), layer)
        )
        yield* untilBlocked(group)
        yield* admin.command("ACL", "SETUSER", "brief", "-xreadgroup")
        assert.strictEqual((yield* Effect.flip(Fiber.join(consumer)))._tag, "NoPermission")
      }))
  })
})
