import { assert, expect, layer } from "@effect/vitest"
import * as ConsumerGroup from "@safesync/redis-streams/ConsumerGroup"
import * as DeadLetter from "@safesync/redis-streams/DeadLetter"
import * as Delivery from "@safesync/redis-streams/Delivery"
import * as GroupMetrics from "@safesync/redis-streams/GroupMetrics"
import * as Redis from "@safesync/redis-streams/Redis"
import * as Metrics from "@safesync/redis-streams/RedisStreamsMetrics"
import * as StreamConsumer from "@safesync/redis-streams/StreamConsumer"
import * as StreamEntry from "@safesync/redis-streams/StreamEntry"
import * as StreamProducer from "@safesync/redis-streams/StreamProducer"
import * as Chunk from "effect/Chunk"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { counting } from "../src/internal/deadCount.js"
import { deliveries, expectNothingLeft, freshGroup, type Order, order, RedisLive } from "./fixture.js"

const lettersOf = (group: ConsumerGroup.ConsumerGroup<Order>) =>
  Effect.map(Stream.runCollect(DeadLetter.stream(group)), Chunk.toReadonlyArray)

/** Sends so many and lets the group give them all up. */
const bury = (group: ConsumerGroup.ConsumerGroup<Order>, count: number) =>
  Effect.flatMap(
    deliveries(group, count),
    (all) => Effect.as(Effect.forEach(all, (delivery) => Delivery.deadLetter(delivery, "given up")), all)
  )

const deadLettersOf = (group: ConsumerGroup.ConsumerGroup<Order>) =>
  Effect.map(
    GroupMetrics.update(group),
    () => Metrics.deadLetters.unsafeValue(Metrics.groupLabels(group.stream, group.group)!).value
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

  it.scoped("groups of one name on two streams share a dead-letter stream, and each has its own letters only", () =>
    Effect.gen(function*() {
      const redis = yield* Redis.Redis
      const payments = yield* freshGroup()
      const { deadLetterStream } = payments.group
      const refunded = yield* freshGroup()
      const refunds = { ...refunded.group, deadLetterStream }
      yield* payments.send(2)
      const [payment] = yield* bury(payments.group, 2)
      // The ids of both streams may be the same as well.
      for (const { originalId } of yield* lettersOf(payments.group)) {
        yield* redis.command("XADD", refunds.stream, originalId, "data", `{"number":9}`)
      }
      yield* bury(refunds, 2)

      assert.deepStrictEqual((yield* lettersOf(payments.group)).map(({ stream }) => stream), [
        payments.stream,
        payments.stream
      ])
      const letters = yield* lettersOf(refunds)
      assert.deepStrictEqual(letters.map(({ fields, stream }) => [stream, fields[1]]), [
        [refunds.stream, `{"number":9}`],
        [refunds.stream, `{"number":9}`]
      ])

      // With the letter of the one in hand, the other group can do nothing to it.
      const [refund] = letters
      expect(yield* DeadLetter.replay(payments.group, refund!, { dryRun: true })).toEqual(Option.none())
      expect(yield* DeadLetter.replay(payments.group, refund!)).toEqual(Option.none())
      assert.isFalse(yield* DeadLetter.remove(payments.group, refund!))
      expect(yield* DeadLetter.replay({ ...refunds, group: "shipping" }, refund!)).toEqual(Option.none())
      assert.isFalse(yield* DeadLetter.remove({ ...refunds, group: "shipping" }, refund!))
      assert.strictEqual(yield* redis.command("XLEN", payments.stream), 2)
      assert.strictEqual(yield* redis.command("XLEN", deadLetterStream), 4)
      // Nor does a letter that was listed before reach another one that has its id in the dead-letter stream now.
      expect(yield* DeadLetter.replay(refunds, { ...refund!, originalId: "1-1" })).toEqual(Option.none())
      assert.isFalse(yield* DeadLetter.remove(refunds, { ...refund!, originalId: "1-1" }))

      assert.strictEqual(yield* deadLettersOf(payments.group), 2)
      assert.strictEqual(yield* DeadLetter.purge(payments.group, { olderThan: 0 }), 2)
      assert.deepStrictEqual((yield* lettersOf(refunds)).map(({ id }) => id), letters.map(({ id }) => id))
      assert.strictEqual(yield* deadLettersOf(payments.group), 0)
      assert.strictEqual(yield* deadLettersOf(refunds), 2)
      const again = Option.getOrThrow(yield* DeadLetter.replay(refunds, refund!))
      const [replayed] = yield* deliveries(refunds, 1)
      assert.deepStrictEqual([replayed!.id, replayed!.messageId, replayed!.stream], [
        again,
        payment!.id,
        refunds.stream
      ])
      yield* Delivery.use(replayed!, () => Effect.void)
      yield* expectNothingLeft(refunds)
      yield* expectNothingLeft(payments.group)
    }))

  it.scoped("the gauge of dead letters counts the group's own, whatever has come and gone since it was last set", () =>
    Effect.gen(function*() {
      const { group, send } = yield* freshGroup()
      const other = { ...group, group: "shipping" }
      yield* ConsumerGroup.create(other)
      yield* send(1200)
      yield* bury(group, 1100)
      yield* bury(other, 3)
      const letters = yield* lettersOf(group)
      const redis = yield* Redis.Redis
      const count = counting(redis, group)
      const remove = (letters: ReadonlyArray<DeadLetter.DeadLetter>) =>
        Effect.forEach(letters, (letter) => DeadLetter.remove(group, letter), { discard: true })
      assert.deepStrictEqual([yield* count, yield* count], [1100, 1100])
      yield* bury(other, 2)
      assert.strictEqual(yield* count, 1100)
      yield* bury(group, 3)
      assert.strictEqual(yield* count, 1103)
      // As many come as go.
      yield* Effect.zipRight(remove(letters.slice(0, 2)), bury(other, 2))
      assert.strictEqual(yield* count, 1101)
      yield* Effect.zipRight(remove(letters.slice(2, 4)), bury(group, 2))
      assert.strictEqual(yield* count, 1101)
      yield* redis.command("XTRIM", group.deadLetterStream, "MAXLEN", "=", "2")
      assert.strictEqual(yield* count, 2)
      yield* redis.command("DEL", group.deadLetterStream)
      assert.strictEqual(yield* count, 0)
      yield* bury(other, 1)
      yield* bury(group, 1)
      assert.strictEqual(yield* count, 1)
    }))
})
