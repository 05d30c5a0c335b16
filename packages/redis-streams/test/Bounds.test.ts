/** How much one step reads and how long it keeps the server busy, told by the server's own counters. */
import { assert, layer } from "@effect/vitest"
import * as ConsumerGroup from "@safesync/redis-streams/ConsumerGroup"
import * as DeadLetter from "@safesync/redis-streams/DeadLetter"
import * as Delivery from "@safesync/redis-streams/Delivery"
import * as GroupMetrics from "@safesync/redis-streams/GroupMetrics"
import * as Reclaim from "@safesync/redis-streams/Reclaim"
import * as Redis from "@safesync/redis-streams/Redis"
import * as Metrics from "@safesync/redis-streams/RedisStreamsMetrics"
import * as StreamConsumer from "@safesync/redis-streams/StreamConsumer"
import * as StreamProducer from "@safesync/redis-streams/StreamProducer"
import * as RedisServer from "@safesync/testkit/RedisServer"
import * as Chunk from "effect/Chunk"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { type Capability, Without } from "../src/internal/capabilities.js"
import { age, deliveries, freshGroup, Order, order, pendingOf, RedisFromServer, until } from "./fixture.js"

/** Of the whole server, so it is one of its own, and its tests run one after the other. */
const own = Layer.provideMerge(RedisFromServer, RedisServer.layerOwn())

/** The server's counts while an effect ran: bytes that it sent, and calls of commands, those of scripts included. */
const counting = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.gen(function*() {
    const redis = yield* Redis.Redis
    yield* redis.command("CONFIG", "RESETSTAT")
    const answer = yield* effect
    const info = String(yield* redis.command("INFO", "stats")) + String(yield* redis.command("INFO", "commandstats"))
    const calls = (command: string) => Number(new RegExp(`^cmdstat_${command}:calls=(\\d+)`, "m").exec(info)?.[1] ?? 0)
    const megabytes = Number(/^total_net_output_bytes:(\d+)/m.exec(info)![1]) / 1e6
    // One that the server does not have yet is sent again, as a whole.
    return { answer, calls, scripts: calls("evalsha"), megabytes }
  })

const kilobytes = (count: number) => "x".repeat(count * 1000)

/** Puts dead letters of a group there that are this large. */
const letters = (group: ConsumerGroup.ConsumerGroup<Order>, sizes: ReadonlyArray<number>) =>
  Effect.flatMap(Redis.Redis, (redis) =>
    Effect.forEach(sizes, (size, i) =>
      redis.command(
        ...["XADD", group.deadLetterStream, "*", "data", kilobytes(size), "dead.stream", group.stream] as const,
        ...["dead.id", `${i + 1}-0`, "dead.group", group.group, "dead.consumer", "a"],
        ...["dead.attempts", "1", "dead.reason", "given up"]
      ), { discard: true }))

const letterCount = (group: ConsumerGroup.ConsumerGroup<Order>) =>
  Metrics.deadLetters.unsafeValue(Metrics.groupLabels(group.stream, group.group)!).value

/** Sends so many entries of 300 kB. */
const sendLarge = (stream: string, count: number) =>
  Effect.flatMap(
    Redis.Redis,
    (redis) =>
      Effect.forEach(Array.from({ length: count }), () =>
        redis.command("XADD", stream, "*", "data", `{"number":1}`, "note", kilobytes(300)))
  )

/** Reads all, as a process does that is killed then. */
const readAndDie = (group: ConsumerGroup.ConsumerGroup<Order>, consumer: string) =>
  Effect.flatMap(Redis.Redis, (redis) =>
    redis.command(
      "EVAL",
      "while redis.call('XREADGROUP', 'GROUP', ARGV[1], ARGV[2], 'COUNT', 1, 'STREAMS', KEYS[1], '>') do end",
      ...["1", group.stream, group.group, consumer]
    ))

const ways: ReadonlyArray<readonly [string, ReadonlyArray<Capability>]> = [
  ["", []],
  [" without XAUTOCLAIM (5.0, 6.2)", ["auto-claim"]]
]

const large = Array.from({ length: 200 }, () => 300)
const small = Array.from({ length: 1200 }, () => 0)

