import { assert, layer } from "@effect/vitest"
import * as ConsumerGroup from "@safesync/redis-streams/ConsumerGroup"
import * as DeadLetter from "@safesync/redis-streams/DeadLetter"
import * as Delivery from "@safesync/redis-streams/Delivery"
import * as Redis from "@safesync/redis-streams/Redis"
import * as StreamConsumer from "@safesync/redis-streams/StreamConsumer"
import * as StreamProducer from "@safesync/redis-streams/StreamProducer"
import * as RedisServer from "@safesync/testkit/RedisServer"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import { connect, freshGroup, Order, order, RedisLive, untilBlocked } from "./fixture.js"

/** Node's warnings of timers that are given more than they run, and run for a millisecond then. */
const timersOverflown = Effect.acquireRelease(
  Effect.sync(() => {
    const names: Array<string> = []
    const note = ({ name }: Error) => names.push(name)
    process.on("warning", note)
    return { names, note }
  }),
  ({ note }) => Effect.sync(() => process.off("warning", note))
).pipe(
  Effect.map(({ names }) =>
    Effect.zipRight(
      // Node tells it in the next tick.
      Effect.promise(() => new Promise<void>((resolve) => setImmediate(resolve))),
      Effect.sync(() => names.filter((name) => name === "TimeoutOverflowWarning"))
    )
  )
)

layer(RedisLive, { excludeTestServices: true })("Times that exceed what a timer runs", (it) => {
  it.scoped("do not make a connection look at itself all the time, once the bound for commands has gone by", () =>
    Effect.gen(function*() {
      const overflown = yield* timersOverflown
      const { url } = yield* RedisServer.RedisServer
      const redis = yield* connect({ url, commandTimeout: 300 })
      yield* Effect.gen(function*() {
        const { group, send } = yield* freshGroup()
        const next = yield* Effect.fork(StreamConsumer.next(group, { consumer: "a", block: "30 days" }))
        yield* untilBlocked(group)
        // Timers of the same length end in the order in which they began: that of the connection is over then.
        yield* Effect.promise(() => new Promise<void>((resolve) => setTimeout(resolve, 300)))
        yield* Effect.promise(() => new Promise<void>((resolve) => setImmediate(resolve)))
        assert.deepStrictEqual(yield* overflown, [])
        yield* send(1)
        yield* Delivery.use(Option.getOrThrow(yield* Fiber.join(next)), () => Effect.void)
      }).pipe(Effect.provide(Layer.succeed(Redis.Redis, redis)))
    }))

  for (const time of ["30 days", "400 days", "20000000 days"] as const) {
    it.scoped(`are kept: ${time}`, () =>
      Effect.gen(function*() {
        const overflown = yield* timersOverflown
        const { url } = yield* RedisServer.RedisServer
        const redis = yield* connect({ url, connectTimeout: time, commandTimeout: time })
        yield* Effect.gen(function*() {
          const { group, send, stream } = yield* freshGroup({ minIdle: time })
          const received = yield* Effect.fork(
            StreamConsumer.stream(group, {
              consumer: "a",
              block: time,
              reclaim: { every: Schedule.spaced(time) }
            }).pipe(
              Stream.mapEffect(Delivery.use(({ number }) => Effect.succeed(number))),
              Stream.take(2),
              Stream.runCollect
            )
          )
          yield* untilBlocked(group)
          yield* send(1)
          const short = yield* StreamProducer.make({
            stream,
            schema: Order,
            trim: { maxAge: time, unacked: "keep" }
          })
          const [first, second] = yield* Effect.all(
            [1, 2].map(() => StreamProducer.sendOnce(short, order(7), { key: "seven", remember: time }))
          )
          assert.deepStrictEqual([first?.isNew, second?.id], [true, first?.id])
          assert.deepStrictEqual(Array.from(yield* Fiber.join(received), Number), [1, 7])

          yield* send(1)
          const next = yield* StreamConsumer.next(group, { consumer: "b", block: time })
          yield* Delivery.retryAfter(Option.getOrThrow(next), time)
          assert.strictEqual(yield* DeadLetter.purge(group, { olderThan: time }), 0)
          yield* ConsumerGroup.removeIdleConsumers(group, { idle: time })
        }).pipe(Effect.provide(Layer.succeed(Redis.Redis, redis)))
        assert.deepStrictEqual(yield* overflown, [])
      }))
  }
})
