/** A group that vanishes while it is read: `NoGroup`, or created again where its policy says so. */
import { assert, layer } from "@effect/vitest"
import * as ConsumerGroup from "@safesync/redis-streams/ConsumerGroup"
import * as Delivery from "@safesync/redis-streams/Delivery"
import * as Reclaim from "@safesync/redis-streams/Reclaim"
import * as Redis from "@safesync/redis-streams/Redis"
import { Loading } from "@safesync/redis-streams/RedisError"
import * as Metrics from "@safesync/redis-streams/RedisStreamsMetrics"
import * as StreamConsumer from "@safesync/redis-streams/StreamConsumer"
import * as StreamProducer from "@safesync/redis-streams/StreamProducer"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Metric from "effect/Metric"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import {
  age,
  deliveries,
  expectNothingLeft,
  freshGroup,
  numberOf,
  order,
  pendingOf,
  RedisLive,
  until,
  untilBlocked
} from "./fixture.js"

/** Refuses to create a group twice; `left` is below zero once it has been asked again. */
const refusingTwice = (redis: Redis.Service) => {
  let left = 2
  const service: Redis.Service = {
    ...redis,
    command: (...command) =>
      command[0] === "XGROUP" && left-- > 0
        ? Effect.fail(new Loading({ command: "XGROUP", detail: "not yet" }))
        : redis.command(...command)
  }
  return { service, left: () => left }
}