layer(own, { excludeTestServices: true })("A step that is bounded by a count", (it) => {
  it.scoped("reads of the dead letters no more than a page of 256 kB", () =>
    Effect.gen(function*() {
      const { group } = yield* freshGroup()
      yield* letters(group, large)
      const first = yield* counting(Stream.runCollect(Stream.take(DeadLetter.stream(group), 1)))
      assert.strictEqual(Chunk.size(first.answer), 1)
      assert.isBelow(first.megabytes, 0.4)
      // Two to find where it ends and where it begins.
      assert.strictEqual(first.calls("xrange") + first.calls("xrevrange"), 2)
      const all = yield* counting(Stream.runCount(DeadLetter.stream(group)))
      assert.strictEqual(all.answer, 200)
      assert.isAtLeast(all.scripts, 200)
      assert.isBelow(all.megabytes, 62)
    }))

  it.scoped("reads small dead letters by pages of 500", () =>
    Effect.gen(function*() {
      const { group } = yield* freshGroup()
      yield* letters(group, small)
      const all = yield* counting(Stream.runCount(DeadLetter.stream(group)))
      assert.deepStrictEqual([all.answer, all.scripts], [1200, 3])
      const purged = yield* counting(DeadLetter.purge(group, { olderThan: 0 }))
      assert.deepStrictEqual([purged.answer, purged.scripts], [1200, 3])
    }))

  it.scoped("throws one large dead letter away in a script, and 256 kB of those that are mixed", () =>
    Effect.gen(function*() {
      const { group } = yield* freshGroup()
      yield* letters(group, large)
      const purged = yield* counting(DeadLetter.purge(group, { olderThan: 0 }))
      assert.deepStrictEqual([purged.answer, purged.calls("xdel"), purged.scripts], [200, 200, 201])
      // The third page ends with the large one, whatever the small ones before it have let hope.
      yield* letters(group, [...small, 300, ...small])
      const mixed = yield* counting(DeadLetter.purge(group, { olderThan: 0 }))
      assert.deepStrictEqual([mixed.answer, mixed.scripts], [2401, 6])
    }))

  it.scoped("sends each dead letter again that was there when it began, and none that dies meanwhile", () =>
    Effect.gen(function*() {
      const { group, send } = yield* freshGroup()
      const dies = Effect.flatMap(deliveries(group, 1), ([delivery]) => Delivery.deadLetter(delivery!, "again"))
      yield* send(600)
      yield* Effect.flatMap(deliveries(group, 600), Effect.forEach((delivery) => Delivery.deadLetter(delivery, "no")))
      let replays = 0
      yield* Stream.runForEach(DeadLetter.stream(group), (letter) =>
        Effect.suspend(() => {
          assert.isAtMost(++replays, 600)
          return Effect.zipRight(DeadLetter.replay(group, letter), dies)
        }))
      assert.strictEqual(replays, 600)
      assert.strictEqual(yield* Stream.runCount(DeadLetter.stream(group)), 600)
    }))

  it.scoped("ends with what was old, acked or dead when it began, although with each step there is more", () =>
    Effect.gen(function*() {
      const { group, producer, redis, send, stream } = yield* freshGroup()
      let left = 20
      const growing = <A, E>(effect: Effect.Effect<A, E, Redis.Redis>, grow: Effect.Effect<unknown, unknown>) =>
        Effect.provideService(effect, Redis.Redis, {
          ...redis,
          script: (...call) => Effect.tap(redis.script(...call), () => left-- > 0 ? Effect.orDie(grow) : Effect.void)
        })
      yield* letters(group, Array.from({ length: 3 }, () => 300))
      const dies = Effect.provideService(letters(group, [300, 300]), Redis.Redis, redis)
      assert.isAtMost(yield* growing(DeadLetter.purge(group, { olderThan: 0 }), dies), 4)
      assert.isAbove(left, 10)
      left = 20
      yield* growing(GroupMetrics.update(group), dies)
      assert.isAbove(left, 0)

      left = 20
      yield* send(2)
      const handled = Effect.gen(function*() {
        yield* send(300)
        const some = yield* deliveries(group, 300)
        yield* Effect.forEach(some, (delivery) => Delivery.use(delivery, () => Effect.void), {
          concurrency: "unbounded"
        })
      })
      yield* Effect.scoped(Effect.provideService(handled, Redis.Redis, redis))
      const trimmed = yield* growing(
        StreamProducer.trimAcked(producer),
        Effect.scoped(Effect.provideService(handled, Redis.Redis, redis))
      )
      assert.isAtMost(trimmed, 302)
      assert.isAbove(left, 10)
      assert.isAtLeast((yield* redis.command("XLEN", stream)) as number, 300)
    }))

  it.scoped("counts large dead letters one in a script, and afterwards those alone that have come since", () =>
    Effect.gen(function*() {
      const { group } = yield* freshGroup()
      yield* letters(group, large)
      const once = yield* counting(GroupMetrics.update(group))
      assert.strictEqual(letterCount(group), 200)
      assert.isAtLeast(once.scripts, 200)
      assert.isBelow(once.megabytes, 0.1)
    }))

  it.scoped("reads of new entries as many as a megabyte holds, and small ones by whole batches", () =>
    Effect.gen(function*() {
      const { group, send, stream } = yield* freshGroup()
      yield* sendLarge(stream, 60)
      const first = yield* counting(
        Stream.runCollect(Stream.take(StreamConsumer.stream(group, { consumer: "a" }), 1))
      )
      assert.isBelow(first.megabytes, 1.5)
      yield* send(640)
      const sizes: Array<number> = []
      const all = yield* counting(Effect.scoped(Effect.gen(function*() {
        const pull = yield* Stream.toPull(StreamConsumer.stream(group, { consumer: "b" }))
        while (sizes.at(-1) !== 64) {
          const chunk = yield* Effect.mapError(pull, Option.getOrThrow)
          if (Chunk.size(chunk) > 0) sizes.push(Chunk.size(chunk))
        }
      })))
      // The last read of large ones brings some small ones as well, and the next one twice as many.
      assert.deepStrictEqual([Math.max(...sizes.slice(0, 20)), ...sizes.slice(-4)], [3, 12, 24, 48, 64])
      assert.isBelow(all.megabytes, 20)
      yield* readAndDie(group, "c")
      const claiming = StreamConsumer.stream({ ...group, minIdle: Duration.millis(1) }, {
        consumer: "d",
        reclaim: { every: Schedule.spaced("1 hour") }
      })
      const claimed = yield* counting(Stream.runCollect(Stream.take(claiming, 1)))
      assert.isBelow(claimed.megabytes, 2)
    }))

  for (const [name, without] of ways) {
    it.scoped(`takes of what is stale a page of 256 kB, and ends with what was pending when it began${name}`, () =>
      Effect.gen(function*() {
        const { group, redis, stream } = yield* freshGroup()
        const old = (consumer: string) =>
          Effect.gen(function*() {
            yield* sendLarge(stream, 3)
            yield* readAndDie(group, consumer)
            const ids = (yield* pendingOf(group)).filter((entry) => entry.consumer === consumer).map(({ id }) => id)
            yield* age(group, ids, 3_600_000, consumer)
          }).pipe(Effect.provideService(Redis.Redis, redis), Effect.orDie)
        yield* Effect.forEach(Array.from({ length: 20 }), () => old("gone"))
        const able = yield* redis.capabilities
        const server: Redis.Service = {
          ...redis,
          capabilities: Effect.succeed(new Set([...able].filter((capability) => !without.includes(capability))))
        }
        const first = yield* counting(
          Stream.runCollect(Stream.take(Reclaim.stream(group, { consumer: "b", every: Schedule.stop }), 1)).pipe(
            Effect.provideService(Redis.Redis, server)
          )
        )
        assert.isBelow(first.megabytes, 0.4)

        yield* age(group, (yield* pendingOf(group)).map(({ id }) => id), 3_600_000, "gone")
        let left = 100
        const pass = Effect.map(Reclaim.once(group, { consumer: "a", count: 10_000 }), (taken) => taken.length)
        const taken = yield* Effect.scoped(pass).pipe(
          Effect.provideService(Redis.Redis, {
            ...server,
            take: (...call) => Effect.tap(redis.take(...call), () => left-- > 0 ? old("other") : Effect.void)
          })
        )
        assert.strictEqual(taken, 60)

        // So are those that are its own, at its start.
        yield* sendLarge(stream, 10)
        yield* readAndDie(group, "c")
        const own = yield* counting(Stream.runCollect(Stream.take(StreamConsumer.stream(group, { consumer: "c" }), 1)))
        assert.isBelow(own.megabytes, 0.4)
      }))
  }

  it.scoped("looks at a window of the pending list, however many entries are too young", () =>
    Effect.gen(function*() {
      const { group, send } = yield* freshGroup()
      yield* send(3000)
      yield* readAndDie(group, "busy")
      const pass = yield* counting(
        Effect.scoped(Reclaim.once(group, { consumer: "a", count: 10, batchSize: 10, takeOwn: false }))
      )
      assert.deepStrictEqual([pass.answer.length, pass.scripts], [0, 30])
    }))

  it.scoped("hands over what a consumer had, and removes none that goes on reading", () =>
    Effect.gen(function*() {
      const { group, redis, send } = yield* freshGroup()
      yield* send(1200)
      yield* readAndDie(group, "busy")
      let left = 20
      const reading = Effect.orDie(
        Effect.provideService(Effect.zipRight(send(1), readAndDie(group, "busy")), Redis.Redis, redis)
      )
      const removed = ConsumerGroup.removeConsumer(group, "busy", { handTo: "heir" }).pipe(
        Effect.provideService(Redis.Redis, {
          ...redis,
          script: (...call) => Effect.tap(redis.script(...call), () => left-- > 0 ? reading : Effect.void)
        })
      )
      assert.isFalse(yield* removed)
      assert.isAbove(left, 10)
      assert.strictEqual((yield* pendingOf(group)).filter(({ consumer }) => consumer === "heir").length, 1200)
      assert.isTrue(yield* ConsumerGroup.removeConsumer(group, "busy", { handTo: "heir" }))
    }))

  it.scoped("removes 500 idle consumers in a script", () =>
    Effect.gen(function*() {
      const { group, redis, send, stream } = yield* freshGroup()
      const names = Array.from({ length: 1200 }, (_, i) => `c${i}`)
      // Before 7.2 a read that finds nothing makes no consumer.
      const ids = yield* send(names.length)
      yield* redis.commands(
        names.map((name) => ["XREADGROUP", "GROUP", group.group, name, "COUNT", "1", "STREAMS", stream, ">"] as const)
      )
      yield* redis.command("XACK", stream, group.group, ...ids)
      yield* until(ConsumerGroup.info(group), ({ consumers }) =>
        consumers.every(({ idle }) => Duration.toMillis(idle) >= 1))
      const removed = yield* counting(ConsumerGroup.removeIdleConsumers(group, { idle: "1 millis" }))
      assert.sameMembers([...removed.answer], names)
      assert.strictEqual(removed.scripts, 3)
    }))
})

