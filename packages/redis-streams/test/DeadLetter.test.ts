import { assert, expect, layer } from "@effect/vitest"
import * as ConsumerGroup from "@safesync/redis-streams/ConsumerGroup"
import * as DeadLetter from "@safesync/redis-streams/DeadLetter"
import * as Delivery from "@safesync/redis-streams/Delivery"
import * as Redis from "@safesync/redis-streams/Redis"
import * as StreamConsumer from "@safesync/redis-streams/StreamConsumer"
import * as StreamEntry from "@safesync/redis-streams/StreamEntry"
import * as StreamProducer from "@safesync/redis-streams/StreamProducer"
import * as Chunk from "effect/Chunk"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { deliveries, expectNothingLeft, freshGroup, type Order, order, RedisLive } from "./fixture.js"

const lettersOf = (group: ConsumerGroup.ConsumerGroup<Order>) =>
  Effect.map(Stream.runCollect(DeadLetter.stream(group)), Chunk.toReadonlyArray)

/** Sends so many and lets the group give them all up. */
const bury = (group: ConsumerGroup.ConsumerGroup<Order>, count: number) =>
  Effect.flatMap(
    deliveries(group, count),
    (all) => Effect.as(Effect.forEach(all, (delivery) => Delivery.deadLetter(delivery, "given up")), all)
  )