layer(RedisLive, { excludeTestServices: true })("a lost group", (it) => {
  it.scoped("L21: a group that is lost is NoGroup, also under a read that blocks", () =>
    Effect.gen(function*() {
      const { group } = yield* freshGroup()
      const redis = yield* Redis.Redis
      const fiber = yield* Effect.fork(
        Stream.runDrain(StreamConsumer.stream(group, {
          consumer: "a",
          block: "300 millis",
          reconnect: Schedule.spaced("10 millis")
        }))
      )
      yield* untilBlocked(group)
      yield* redis.command("DEL", group.stream)
      assert.strictEqual((yield* Effect.flip(Fiber.join(fiber)))._tag, "NoGroup")
      const again = yield* Effect.flip(Stream.runDrain(StreamConsumer.stream(group, { consumer: "a" })))
      assert.strictEqual(again._tag, "NoGroup")
    }))

  for (
    const [recreateFrom, expected] of [["0", [1, 2, 3]], ["$", [3]]] as const
  ) {
    it.scoped(`L21: a lost group begins again at ${recreateFrom} if its policy says so`, () =>
      Effect.gen(function*() {
        const { group, producer, send, stream } = yield* freshGroup({ whenLost: { recreateFrom } })
        const redis = yield* Redis.Redis
        yield* send(1)
        const seen: Array<number> = []
        const consume = StreamConsumer.stream(group, { consumer: "a", block: "200 millis" }).pipe(
          Stream.mapEffect(numberOf),
          Stream.runForEach((number) => Effect.sync(() => seen.push(number)))
        )
        yield* Effect.forkScoped(consume)
        yield* until(Effect.sync(() => seen.length), (length) => length === 1)
        yield* redis.commands([
          ["XGROUP", "DESTROY", stream, group.group],
          ["XADD", stream, "*", "data", `{"number":2}`]
        ])
        yield* until(Effect.either(ConsumerGroup.info(group)), (info) => info._tag === "Right")
        yield* StreamProducer.send(producer, order(3))
        yield* until(Effect.sync(() => seen.length), (length) => length === expected.length + 1)
        assert.deepStrictEqual(seen.slice(1), [...expected])
      }))
  }

  it.scoped("L21: a group that was never created is no lost one", () =>
    Effect.gen(function*() {
      const { group } = yield* freshGroup({ whenLost: { recreateFrom: "0" } })
      const never = { ...group, group: "never" }
      const error = yield* Effect.flip(Stream.runDrain(StreamConsumer.stream(never, { consumer: "a" })))
      assert.strictEqual(error._tag, "NoGroup")
    }))

  it.scoped("L21: a group that cannot be created again at once is created again later", () =>
    Effect.gen(function*() {
      const { group, send, stream } = yield* freshGroup({ whenLost: { recreateFrom: "0" } })
      const redis = yield* Redis.Redis
      yield* send(1)
      const refusing = refusingTwice(redis)
      const seen: Array<number> = []
      yield* StreamConsumer.stream(group, { consumer: "a", reconnect: Schedule.spaced("1 millis") }).pipe(
        Stream.mapEffect(numberOf),
        Stream.runForEach((number) => Effect.sync(() => seen.push(number))),
        Effect.provideService(Redis.Redis, refusing.service),
        Effect.forkScoped
      )
      yield* until(Effect.sync(() => seen.length), (length) => length === 1)
      yield* redis.command("XGROUP", "DESTROY", stream, group.group)
      yield* until(Effect.sync(() => seen.length), (length) => length === 2)
      assert.isBelow(refusing.left(), 0)
    }))

  for (const whenLost of ["fail", { recreateFrom: "0" }] as const) {
    it.scoped(`L21: a group that is lost while stale entries are looked for: ${JSON.stringify(whenLost)}`, () =>
      Effect.gen(function*() {
        const { group, send, stream } = yield* freshGroup({ whenLost })
        const redis = yield* Redis.Redis
        const seen = yield* Deferred.make<void>()
        yield* send(1)
        const every = Schedule.tapOutput(Schedule.spaced("5 millis"), () => Deferred.succeed(seen, void 0))
        const looking = yield* Effect.fork(Stream.runDrain(Reclaim.stream(group, { consumer: "a", every })))
        yield* Deferred.await(seen)
        yield* redis.command("XGROUP", "DESTROY", stream, group.group)
        if (whenLost === "fail") {
          assert.strictEqual((yield* Effect.flip(Fiber.join(looking)))._tag, "NoGroup")
          return
        }
        yield* until(Effect.either(pendingOf(group)), (pending) => pending._tag === "Right")
        yield* Fiber.interrupt(looking)
        assert.strictEqual((yield* deliveries(group, 1))[0]!.value.number, 1)
      }))
  }

  it.scoped("L21: Reclaim goes on in the group that it has created again, after refusals too", () =>
    Effect.gen(function*() {
      const { group, send, stream } = yield* freshGroup({ whenLost: { recreateFrom: "0" } })
      const redis = yield* Redis.Redis
      const looked = yield* Deferred.make<void>()
      const refusing = refusingTwice(redis)
      const reclaiming = yield* Reclaim.stream(group, {
        consumer: "b",
        every: Schedule.tapOutput(Schedule.spaced("5 millis"), () => Deferred.succeed(looked, undefined)),
        reconnect: Schedule.spaced("1 millis")
      }).pipe(
        Stream.mapEffect(numberOf),
        Stream.take(2),
        Stream.runCollect,
        Effect.provideService(Redis.Redis, refusing.service),
        Effect.fork
      )
      yield* Deferred.await(looked)
      // The stream goes, and its group with it.
      yield* redis.command("DEL", stream)
      yield* until(Effect.either(ConsumerGroup.info(group)), (info) => info._tag === "Right")
      assert.isBelow(refusing.left(), 0)
      const recreated = Metric.taggedWithLabels(Metrics.groupsRecreated, Metrics.labels(stream))
      assert.strictEqual((yield* Metric.value(recreated)).count, 1)
      yield* send(3)
      const ids = (yield* deliveries(group, 3)).map(({ id }) => id)
      const stale = ids.slice(1)
      yield* age(group, stale, 60_000)
      assert.deepStrictEqual([...(yield* Fiber.join(reclaiming))], [2, 3])
      assert.deepStrictEqual((yield* pendingOf(group)).map(({ consumer, id }) => [consumer, id]), [["a", ids[0]]])
    }))

  it.scoped("L18, L21: what was delivered before the group was lost is LeaseLost, and comes again from the new one", () =>
    Effect.gen(function*() {
      const { group, send, stream } = yield* freshGroup({ whenLost: { recreateFrom: "0" } })
      const redis = yield* Redis.Redis
      const [id] = yield* send(1)
      const [before] = yield* deliveries(group, 1)
      yield* Effect.exit(Delivery.use(before!, () => Effect.fail("not yet")))
      const looked = yield* Deferred.make<void>()
      const every = Schedule.tapOutput(Schedule.spaced("5 millis"), () => Deferred.succeed(looked, undefined))
      yield* Effect.forkScoped(Stream.runDrain(Reclaim.stream(group, { consumer: "b", every })))
      yield* Deferred.await(looked)
      yield* redis.command("XGROUP", "DESTROY", stream, group.group)
      yield* until(Effect.either(pendingOf(group)), (pending) => pending._tag === "Right")
      assert.strictEqual(
        (yield* Effect.flip(Delivery.use(before!, () => Effect.dieMessage("begun"))))._tag,
        "LeaseLost"
      )
      const [again] = yield* deliveries(group, 1, "c")
      assert.deepStrictEqual([again!.id, again!.attempt], [id, 1])
      yield* Delivery.use(again!, () => Effect.void)
      yield* expectNothingLeft(group)
    }))

  it.scoped("L21: a single look, which has seen no group before, creates none whatever the policy", () =>
    Effect.gen(function*() {
      const { group, stream } = yield* freshGroup({ whenLost: { recreateFrom: "0" } })
      const redis = yield* Redis.Redis
      yield* redis.command("XGROUP", "DESTROY", stream, group.group)
      const error = yield* Effect.flip(Reclaim.once(group, { consumer: "a", count: 1 }))
      assert.strictEqual(error._tag, "NoGroup")
      assert.strictEqual((yield* Effect.flip(ConsumerGroup.info(group)))._tag, "NoGroup")
    }))
})
