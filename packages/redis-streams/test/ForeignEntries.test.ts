import { assert, describe, layer } from "@effect/vitest"
import * as ConsumerGroup from "@safesync/redis-streams/ConsumerGroup"
import * as DeadLetter from "@safesync/redis-streams/DeadLetter"
import * as Delivery from "@safesync/redis-streams/Delivery"
import * as Reclaim from "@safesync/redis-streams/Reclaim"
import * as Redis from "@safesync/redis-streams/Redis"
import * as StreamConsumer from "@safesync/redis-streams/StreamConsumer"
import * as Chunk from "effect/Chunk"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import { age, deliveries, expectNothingLeft, freshGroup, numberOf, RedisLive } from "./fixture.js"

/** Adds an entry of one's own making, and has it delivered to consumer `a` by other means than ours. */
const delivered = (group: { readonly stream: string; readonly group: string }, id: string, number: number) =>
  Effect.gen(function*() {
    const redis = yield* Redis.Redis
    const added = yield* redis.command("XADD", group.stream, id, "data", JSON.stringify({ number }))
    yield* redis.command("XREADGROUP", "GROUP", group.group, "a", "STREAMS", group.stream, ">")
    return String(added)
  })

layer(RedisLive, { excludeTestServices: true })("entries that others have written", (it) => {
  describe("L16, L18: an id with the greatest sequence that there is does not end a pending list", () => {
    const greatest = "5-18446744073709551615"

    it.scoped("L16: at start", () =>
      Effect.gen(function*() {
        const { group } = yield* freshGroup()
        yield* delivered(group, greatest, 1)
        yield* delivered(group, "6-0", 2)
        const seen = yield* StreamConsumer.stream(group, { consumer: "a", batchSize: 1 }).pipe(
          Stream.take(2),
          Stream.mapEffect(numberOf),
          Stream.runCollect
        )
        assert.deepStrictEqual(Chunk.toReadonlyArray(seen), [1, 2])
        yield* expectNothingLeft(group)
      }))

    it.scoped("L18: reclaiming", () =>
      Effect.gen(function*() {
        const { group } = yield* freshGroup()
        const ids = [yield* delivered(group, greatest, 1), yield* delivered(group, "6-0", 2)]
        yield* age(group, ids, 60_000)
        const found = yield* Reclaim.once(group, { consumer: "b", count: 9, batchSize: 1, takeOwn: false })
        assert.deepStrictEqual(found.map(({ id }) => id), ids)
        yield* Effect.forEach(found, numberOf)
      }))
  })

  it.scoped("L18: a delivery count that cannot grow any more is still held, and can be settled", () =>
    Effect.gen(function*() {
      const { group, redis, stream } = yield* freshGroup()
      const id = yield* delivered(group, "*", 1)
      const greatest = String(2n ** 63n - 1n)
      yield* redis.command("XCLAIM", stream, group.group, "a", "0", id, "RETRYCOUNT", greatest, "JUSTID")
      const [delivery] = yield* deliveries(group, 1)
      assert.strictEqual(delivery!.attempt, Number.MAX_SAFE_INTEGER)
      yield* Delivery.deadLetter(delivery!, "too often")
      yield* expectNothingLeft(group)
    }))

  it.scoped("an entry is for the group that it names, wherever among its fields it does so", () =>
    Effect.gen(function*() {
      const { group, redis, stream } = yield* freshGroup()
      const shipping = { ...group, group: "shipping" }
      yield* ConsumerGroup.create(shipping)
      for (const [number, name] of [[1, "billing"], [2, "shipping"]] as const) {
        yield* redis.command("XADD", stream, "*", "for-group", name, "data", JSON.stringify({ number }))
      }
      for (const [number, group_] of [[1, group], [2, shipping]] as const) {
        assert.deepStrictEqual(yield* Effect.forEach(yield* deliveries(group_, 1), numberOf), [number])
      }
      // The other's is acked by whoever reads it.
      assert.isTrue(Option.isNone(yield* StreamConsumer.next(group, { consumer: "a" })))
      yield* expectNothingLeft(group)
    }))

  it.scoped("L23: an empty message id is none, and a replay gives the entry one", () =>
    Effect.gen(function*() {
      const { group, redis, stream } = yield* freshGroup()
      const id = String(yield* redis.command("XADD", stream, "*", "data", `{"number":1}`, "message-id", ""))
      const [first] = yield* deliveries(group, 1)
      assert.strictEqual(first!.messageId, id)
      yield* Delivery.deadLetter(first!, "not now")
      const [letter] = yield* Stream.runCollect(DeadLetter.stream(group))
      yield* DeadLetter.replay(group, letter!)
      const [again] = yield* deliveries(group, 1)
      assert.strictEqual(again!.messageId, id)
      yield* numberOf(again!)
    }))
})
