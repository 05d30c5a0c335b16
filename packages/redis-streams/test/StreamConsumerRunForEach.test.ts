import { assert, expect, layer } from "@effect/vitest"
import * as ConsumerGroup from "@safesync/redis-streams/ConsumerGroup"
import * as Delivery from "@safesync/redis-streams/Delivery"
import * as StreamConsumer from "@safesync/redis-streams/StreamConsumer"
import * as Chunk from "effect/Chunk"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Stream from "effect/Stream"
import { freshGroup, RedisLive } from "./fixture.js"

const options = { consumer: "a", batchSize: 4 }

layer(RedisLive, { excludeTestServices: true })("StreamConsumer.runForEach", (it) => {
  it.scoped("L15: has as many at a time as it says, acks all of them once, and ends with its stream", () =>
    Effect.gen(function*() {
      const { group, send } = yield* freshGroup()
      yield* send(10)
      const three = yield* Effect.makeLatch()
      const seen: Array<number> = []
      let running = 0
      let most = 0
      yield* StreamConsumer.runForEach(
        Stream.take(StreamConsumer.stream(group, options), 10),
        Delivery.use(({ number }) =>
          Effect.gen(function*() {
            most = Math.max(most, ++running)
            if (running === 3) yield* three.open
            yield* three.await
            running--
            seen.push(number)
          })
        ),
        { concurrency: 3 }
      )
      assert.strictEqual(most, 3)
      expect(seen.sort((a, b) => a - b)).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10])
      assert.strictEqual((yield* ConsumerGroup.info(group)).pending, 0)
    }))

  it.scoped("keeps the order with one at a time, over empty chunks as well", () =>
    Effect.gen(function*() {
      const { group, send } = yield* freshGroup()
      yield* send(9)
      const seen: Array<number> = []
      const deliveries = StreamConsumer.stream(group, options).pipe(
        Stream.take(9),
        Stream.mapChunks((chunk) => Chunk.filter(chunk, () => true)),
        (all) => Stream.concat(Stream.fromChunks(Chunk.empty()), all)
      )
      yield* StreamConsumer.runForEach(
        deliveries,
        Delivery.use(({ number }) => Effect.zipRight(Effect.yieldNow(), Effect.sync(() => seen.push(number)))),
        { concurrency: 1 }
      )
      expect(seen).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9])
    }))

  it.scoped("L15: the first failure ends all; what ran stays pending, what had not begun is handed back", () =>
    Effect.gen(function*() {
      const { group, send } = yield* freshGroup()
      yield* send(4)
      const begun = yield* Effect.makeLatch()
      let interrupted = 0
      const failed = yield* Effect.flip(StreamConsumer.runForEach(
        StreamConsumer.stream(group, options),
        Delivery.use(({ number }) =>
          number === 1
            ? Effect.zipRight(begun.await, Effect.fail("no money"))
            : Effect.onInterrupt(Effect.zipRight(begun.open, Effect.never), () => Effect.sync(() => interrupted++))
        ),
        { concurrency: 2 }
      ))
      assert.strictEqual(failed, "no money")
      assert.strictEqual(interrupted, 1)
      assert.strictEqual((yield* ConsumerGroup.info(group)).pending, 4)
    }))

  it.scoped("a failed stream ends it, also while all its fibers wait", () =>
    Effect.gen(function*() {
      const { group, send } = yield* freshGroup()
      yield* send(2)
      const deliveries = Stream.concat(Stream.take(StreamConsumer.stream(group, options), 2), Stream.fail("broken"))
      const error = yield* Effect.flip(
        StreamConsumer.runForEach(deliveries, Delivery.use(() => Effect.void), { concurrency: 8 })
      )
      assert.strictEqual(error, "broken")
      assert.strictEqual((yield* ConsumerGroup.info(group)).pending, 0)
    }))

  it.scoped("L20: interrupted while it waits for what comes, it ends at once", () =>
    Effect.gen(function*() {
      const { group, send } = yield* freshGroup()
      yield* send(1)
      const handled = yield* Effect.makeLatch()
      const fiber = yield* StreamConsumer.stream(group, { ...options, block: "1 hour" }).pipe(
        StreamConsumer.runForEach(Delivery.use(() => handled.open), { concurrency: 4 }),
        Effect.fork
      )
      yield* handled.await
      assert.isTrue(Exit.isInterrupted(yield* Fiber.interrupt(fiber)))
    }))

  it.scoped("refuses to do none at a time", () =>
    Effect.gen(function*() {
      const { group } = yield* freshGroup()
      const error = yield* Effect.flip(
        StreamConsumer.runForEach(StreamConsumer.stream(group, options), () => Effect.void, { concurrency: 0 })
      )
      assert.strictEqual(error._tag, "InvalidOptions")
    }))
})
