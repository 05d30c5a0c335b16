/** By what the inbox knows a message: what is one message, and what is two. */
import { expect, layer } from "@effect/vitest"
import * as Inbox from "@safesync/mysql/Inbox"
import * as Transaction from "@safesync/mysql/Transaction"
import type * as ConsumerGroup from "@safesync/redis-streams/ConsumerGroup"
import * as DeadLetter from "@safesync/redis-streams/DeadLetter"
import * as Delivery from "@safesync/redis-streams/Delivery"
import * as Reclaim from "@safesync/redis-streams/Reclaim"
import * as Redis from "@safesync/redis-streams/Redis"
import * as StreamConsumer from "@safesync/redis-streams/StreamConsumer"
import * as StreamIdentity from "@safesync/redis-streams/StreamIdentity"
import * as RedisServer from "@safesync/testkit/RedisServer"
import * as Worker from "@safesync/worker/Worker"
import * as Chunk from "effect/Chunk"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Stream from "effect/Stream"
import type { Payment } from "./fixture.js"
import { balance, bench, credit, payments, plain, Servers, source, until } from "./fixture.js"

type Group = ConsumerGroup.ConsumerGroup<typeof Payment.Type>

/** Another database, with a stream and a group of the same names. */
const elsewhere = (group: Group) =>
  Effect.gen(function*() {
    const { url } = yield* RedisServer.RedisServer
    const other = new URL(Redacted.value(url))
    other.pathname = "/1"
    const redis = Context.get(yield* Layer.build(Redis.layer({ url: Redacted.make(other.href) })), Redis.Redis)
    yield* redis.command("XGROUP", "CREATE", group.stream, group.group, "0", "MKSTREAM")
    yield* Effect.addFinalizer(() => Effect.ignore(redis.command("FLUSHDB")))
    return <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.provideService(effect, Redis.Redis, redis)
  })

/** Gives the stream its identity, and takes it away at the end. */
const identify = (group: Group) =>
  Effect.gen(function*() {
    const redis = yield* Redis.Redis
    yield* Effect.addFinalizer(() => Effect.ignore(redis.command("DEL", `{${group.stream}}:born`)))
    return yield* StreamIdentity.create(group)
  })

const add = ({ stream }: Group, id: string, pence: number, ...headers: ReadonlyArray<string>) =>
  Effect.flatMap(
    Redis.Redis,
    (redis) => redis.command("XADD", stream, id, "data", JSON.stringify({ account: 1, pence }), ...headers)
  )

/** A worker of the version before: it knows a message by its id, under "stream/group". It commits, and dies before its ack. */
const oldWorker = ({ group, stream }: Group, consumer: string) =>
  Effect.gen(function*() {
    const redis = yield* Redis.Redis
    const reply = yield* redis.command("XREADGROUP", "GROUP", group, consumer, "COUNT", "100", "STREAMS", stream, ">")
    for (const [id, [, data]] of (reply as [[string, Array<[string, [string, string]]>]])[0][1]) {
      yield* credit(JSON.parse(data)).pipe(Inbox.once(id, `${stream}/${group}`), Transaction.run())
    }
  })

const isKnownToOld = ({ group, stream }: Group, id: string) =>
  Effect.map(Transaction.run(Inbox.onceMany([id], `${stream}/${group}`)), (fresh) => fresh.length === 0)

const ways = {
  "Worker.run": <E, R>(source: Stream.Stream<Delivery.Delivery<typeof Payment.Type>, E, R>) =>
    Worker.run(source, credit, plain),
  "Worker.runBatch": <E, R>(source: Stream.Stream<Delivery.Delivery<typeof Payment.Type>, E, R>) =>
    Worker.runBatch(source, (all) => Effect.forEach(all, ({ value }) => credit(value), { discard: true }), {
      ...plain,
      size: 10,
      within: "1 millis"
    })
}

