import { assert, expect, layer } from "@effect/vitest"
import * as ConsumerGroup from "@safesync/redis-streams/ConsumerGroup"
import * as Delivery from "@safesync/redis-streams/Delivery"
import * as Redis from "@safesync/redis-streams/Redis"
import * as StreamConsumer from "@safesync/redis-streams/StreamConsumer"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import {
  age,
  deliveries,
  expectNothingLeft,
  freshGroup,
  Order,
  pendingOf,
  RedisLive,
  until,
  untilBlocked
} from "./fixture.js"

layer(RedisLive, { excludeTestServices: true })("ConsumerGroup", (it) => {
  it.scoped("create makes the group once, and leaves one that exists where it stands", () =>
    Effect.gen(function*() {
      const { group, send } = yield* freshGroup()
      yield* send(2)
      const held = yield* deliveries(group, 2)
      assert.isFalse(yield* ConsumerGroup.create(group))
      assert.isTrue(yield* ConsumerGroup.create({ ...group, group: "another" }))
      assert.strictEqual((yield* ConsumerGroup.info(group)).pending, 2)
      yield* Effect.forEach(held, (delivery) => Delivery.use(delivery, () => Effect.void))
      yield* expectNothingLeft(group)
    }))

  it.scoped("ack by id may be repeated, and says how many were pending", () =>
    Effect.gen(function*() {
      const { group, send } = yield* freshGroup()
      yield* send(1_202)
      const held = yield* deliveries(group, 1_201)
      const [first, ...rest] = held.map(({ id }) => id)
      assert.strictEqual(yield* ConsumerGroup.ack(group, [first!]), 1)
      assert.strictEqual(yield* ConsumerGroup.ack(group, [first!]), 0)
      assert.strictEqual(yield* ConsumerGroup.ack(group, [first!, ...rest, "0-1"]), 1_200)
      assert.strictEqual(yield* ConsumerGroup.ack(group, []), 0)
      yield* expectNothingLeft(group)
      // Nothing of it is delivered again, and whoever holds it is not told.
      assert.strictEqual(yield* Delivery.use(held[0]!, () => Effect.succeed("handled")), "handled")
      assert.strictEqual((yield* ConsumerGroup.info(group)).pending, 0)
      const refused = yield* Effect.flip(ConsumerGroup.ack(group, [rest[0]!, "payments"]))
      expect(refused).toMatchObject({ _tag: "InvalidOptions", option: "ids" })
    }))

  it.scoped("a group that starts at $ does not see what was sent before", () =>
    Effect.gen(function*() {
      const { group, send } = yield* freshGroup()
      yield* send(3)
      const late = { ...group, group: "late", startId: "$" }
      yield* ConsumerGroup.create(late)
      yield* send(1)
      assert.strictEqual((yield* deliveries(late, 1)).length, 1)
      assert.deepStrictEqual((yield* ConsumerGroup.info(late)).pending, 1)
    }))

  it.scoped("info tells length, lag, pending, the oldest pending entry's idle time, and the consumers", () =>
    Effect.gen(function*() {
      const { group, send } = yield* freshGroup()
      yield* send(5)
      const empty = yield* ConsumerGroup.info(group)
      expect(empty).toEqual({
        length: 5,
        // before 7.0 the server cannot tell
        lag: Option.map(empty.lag, () => 5),
        pending: 0,
        oldestPendingIdle: Option.none(),
        consumers: []
      })
      const held = yield* deliveries(group, 5)
      yield* Delivery.use(held[4]!, () => Effect.void)
      yield* age(group, [held[0]!.id], 5_000)
      const info = yield* ConsumerGroup.info(group)
      assert.strictEqual(info.pending, 4)
      // that nothing is left, each server can tell
      expect(info.lag).toEqual(Option.some(0))
      assert.isAtLeast(Duration.toMillis(Option.getOrThrow(info.oldestPendingIdle)), 5000)
      assert.deepStrictEqual(info.consumers.map(({ name, pending }) => [name, pending]), [["a", 4]])
    }))

  it.scoped("info of a group that does not exist is NoGroup", () =>
    Effect.gen(function*() {
      const { group } = yield* freshGroup()
      const nowhere = yield* Effect.flip(ConsumerGroup.info({ ...group, stream: `${group.stream}:none` }))
      assert.strictEqual(nowhere._tag, "NoGroup")
      const noGroup = yield* Effect.flip(ConsumerGroup.info({ ...group, group: "none" }))
      assert.strictEqual(noGroup._tag, "NoGroup")
    }))

  it.scoped("removeConsumer never forgets what is pending", () =>
    Effect.gen(function*() {
      const { group, send } = yield* freshGroup()
      yield* send(1)
      const [delivery] = yield* deliveries(group, 1)
      assert.isFalse(yield* ConsumerGroup.removeConsumer(group, "a"))
      yield* Delivery.use(delivery!, () => Effect.void)
      assert.isTrue(yield* ConsumerGroup.removeConsumer(group, "a"))
      assert.deepStrictEqual((yield* ConsumerGroup.info(group)).consumers, [])
      yield* expectNothingLeft(group)
    }))

  it.scoped("removeConsumer hands over first, if asked", () =>
    Effect.gen(function*() {
      const { group, redis, send, stream } = yield* freshGroup()
      const ids = yield* send(1200)
      // Read by a process that was killed a minute ago.
      yield* redis.command("XREADGROUP", "GROUP", "billing", "a", "STREAMS", stream, ">")
      yield* age(group, ids, 60_000)
      assert.isTrue(yield* ConsumerGroup.removeConsumer(group, "a", { handTo: "b" }))
      const pending = yield* pendingOf(group)
      assert.deepStrictEqual(
        pending.map(({ attempts, consumer, id }) => [id, consumer, attempts]),
        ids.map((id) => [id, "b", 1])
      )
      // They are still that old.
      assert.isAtLeast(pending[0]!.idle, 60_000)
      const taken = yield* deliveries(group, 1200, "b")
      yield* Effect.forEach(taken, (delivery) => Delivery.use(delivery, () => Effect.void), {
        concurrency: "unbounded"
      })
      yield* expectNothingLeft(group)
      const same = yield* Effect.flip(ConsumerGroup.removeConsumer(group, "b", { handTo: "b" }))
      assert.strictEqual(same._tag, "InvalidOptions")
    }))

  it.scoped("removeIdleConsumers removes those that are idle and have nothing pending, and nobody else", () =>
    Effect.gen(function*() {
      const { group, send } = yield* freshGroup({ minIdle: "1 hour" })
      const redis = yield* Redis.Redis
      const names = Effect.map(ConsumerGroup.info(group), (info) => info.consumers.map(({ name }) => name).sort())
      yield* send(2)
      const [held] = yield* deliveries(group, 2, "a")
      yield* redis.command("XREADGROUP", "GROUP", group.group, "gone", "STREAMS", group.stream, ">")
      yield* redis.command("XREADGROUP", "GROUP", group.group, "gone too", "STREAMS", group.stream, ">")
      // Redis 7.2 and newer know of a consumer that has only tried.
      for (const name of ["gone", "gone too"]) {
        yield* redis.command("XCLAIM", group.stream, group.group, name, "0", held!.id)
        yield* redis.command("XCLAIM", group.stream, group.group, "a", "0", held!.id)
      }
      assert.deepStrictEqual(yield* names, ["a", "gone", "gone too"])
      assert.deepStrictEqual(yield* ConsumerGroup.removeIdleConsumers(group, { idle: "1 hour" }), [])
      const removed = yield* until(
        ConsumerGroup.removeIdleConsumers(group, { idle: "1 milli" }),
        (removed) => removed.length > 0
      )
      const rest = yield* until(
        Effect.zipRight(ConsumerGroup.removeIdleConsumers(group, { idle: "1 milli" }), names),
        (names) => names.length === 1
      )
      assert.include(["gone", "gone too"], removed[0])
      assert.deepStrictEqual(rest, ["a"])
      assert.strictEqual((yield* pendingOf(group)).length, 2)
      const error = yield* Effect.flip(ConsumerGroup.removeIdleConsumers(group, { idle: 0 }))
      assert.strictEqual(error._tag === "InvalidOptions" && error.option, "idle")
    }))

  it.scoped("a consumer that waits and was removed misses nothing", () =>
    Effect.gen(function*() {
      const { group, send } = yield* freshGroup()
      const reading = yield* Effect.fork(
        StreamConsumer.stream(group, { consumer: "a", block: "1 minute" }).pipe(
          Stream.mapEffect(Delivery.use(({ number }) => Effect.succeed(number))),
          Stream.runHead
        )
      )
      yield* untilBlocked(group)
      yield* until(
        Effect.zipRight(
          ConsumerGroup.removeIdleConsumers(group, { idle: "1 milli" }),
          ConsumerGroup.info(group)
        ),
        ({ consumers }) => consumers.length === 0
      )
      yield* send(1)
      expect(yield* Fiber.join(reading)).toEqual(Option.some(1))
      yield* expectNothingLeft(group)
    }))

  it.effect("make refuses what can never work", () =>
    Effect.gen(function*() {
      const good = { stream: "s", group: "g", schema: Order, startId: "0", minIdle: "1 second" } as const
      const refusal = (bad: Partial<Parameters<typeof ConsumerGroup.make>[0]>) =>
        Effect.map(
          Effect.flip(ConsumerGroup.make({ ...good, ...bad } as typeof good)),
          (error) => error.option
        )
      assert.strictEqual(yield* refusal({ stream: " " }), "stream")
      assert.strictEqual(yield* refusal({ group: "" }), "group")
      assert.strictEqual(yield* refusal({ startId: "begin" }), "startId")
      assert.strictEqual(yield* refusal({ startId: ">" }), "startId")
      assert.strictEqual(yield* refusal({ minIdle: 0 }), "minIdle")
      assert.strictEqual(yield* refusal({ minIdle: -5 }), "minIdle")
      assert.strictEqual(yield* refusal({ deadLetterStream: "" }), "deadLetterStream")
      assert.strictEqual(yield* refusal({ deadLetterStream: "s" }), "deadLetterStream")
      assert.strictEqual((yield* ConsumerGroup.make(good)).deadLetterStream, "{s}:dead")
      assert.strictEqual((yield* ConsumerGroup.make({ ...good, stream: "{a}s" })).deadLetterStream, "{a}s:dead")
    }))
})