layer(
  Layer.provideMerge(
    Layer.provide(RedisFromServer, Layer.succeed(Without, new Set(["trim-acked"]))),
    RedisServer.layerOwn()
  ),
  {
    excludeTestServices: true
  }
)("A script that trims", (it) => {
  const acked = (group: ConsumerGroup.ConsumerGroup<Order>, count: number) =>
    Effect.flatMap(
      deliveries(group, count),
      Effect.forEach((delivery) => Delivery.use(delivery, () => Effect.void), { concurrency: "unbounded" })
    )
  const lengthOf = (stream: string) => Effect.flatMap(Redis.Redis, (redis) => redis.command("XLEN", stream))

  it.scoped("drops as many large entries as are sent together, and one more", () =>
    Effect.gen(function*() {
      const { group, stream } = yield* freshGroup()
      const producer = yield* StreamProducer.make({
        stream,
        schema: Schema.String,
        trim: { maxLength: 10, exact: true }
      })
      yield* sendLarge(stream, 100)
      yield* acked(group, 100)
      const sent = yield* counting(StreamProducer.sendAll(producer, Array.from({ length: 30 }, () => kilobytes(300))))
      // Batches of 14, 14 and 2.
      assert.deepStrictEqual([sent.scripts, yield* lengthOf(stream)], [33, 97])
      yield* StreamProducer.sendOnce(producer, kilobytes(300), { key: "k", remember: "1 minute" })
      assert.strictEqual(yield* lengthOf(stream), 96)
    }))

  for (const exact of [true, false]) {
    it.scoped(`drops two large entries with each that is sent${exact ? ", exactly" : ""}, until there are so few`, () =>
      Effect.gen(function*() {
        const { group, stream } = yield* freshGroup()
        const headers = { note: kilobytes(300) }
        const producer = yield* StreamProducer.make({ stream, schema: Order, trim: { maxLength: 10, exact } })
        yield* sendLarge(stream, 150)
        yield* acked(group, 150)
        const sent = yield* counting(StreamProducer.send(producer, order(1), { headers }))
        assert.deepStrictEqual([sent.scripts, sent.calls("xdel"), sent.calls("xrange")], [2, 2, 2])
        assert.strictEqual(yield* lengthOf(stream), 149)
        let length = 149
        while (length > (exact ? 10 : 110)) {
          yield* StreamProducer.send(producer, order(1), { headers })
          yield* acked(group, 1)
          const now = (yield* lengthOf(stream)) as number
          assert.strictEqual(now, length - 1)
          length = now
        }
      }))
  }
})