layer(Servers, { excludeTestServices: true })("the identity of a message", (it) => {
  for (const [name, work] of Object.entries(ways)) {
    /** Handles the next so many that are new, or so many of another consumer's. */
    const next = (group: Group, count: number) =>
      work(Stream.take(StreamConsumer.stream(group, { consumer: "a" }), count))
    const takeOver = (group: Group, count: number) =>
      Effect.flatMap(Redis.Redis, (redis) =>
        Effect.zipRight(
          until(
            redis.command("XPENDING", group.stream, group.group, "IDLE", "2", "-", "+", "9"),
            (found) => (found as []).length >= count
          ),
          work(Stream.unwrapScoped(Effect.map(Reclaim.once(group, { consumer: "b", count }), Stream.fromIterable)))
        ))

    it.effect(`${name}: entries of two servers with the same ids, in streams of the same name, are all handled`, () =>
      bench(Effect.gen(function*() {
        const { group } = yield* payments()
        const there = yield* elsewhere(group)
        // Nothing was sent to either: both stand at 0-0.
        expect([yield* identify(group), yield* there(StreamIdentity.create(group))]).toEqual([true, true])
        for (const id of ["1-1", "1-2", "1-3"]) {
          yield* add(group, id, 1)
          yield* there(add(group, id, 100))
        }
        yield* next(group, 3)
        yield* there(next(group, 3))
        expect(yield* balance(1)).toBe(303)
      })))

    it.effect(`${name}: ids of a message-id header are the message's own on every server`, () =>
      bench(Effect.gen(function*() {
        const { group } = yield* payments()
        const there = yield* elsewhere(group)
        yield* add(group, "1-1", 1, "message-id", "m-1")
        yield* next(group, 1)
        yield* identify(group)
        yield* there(StreamIdentity.create(group))
        yield* add(group, "1-2", 10, "message-id", "m-1")
        yield* add(group, "1-3", 100, "message-id", "m-2")
        yield* there(add(group, "1-3", 1000, "message-id", "m-2"))
        yield* next(group, 2)
        yield* there(next(group, 1))
        expect(yield* balance(1)).toBe(101)
        expect([yield* isKnownToOld(group, "m-1"), yield* isKnownToOld(group, "m-2")]).toEqual([true, true])
      })))

    it.effect(`${name}: beside a worker of the version before nothing is applied twice, by either of them`, () =>
      bench(Effect.gen(function*() {
        const { group, pending } = yield* payments({ minIdle: 1 })
        for (const n of [1, 2, 3]) yield* add(group, `${n}-1`, 1)
        yield* oldWorker(group, "old")
        expect([yield* balance(1), yield* pending]).toEqual([3, 3])
        yield* takeOver(group, 1)
        // The others are met after the step that the last old worker had to stop for.
        yield* identify(group)
        yield* takeOver(group, 2)
        expect([yield* balance(1), yield* pending]).toEqual([3, 0])
      })))

    it.effect(`${name}: a worker of the version before knows what this one has handled, while there is no identity`, () =>
      bench(Effect.gen(function*() {
        const { group, pending } = yield* payments({ left: 2 })
        const redis = yield* Redis.Redis
        for (const n of [1, 2]) yield* add(group, `${n}-1`, 1)
        yield* next(group, 2)
        yield* redis.command("XGROUP", "SETID", group.stream, group.group, "0")
        yield* oldWorker(group, "old")
        expect([yield* balance(1), yield* pending]).toEqual([2, 2])
      })))

    it.effect(`${name}: what runs learns of an identity with its next read, and of its loss`, () =>
      bench(Effect.gen(function*() {
        const { group, pending } = yield* payments()
        const redis = yield* Redis.Redis
        const worker = yield* Effect.fork(work(source(group, "a")))
        yield* add(group, "1-1", 1)
        yield* until(balance(1), (n) => n === 1)
        yield* identify(group)
        // Another server's worker had the ids that come now.
        yield* Transaction.run(Inbox.onceMany(["1-2", "1-3"], `${group.stream}/billing`))
        yield* add(group, "1-2", 10)
        yield* until(balance(1), (n) => n === 11)
        yield* redis.command("DEL", `{${group.stream}}:born`)
        yield* add(group, "1-3", 100)
        yield* add(group, "1-4", 1000)
        yield* until(balance(1), (n) => n === 1011)
        yield* until(pending, (n) => n === 0)
        yield* Fiber.interrupt(worker)
        expect(yield* isKnownToOld(group, "1-4")).toBe(true)
      })))

    it.effect(`${name}: a replay is known by what it was known by in its first life, whatever has become of the stream`, () =>
      bench(Effect.gen(function*() {
        const { group, pending } = yield* payments({ minIdle: 1 })
        const redis = yield* Redis.Redis
        yield* add(group, "1-1", 1)
        yield* identify(group)
        yield* add(group, "1-2", 10)
        yield* add(group, "1-3", 100, "message-id", "m-3")
        yield* add(group, "1-4", 1000)
        // Handled and committed, and given up all the same: their acks were lost, say.
        yield* next(group, 3)
        expect(yield* balance(1)).toBe(111)
        yield* redis.command("XGROUP", "SETID", group.stream, group.group, "0")
        const again = yield* Stream.runCollect(Stream.take(StreamConsumer.stream(group, { consumer: "z" }), 4))
        yield* Effect.forEach(again, (delivery) => Delivery.deadLetter(delivery, "given up"))
        // The stream is made anew, with another identity.
        yield* redis.command("DEL", group.stream, `{${group.stream}}:born`)
        yield* redis.command("XGROUP", "CREATE", group.stream, group.group, "0", "MKSTREAM")
        expect(yield* StreamIdentity.create(group)).toBe(true)
        const letters = Chunk.toReadonlyArray(yield* Stream.runCollect(DeadLetter.stream(group)))
        expect(letters.map(({ fields, originalId }) => [originalId, fields.length])).toEqual([
          ["1-1", 2],
          ["1-2", 2],
          ["1-3", 4],
          ["1-4", 2]
        ])
        yield* Effect.forEach(letters, (letter) => DeadLetter.replay(group, letter))
        yield* next(group, 4)
        expect(yield* balance(1)).toBe(1111)
        // And once more, when it has died as a replay.
        yield* redis.command("XGROUP", "SETID", group.stream, group.group, "0")
        const replayed = yield* Stream.runCollect(Stream.take(StreamConsumer.stream(group, { consumer: "y" }), 4))
        yield* Effect.forEach(replayed, (delivery) => Delivery.deadLetter(delivery, "given up again"))
        yield* Stream.runForEach(DeadLetter.stream(group), (letter) => DeadLetter.replay(group, letter))
        yield* next(group, 4)
        expect([yield* balance(1), yield* pending]).toEqual([1111, 0])
      })))
  }

  it.effect("L23: a message under the id of one that is being handled, in a stream that was made anew, is handled too", () =>
    bench(Effect.gen(function*() {
      const fresh = yield* payments()
      const group: Group = { ...fresh.group, whenLost: { recreateFrom: "0" } }
      const redis = yield* Redis.Redis
      yield* identify(group)
      const begun = yield* Deferred.make<void>()
      const end = yield* Deferred.make<void>()
      const handler = (payment: typeof Payment.Type) =>
        payment.pence === 1
          // It cannot be interrupted, as one that waits for the answer to its COMMIT.
          ? Effect.uninterruptible(
            Effect.zipRight(Deferred.succeed(begun, undefined), Effect.zipRight(Deferred.await(end), credit(payment)))
          )
          : credit(payment)
      const worker = yield* Effect.fork(
        Worker.run(StreamConsumer.stream(group, { consumer: "a", block: "50 millis" }), handler, plain)
      )
      yield* add(group, "1-1", 1)
      yield* Deferred.await(begun)
      // As FLUSHALL does, and whoever is quicker makes the group again.
      yield* redis.command("DEL", group.stream, `{${group.stream}}:born`)
      yield* add(group, "1-1", 10)
      yield* until(balance(1), (n) => n === 10)
      yield* Deferred.succeed(end, undefined)
      yield* add(group, "1-2", 100)
      yield* until(balance(1), (n) => n >= 110)
      yield* until(fresh.pending, (n) => n === 0)
      yield* Fiber.interrupt(worker)
    })))

  it.effect("a batch in which one ack is refused has acked the others, and its worker goes on", () =>
    bench(Effect.gen(function*() {
      const { group: fresh, pending } = yield* payments({ left: 1 })
      const group: Group = { ...fresh, whenLost: { recreateFrom: "0" } }
      const redis = yield* Redis.Redis
      for (const n of [1, 2, 3]) yield* add(group, `1-${n}`, 1)
      let batches = 0
      const worker = yield* Effect.fork(Worker.runBatch(
        StreamConsumer.stream(group, { consumer: "a", block: "50 millis" }),
        (all) =>
          Effect.gen(function*() {
            for (const { value } of all) yield* credit(value)
            if (batches++ > 0) return
            // The stream is made anew, and another consumer has the first entry of it: the rest has been handled here.
            yield* Effect.orDie(redis.commands([
              ["MULTI"],
              ["DEL", group.stream],
              ["XGROUP", "CREATE", group.stream, group.group, "0", "MKSTREAM"],
              ["XADD", group.stream, "1-1", "data", `{"account":1,"pence":7}`],
              ["XREADGROUP", "GROUP", group.group, "b", "STREAMS", group.stream, ">"],
              ["EXEC"]
            ]))
          }),
        { ...plain, size: 3, within: "1 millis" }
      ))
      yield* until(balance(1), (n) => n === 3)
      yield* add(group, "1-4", 100)
      yield* until(balance(1), (n) => n === 103)
      yield* until(pending, (n) => n === 1)
      yield* Fiber.interrupt(worker)
    })))

  it.effect("an id of the caller's function is the message's own on every server", () =>
    bench(Effect.gen(function*() {
      const { group } = yield* payments()
      const there = yield* elsewhere(group)
      yield* identify(group)
      yield* there(StreamIdentity.create(group))
      yield* add(group, "1-1", 1)
      yield* there(add(group, "1-1", 100))
      const work = Worker.run(Stream.take(StreamConsumer.stream(group, { consumer: "a" }), 1), credit, {
        ...plain,
        inbox: (_, { id }) => id
      })
      yield* work
      yield* there(work)
      expect(yield* balance(1)).toBe(1)
      expect(yield* isKnownToOld(group, "1-1")).toBe(true)
    })))
})
