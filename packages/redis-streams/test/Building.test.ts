import { assert, layer } from "@effect/vitest"
import * as ConsumerGroup from "@safesync/redis-streams/ConsumerGroup"
import * as DeadLetter from "@safesync/redis-streams/DeadLetter"
import * as Delivery from "@safesync/redis-streams/Delivery"
import * as Reclaim from "@safesync/redis-streams/Reclaim"
import type * as Redis from "@safesync/redis-streams/Redis"
import * as StreamConsumer from "@safesync/redis-streams/StreamConsumer"
import * as StreamIdentity from "@safesync/redis-streams/StreamIdentity"
import * as StreamProducer from "@safesync/redis-streams/StreamProducer"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { deliveries, freshGroup, order, pendingOf, RedisLive } from "./fixture.js"

const notADuration = "5 parsecs" as "5 seconds"
const every = Schedule.spaced("1 second")

type Built = Effect.Effect<unknown, unknown, Redis.Redis | Scope.Scope>

layer(RedisLive, { excludeTestServices: true })("An option that can never work", (it) => {
  it.scoped("is InvalidOptions of the effect, is not thrown when it is built, and changes nothing", () =>
    Effect.gen(function*() {
      const { group, producer, send, stream } = yield* freshGroup()
      yield* send(2)
      const [delivery] = yield* deliveries(group, 1)
      const before = yield* pendingOf(group)
      const settings = { stream, group: "g", schema: Schema.Int, startId: "0", minIdle: "1 minute" } as const
      const consumer = "b"
      const mistakes: Readonly<Record<string, () => Built>> = {
        "a group of no stream": () => ConsumerGroup.make({ ...settings, stream: "" }),
        "a group without a name": () => ConsumerGroup.make({ ...settings, group: "" }),
        "a group that begins nowhere": () => ConsumerGroup.make({ ...settings, startId: "x" }),
        "a group whose minIdle is none": () => ConsumerGroup.make({ ...settings, minIdle: notADuration }),
        "a producer of no stream": () => StreamProducer.make({ ...settings, stream: "" }),
        "a producer that trims to less than nothing": () =>
          StreamProducer.make({ ...settings, trim: { maxLength: -1 } }),
        "a producer that trims to an age that is none": () =>
          StreamProducer.make({ ...settings, trim: { maxAge: notADuration } }),
        "a send that is remembered for no time": () =>
          StreamProducer.sendOnce(producer, order(9), { key: "k", remember: notADuration }),
        "a send of no id": () =>
          StreamProducer.sendIdempotent(producer, order(9), { producerId: "p", idempotentId: "" }),
        "a consumer without a name": () => Stream.runDrain(StreamConsumer.stream(group, { consumer: "" })),
        "a consumer with a block that is none": () =>
          Stream.runDrain(StreamConsumer.stream(group, { consumer, block: notADuration })),
        "a consumer of batches of none": () =>
          Stream.runDrain(StreamConsumer.stream(group, { consumer, batchSize: 0 })),
        "next without a name": () => StreamConsumer.next(group, { consumer: "" }),
        "next with a block that is none": () => StreamConsumer.next(group, { consumer, block: notADuration }),
        "runForEach of none at a time": () =>
          StreamConsumer.runForEach(Stream.empty, () => Effect.void, { concurrency: 0 }),
        "reclaim once without a name": () => Reclaim.once(group, { consumer: "", count: 1 }),
        "reclaim once of none": () => Reclaim.once(group, { consumer, count: 0 }),
        "reclaim once with a minIdle that is none": () =>
          Reclaim.once(group, { consumer, count: 1, minIdle: notADuration }),
        "reclaim in batches of none": () => Stream.runDrain(Reclaim.stream(group, { consumer, every, batchSize: 0 })),
        "the removal of consumers that are idle for no time": () =>
          ConsumerGroup.removeIdleConsumers(group, { consumer, idle: notADuration } as never),
        "an ack of no id": () => ConsumerGroup.ack(group, ["x"]),
        "an identity that no key can hold": () => StreamIdentity.create({ stream: "a}b" }),
        "a purge of an age that is none": () => DeadLetter.purge(group, { olderThan: notADuration }),
        "a retry after a delay that is none": () => Delivery.retryAfter(delivery!, notADuration),
        "a retry after a longer delay than minIdle": () => Delivery.retryAfter(delivery!, "2 minutes"),
        "a retry after for ever": () => Delivery.retryAfter(delivery!, "Infinity" as never)
      }
      for (const [name, build] of Object.entries(mistakes)) {
        const built = build()
        const exit = yield* Effect.exit(Effect.scoped(built))
        assert.isTrue(Exit.isFailure(exit), name)
        const error = yield* Effect.flip(Effect.scoped(built))
        assert.strictEqual((error as { readonly _tag: string })._tag, "InvalidOptions", name)
      }
      assert.deepStrictEqual((yield* pendingOf(group)).map(({ id }) => id), before.map(({ id }) => id))
      yield* Delivery.use(delivery!, () => Effect.void)
      assert.deepStrictEqual(yield* pendingOf(group), [])
    }))
})
