import { assert, expect, layer } from "@effect/vitest"
import type * as ConsumerGroup from "@safesync/redis-streams/ConsumerGroup"
import * as Delivery from "@safesync/redis-streams/Delivery"
import * as Reclaim from "@safesync/redis-streams/Reclaim"
import * as Redis from "@safesync/redis-streams/Redis"
import * as RedisStreamsMetrics from "@safesync/redis-streams/RedisStreamsMetrics"
import * as StreamConsumer from "@safesync/redis-streams/StreamConsumer"
import * as StreamProducer from "@safesync/redis-streams/StreamProducer"
import * as RedisServer from "@safesync/testkit/RedisServer"
import * as TcpProxy from "@safesync/testkit/TcpProxy"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Fiber from "effect/Fiber"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import {
  deliveries,
  expectNoReader,
  expectNothingLeft,
  freshGroup,
  freshStream,
  numberOf,
  type Order,
  order,
  pendingOf,
  readersOf,
  RedisLive,
  until,
  untilBlocked
} from "./fixture.js"

/** An earlier life of the consumer has failed with so many. */
const failedEarlier = (group: ConsumerGroup.ConsumerGroup<Order>, count: number) =>
  Effect.flatMap(RedisServer.RedisServer, ({ url }) =>
    Effect.flatMap(
      deliveries(group, count),
      Effect.forEach((delivery) => Effect.exit(Delivery.use(delivery, () => Effect.fail("later"))))
    ).pipe(Effect.scoped, Effect.provide(Redis.layer({ url }))))