layer(RedisLive, { excludeTestServices: true })("DeadLetter", (it) => {
  it.scoped("stream lists what died, with where it came from and why", () =>
    Effect.gen(function*() {
      const { group, send, stream } = yield* freshGroup()
      yield* send(2)
      const dead = yield* bury(group, 2)
      const letters = yield* lettersOf(group)
      assert.deepStrictEqual(
        letters.map(({ bytes: _, id: __, ...letter }) => letter),
        dead.map(({ id, value }) => ({
          stream,
          originalId: id,
          group: "billing",
          consumer: "a",
          attempts: 1,
          reason: "given up",
          fields: ["data", JSON.stringify({ number: value.number })]
        }))
      )
      assert.deepStrictEqual((yield* DeadLetter.decode(group, letters[0]!)).value, order(1))
      yield* expectNothingLeft(group)
    }))

  it.scoped("stream is empty where nothing has died, and NoGroup where there is neither a dead entry nor the group", () =>
    Effect.gen(function*() {
      const { group, send, stream } = yield* freshGroup()
      assert.deepStrictEqual(yield* lettersOf(group), [])
      for (const misspelt of [{ ...group, group: "biling" }, { ...group, stream: `${stream}s` }]) {
        assert.strictEqual((yield* Effect.flip(lettersOf(misspelt)))._tag, "NoGroup")
      }
      yield* send(1)
      yield* bury(group, 1)
      assert.strictEqual((yield* Effect.flip(lettersOf({ ...group, group: "biling" })))._tag, "NoGroup")
      // What has died outlives its group.
      const redis = yield* Redis.Redis
      yield* redis.command("XGROUP", "DESTROY", stream, group.group)
      assert.strictEqual((yield* lettersOf(group)).length, 1)
    }))

  it.scoped("stream goes through all pages, and shows a group its own only", () =>
    Effect.gen(function*() {
      const { group, send } = yield* freshGroup()
      const other = { ...group, group: "shipping" }
      yield* ConsumerGroup.create(other)
      yield* send(1200)
      yield* bury(group, 1200)
      yield* bury(other, 3)
      assert.strictEqual((yield* lettersOf(group)).length, 1200)
      assert.strictEqual((yield* lettersOf(other)).length, 3)
    }))

  it.scoped("replay sends it again for its group alone, under the id that an inbox knows", () =>
    Effect.gen(function*() {
      const { group, producer, send } = yield* freshGroup()
      const other = { ...group, group: "shipping" }
      yield* ConsumerGroup.create(other)
      const [original] = yield* send(1)
      yield* bury(group, 1)
      const [letter] = yield* lettersOf(group)
      const replayed = Option.getOrThrow(yield* DeadLetter.replay(group, letter!))
      assert.deepStrictEqual(yield* lettersOf(group), [])
      expect(yield* DeadLetter.replay(group, letter!)).toEqual(Option.none())

      // It dies a second time, and is still known by its first id.
      const [again] = yield* bury(group, 1)
      assert.deepStrictEqual([again!.id, again!.messageId, again!.value], [replayed, original, order(1)])
      yield* DeadLetter.replay(group, (yield* lettersOf(group))[0]!)
      const [third] = yield* deliveries(group, 1)
      assert.strictEqual(third!.messageId, original)
      yield* Delivery.use(third!, () => Effect.void)
      yield* expectNothingLeft(group)

      yield* StreamProducer.send(producer, order(2))
      const seen = yield* StreamConsumer.stream(other, { consumer: "a" }).pipe(
        Stream.mapEffect(Delivery.use(({ number }) => Effect.succeed(number))),
        Stream.take(2),
        Stream.runCollect
      )
      assert.deepStrictEqual(Chunk.toReadonlyArray(seen), [1, 2])
      yield* expectNothingLeft(other)
    }))

  it.scoped("what is no UTF-8 is kept byte for byte, stays undecodable, and is replayed for its group alone", () =>
    Effect.gen(function*() {
      const { group, stream } = yield* freshGroup()
      const redis = yield* Redis.Redis
      const other = { ...group, group: "shipping" }
      yield* redis.command("EVAL", "return redis.call('XADD', KEYS[1], '*', 'data', '\"\\255\"')", "1", stream)
      yield* StreamConsumer.next(group, { consumer: "a" })
      const [letter] = yield* lettersOf(group)
      assert.deepStrictEqual(letter!.bytes.map((bytes) => [...bytes]), [[...Buffer.from("data")], [34, 255, 34]])
      const anything = { ...group, entry: StreamEntry.make(Schema.String) }
      assert.strictEqual((yield* Effect.flip(DeadLetter.decode(anything, letter!)))._tag, "ParseError")

      yield* ConsumerGroup.create({ ...other, startId: "$" })
      yield* DeadLetter.replay(group, letter!)
      yield* StreamConsumer.next(other, { consumer: "a" })
      assert.deepStrictEqual(yield* lettersOf(other), [])
      yield* expectNothingLeft(other)
    }))

  it.scoped("replay with dryRun changes nothing, and tells what would be sent", () =>
    Effect.gen(function*() {
      const { group, send, stream } = yield* freshGroup()
      const redis = yield* Redis.Redis
      const [original] = yield* send(1)
      yield* bury(group, 1)
      const [letter] = yield* lettersOf(group)
      const fields = ["data", `{"number":1}`, "message-id", original!, "for-group", group.group]
      expect(yield* DeadLetter.replay(group, letter!, { dryRun: true })).toEqual(Option.some(fields))
      assert.strictEqual(yield* redis.command("XLEN", stream), 1)
      assert.strictEqual((yield* lettersOf(group)).length, 1)
      const sent = Option.getOrThrow(yield* DeadLetter.replay(group, letter!))
      assert.deepStrictEqual(yield* redis.command("XRANGE", stream, sent, sent), [[sent, fields]])
      expect(yield* DeadLetter.replay(group, letter!, { dryRun: true })).toEqual(Option.none())
      yield* Effect.flatMap(deliveries(group, 1), ([again]) => Delivery.use(again!, () => Effect.void))
      const error = yield* Effect.flip(DeadLetter.purge(group, { olderThan: Infinity }))
      assert.strictEqual(error._tag === "InvalidOptions" && error.option, "olderThan")
    }))

  it.scoped("purge throws away what has been dead for long, of this group alone", () =>
    Effect.gen(function*() {
      const { group, send } = yield* freshGroup()
      const redis = yield* Redis.Redis
      const other = { ...group, group: "shipping" }
      yield* ConsumerGroup.create(other)
      yield* send(700)
      yield* bury(group, 700)
      yield* bury(other, 700)
      assert.strictEqual(yield* DeadLetter.purge(group, { olderThan: "1 hour" }), 0)
      assert.strictEqual(yield* DeadLetter.purge(group, { olderThan: 0 }), 700)
      assert.deepStrictEqual(yield* lettersOf(group), [])
      assert.strictEqual(yield* redis.command("XLEN", group.deadLetterStream), 700)
      const [letter] = yield* lettersOf(other)
      assert.isTrue(yield* DeadLetter.remove(other, letter!))
      assert.isFalse(yield* DeadLetter.remove(other, letter!))
    }))
})