layer(RedisLive, { excludeTestServices: true })("StreamConsumer.next", (it) => {
  const take = (group: ConsumerGroup.ConsumerGroup<Order>, consumer: string, block?: Duration.DurationInput) =>
    Effect.map(
      StreamConsumer.next(group, { consumer, block }),
      Option.map(({ attempt, value }) => [value.number, attempt])
    )

  /** The first call was given what is sent, and does not know it before `tell`; the next one finds it among what is pending. */
  const givenTwice = <A, B, E>(group: ConsumerGroup.ConsumerGroup<A>, send: Effect.Effect<B, E, Redis.Redis>) =>
    Effect.gen(function*() {
      const redis = yield* Redis.Redis
      const one = StreamConsumer.next(group, { consumer: "a" })
      assert.isTrue(Option.isNone(yield* one))
      yield* send
      const given = yield* Deferred.make<void>()
      const tell = yield* Deferred.make<void>()
      const late: Redis.Service = {
        ...redis,
        read: (...args) =>
          Effect.zipLeft(redis.read(...args), Effect.zipRight(Deferred.succeed(given, undefined), Deferred.await(tell)))
      }
      const first = yield* Effect.fork(Effect.provideService(one, Redis.Redis, late))
      yield* Deferred.await(given)
      // After a call that was interrupted, what may have been lost comes first.
      const waiting = yield* Effect.fork(StreamConsumer.next(group, { consumer: "a", block: "1 minute" }))
      yield* untilBlocked(group)
      yield* Fiber.interrupt(waiting)
      return { first, one, tell: Deferred.succeed(tell, undefined) }
    })

  it.scoped("next is the next new entry; without block it does not wait for one", () =>
    Effect.gen(function*() {
      const { group, send } = yield* freshGroup()
      yield* send(2)
      const handled: Array<number> = []
      const one = Effect.scoped(Effect.gen(function*() {
        const found = yield* StreamConsumer.next(group, { consumer: "a" })
        if (Option.isSome(found)) {
          handled.push(yield* numberOf(found.value))
        }
        return Option.isSome(found)
      }))
      assert.deepStrictEqual(yield* Effect.all([one, one, one]), [true, true, false])
      assert.deepStrictEqual(handled, [1, 2])
      yield* expectNothingLeft(group)
    }))

  it.scoped("next waits for as long as block says, and takes what comes", () =>
    Effect.gen(function*() {
      const { group, producer } = yield* freshGroup()
      expect(yield* take(group, "a", "20 millis")).toEqual(Option.none())
      const waiting = yield* Effect.fork(take(group, "a", "1 minute"))
      yield* untilBlocked(group)
      yield* StreamProducer.send(producer, order(1))
      expect(yield* Fiber.join(waiting)).toEqual(Option.some([1, 1]))
    }))

  it.scoped("one that asks in a loop waits over one connection, which is closed when nobody asks any more", () =>
    Effect.gen(function*() {
      const { group, producer } = yield* freshGroup()
      const seen = new Set<string>()
      const ask = Effect.gen(function*() {
        const found = yield* take(group, "a", "20 millis")
        for (const { id } of yield* readersOf(group)) seen.add(id)
        return found
      })
      for (let i = 0; i < 10; i++) expect(yield* ask).toEqual(Option.none())
      yield* StreamProducer.send(producer, order(1))
      expect(yield* ask).toEqual(Option.some([1, 1]))
      assert.strictEqual(seen.size, 1)
      yield* expectNoReader(group)
    }))

  it.scoped("those that wait at a time have a connection each, and one that was lost meanwhile is opened anew", () =>
    Effect.gen(function*() {
      const { group, redis } = yield* freshGroup()
      const waiting = yield* Effect.forkAll([take(group, "a", "1 minute"), take(group, "a", "1 minute")])
      yield* until(readersOf(group), (readers) => readers.filter(({ blocked }) => blocked).length === 2)
      yield* Fiber.interrupt(waiting)
      for (let i = 0; i < 3; i++) {
        expect(yield* take(group, "a", "10 millis")).toEqual(Option.none())
        for (const { id } of yield* readersOf(group)) yield* redis.command("CLIENT", "KILL", "ID", id)
        yield* expectNoReader(group)
      }
    }))

  it.scoped("the layer closes what is kept for the next wait", () =>
    Effect.gen(function*() {
      const { group } = yield* freshGroup()
      const { url } = yield* RedisServer.RedisServer
      const kept = yield* Effect.provide(
        Effect.zipRight(Effect.scoped(take(group, "a", "10 millis")), readersOf(group)),
        Redis.layer({ url })
      )
      assert.strictEqual(kept.length, 1)
      yield* expectNoReader(group)
    }))

  it.scoped("L20: a next that waits stops at once", () =>
    Effect.gen(function*() {
      const { group } = yield* freshGroup()
      const waiting = yield* Effect.fork(Effect.scoped(take(group, "a", "1 minute")))
      yield* untilBlocked(group)
      const [took] = yield* Effect.timed(Fiber.interrupt(waiting))
      assert.isBelow(Duration.toMillis(took), 1000)
      yield* expectNoReader(group)
    }))

  it.scoped("L15, L20: a delivery of next that was not begun is handed back with its scope", () =>
    Effect.gen(function*() {
      const { group, send } = yield* freshGroup({ minIdle: "1 hour" })
      yield* send(1)
      expect(yield* Effect.scoped(take(group, "a"))).toEqual(Option.some([1, 1]))
      const [delivery] = yield* Reclaim.once(group, { consumer: "b", count: 1 })
      assert.strictEqual(yield* numberOf(delivery!), 1)
      yield* expectNothingLeft(group)
    }))

  it.scoped("L16: what is pending for the consumer comes before what is new, each once", () =>
    Effect.gen(function*() {
      const { group, producer, send } = yield* freshGroup()
      yield* send(3)
      yield* failedEarlier(group, 3)
      yield* StreamProducer.send(producer, order(4))
      const seen = yield* Effect.all(Array.from({ length: 5 }, () => take(group, "a")))
      expect(seen).toEqual([[1, 2], [2, 2], [3, 2], [4, 1]].map(Option.some).concat(Option.none() as never))
    }))

  it.scoped("L16: of those who ask at the same time, each is given another one of what is pending", () =>
    Effect.gen(function*() {
      const { group, send } = yield* freshGroup()
      yield* send(3)
      yield* failedEarlier(group, 3)
      const seen = yield* Effect.all(Array.from({ length: 8 }, () => take(group, "a")), { concurrency: "unbounded" })
      expect(seen.flatMap(Option.toArray).toSorted()).toEqual([[1, 2], [2, 2], [3, 2]])
    }))

  it.scoped("L16, L21: after a call that failed, what it may have lost comes first", () =>
    Effect.gen(function*() {
      const { group, producer, send } = yield* freshGroup()
      const { url } = yield* RedisServer.RedisServer
      const proxy = yield* TcpProxy.make(url)
      yield* Effect.gen(function*() {
        const redis = yield* Redis.Redis
        expect(yield* take(group, "a")).toEqual(Option.none())
        const [id] = yield* send(2)
        yield* proxy.loseReplies("XREADGROUP")
        assert.strictEqual((yield* Effect.flip(take(group, "a")))._tag, "RedisConnectionLost")
        yield* until(Effect.either(redis.command("PING")), Either.isRight)
        assert.deepStrictEqual((yield* pendingOf(group)).map(({ id }) => id), [id])
        const held = yield* Effect.all([take(group, "a"), take(group, "a")])
        expect(held).toEqual([Option.some([1, 2]), Option.some([2, 1])])
        // Nor is what is held here given out again after another failure.
        yield* StreamProducer.send(producer, order(3))
        yield* proxy.loseReplies("XREADGROUP")
        yield* Effect.flip(take(group, "a"))
        yield* until(Effect.either(redis.command("PING")), Either.isRight)
        expect(yield* take(group, "a")).toEqual(Option.some([3, 2]))
        assert.deepStrictEqual((yield* pendingOf(group)).map(({ attempts }) => attempts), [2, 1, 2])
      }).pipe(Effect.scoped, Effect.provide(Redis.layer({ url: proxy.through(url) })))
    }))

  it.scoped("L15: what has been given to two calls is begun by one of them", () =>
    Effect.gen(function*() {
      const [decoding, decode] = [yield* Deferred.make<void>(), yield* Deferred.make<void>()]
      let decoded = 0
      // The first one to decode it takes its time.
      const Slow = Schema.transformOrFail(Schema.Int, Schema.Int, {
        strict: true,
        decode: (n) =>
          Effect.suspend(() =>
            ++decoded > 1
              ? Effect.succeed(n)
              : Effect.as(Effect.zipRight(Deferred.succeed(decoding, undefined), Deferred.await(decode)), n)
          ),
        encode: (n) => Effect.succeed(n)
      })
      const { group, redis, stream } = yield* freshStream(Slow)
      // By another's hand: a producer would decode it as well, to see that it can be read.
      const { first, one, tell } = yield* givenTwice(group, redis.command("XADD", stream, "*", "data", "1"))
      const second = yield* Effect.fork(one)
      yield* Deferred.await(decoding)
      yield* tell
      const handled = yield* Delivery.use(Option.getOrThrow(yield* Fiber.join(first)), (n) =>
        Effect.gen(function*() {
          yield* Deferred.succeed(decode, undefined)
          assert.isTrue(Option.isNone(yield* Fiber.join(second)))
          return n
        }))
      assert.strictEqual(handled, 1)
      yield* expectNothingLeft(group)
    }))

  it.scoped("L18: a reply that comes late does not make its lease an older one", () =>
    Effect.gen(function*() {
      const { group, send } = yield* freshGroup({ minIdle: "90 millis" })
      const { first, one, tell } = yield* givenTwice(group, send(1))
      const renewals = Metric.taggedWithLabels(
        RedisStreamsMetrics.leaseRenewals,
        RedisStreamsMetrics.labels(group.stream)
      )
      yield* Delivery.use(Option.getOrThrow(yield* one), () =>
        Effect.gen(function*() {
          yield* tell
          assert.isTrue(Option.isNone(yield* Fiber.join(first)))
          const { count } = yield* Metric.value(renewals)
          yield* until(Metric.value(renewals), (now) => now.count > count + 1)
        }))
      yield* expectNothingLeft(group)
    }))

  it.scoped("L17: an entry that cannot be decoded is dealt with, and the next one is found behind it", () =>
    Effect.gen(function*() {
      const { group, producer, stream } = yield* freshGroup()
      const redis = yield* Redis.Redis
      yield* redis.command("XADD", stream, "*", "data", "{")
      yield* StreamProducer.send(producer, order(1))
      expect(yield* take(group, "a")).toEqual(Option.some([1, 1]))
      assert.strictEqual(yield* redis.command("XLEN", group.deadLetterStream), 1)
      const bad = yield* redis.command("XADD", stream, "*", "data", "{")
      yield* StreamProducer.send(producer, order(2))
      const strict = StreamConsumer.next(group, { consumer: "a", malformed: "fail" })
      assert.strictEqual((yield* Effect.flip(strict))._tag, "MalformedEntry")
      assert.strictEqual(Option.getOrThrow(yield* strict).value.number, 2)
      assert.include((yield* pendingOf(group)).map(({ id }) => id), bad)
    }))

  it.scoped("next refuses what can never work, and says that there is no group", () =>
    Effect.gen(function*() {
      const { group } = yield* freshGroup()
      const refusal = (settings: Parameters<typeof StreamConsumer.next>[1]) =>
        Effect.map(
          Effect.flip(StreamConsumer.next(group, settings)),
          (error) => error._tag === "InvalidOptions" ? error.option : error._tag
        )
      assert.strictEqual(yield* refusal({ consumer: " " }), "consumer")
      assert.strictEqual(yield* refusal({ consumer: "a", block: 0 }), "block")
      const never = StreamConsumer.next({ ...group, group: "never" }, { consumer: "a" })
      assert.strictEqual((yield* Effect.flip(never))._tag, "NoGroup")
    }))
})
