/**
 * Producers and consumers of one stream at work, each with a connection and a proxy of its own, and what they were told.
 *
 * @since 0.1.0
 */
import * as ConsumerGroup from "@safesync/redis-streams/ConsumerGroup"
import * as Delivery from "@safesync/redis-streams/Delivery"
import * as Redis from "@safesync/redis-streams/Redis"
import type { InvalidOptions } from "@safesync/redis-streams/RedisError"
import * as StreamConsumer from "@safesync/redis-streams/StreamConsumer"
import * as StreamProducer from "@safesync/redis-streams/StreamProducer"
import * as RedisServer from "@safesync/testkit/RedisServer"
import * as TcpProxy from "@safesync/testkit/TcpProxy"
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Queue from "effect/Queue"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import type { Scope } from "effect/Scope"
import * as Stream from "effect/Stream"

/**
 * @since 0.1.0
 * @category models
 */
export class Order extends Schema.Class<Order>("Order")({ number: Schema.Int, key: Schema.optional(Schema.String) }) {}

/**
 * How long a client waits for an answer: short, so that what was lost is noticed within the time of a test.
 *
 * @since 0.1.0
 * @category constants
 */
export const commandTimeout = 250

/**
 * @since 0.1.0
 * @category models
 */
export interface Client {
  readonly name: string
  readonly proxy: TcpProxy.TcpProxy
  readonly redis: Context.Context<Redis.Redis>
}

/**
 * A client of its own behind a proxy of its own.
 *
 * @since 0.1.0
 * @category constructors
 */
export const client = (name: string) =>
  Effect.gen(function*() {
    const { url } = yield* RedisServer.RedisServer
    const proxy = yield* TcpProxy.make(url)
    const redis = yield* Layer.build(
      Redis.layer({ url: proxy.through(url), commandTimeout: `${commandTimeout} millis`, connectTimeout: "2 seconds" })
    )
    return { name, proxy, redis }
  })

/**
 * What everybody was told, and what was done.
 *
 * @since 0.1.0
 * @category models
 */
export interface Books {
  /** Entries whose `send` reported success. */
  readonly promised: Set<string>
  /** Keys whose `sendOnce` reported success. */
  readonly keys: Set<string>
  /** Sends that failed: their entries may be there or not. */
  failedSends: number
  /** How often each entry's handler has succeeded. */
  readonly handled: Map<string, number>
  /** When each consumer was last seen at work, by `performance.now()`. */
  readonly lastSign: Map<string, number>
  /** The longest time, in milliseconds, in which no handler of anybody succeeded. */
  longestSilence: number
  /** What ended although it should have gone on. */
  readonly stopped: Array<string>
}

/**
 * @since 0.1.0
 * @category constructors
 */
export const books = (): Books => ({
  promised: new Set(),
  keys: new Set(),
  failedSends: 0,
  handled: new Map(),
  lastSign: new Map(),
  longestSilence: 0,
  stopped: []
})

/**
 * @since 0.1.0
 * @category models
 */
export interface Work {
  readonly group: ConsumerGroup.ConsumerGroup<Order>
  readonly producer: StreamProducer.StreamProducer<Order>
}

/**
 * @since 0.1.0
 * @category constructors
 */
export const work: Effect.Effect<Work, InvalidOptions> = Effect.gen(function*() {
  const stream = "orders"
  return {
    group: yield* ConsumerGroup.make({ stream, group: "billing", schema: Order, startId: "0", minIdle: "500 millis" }),
    producer: yield* StreamProducer.make({ stream, schema: Order })
  }
})

/**
 * Sends as fast as it may, three at a time. What is not known to be there is not sent again.
 *
 * @since 0.1.0
 * @category operations
 */
export const sendMany = ({ producer }: Work, books: Books, { redis }: Client): Effect.Effect<never> => {
  let number = 0
  return StreamProducer.sendAll(producer, [1, 2, 3].map(() => new Order({ number: number++ }))).pipe(
    Effect.map((ids) => ids.forEach((id) => books.promised.add(id))),
    Effect.catchAll(() => {
      books.failedSends++
      return Effect.sleep("5 millis")
    }),
    Effect.zipLeft(Effect.sleep("1 millis")),
    Effect.forever,
    Effect.provide(redis)
  )
}

/**
 * Sends one after the other under a key, each again and again until it is known to be there.
 *
 * @since 0.1.0
 * @category operations
 */
export const sendOnce = ({ producer }: Work, books: Books, { name, redis }: Client): Effect.Effect<never> => {
  let number = 0
  return Effect.suspend(() => {
    const key = `${name}-${number++}`
    return StreamProducer.sendOnce(producer, new Order({ number, key }), { key, remember: "1 hour" }).pipe(
      Effect.tapError(() => Effect.sync(() => books.failedSends++)),
      Effect.retry(Schedule.spaced("5 millis")),
      Effect.orDie,
      Effect.map(({ id }) => {
        books.promised.add(id)
        books.keys.add(key)
      })
    )
  }).pipe(
    Effect.zipLeft(Effect.sleep("1 millis")),
    Effect.forever,
    Effect.provide(redis)
  )
}

/**
 * A worker: new entries and stale ones, four handlers, of which every seventh fails at its first attempt.
 *
 * @since 0.1.0
 * @category operations
 */
export const consume = (
  { group }: Work,
  books: Books,
  { name, redis }: Client
): Effect.Effect<void, never, Scope> =>
  Effect.gen(function*() {
    const reconnect = Schedule.spaced("20 millis")
    const queue = yield* Queue.bounded<Delivery.Delivery<Order>>(8)
    const done = (delivery: Delivery.Delivery<Order>) => () => {
      const now = performance.now()
      const last = Math.max(...books.lastSign.values(), 0)
      if (last > 0) books.longestSilence = Math.max(books.longestSilence, now - last)
      books.lastSign.set(name, now)
      books.handled.set(delivery.id, (books.handled.get(delivery.id) ?? 0) + 1)
    }
    const handle = Effect.flatMap(Queue.take(queue), (delivery) =>
      Effect.ignore(Delivery.use(delivery, ({ number }) =>
        number % 7 === 0 && delivery.attempt === 1 ? Effect.fail("later") : Effect.sync(done(delivery)))))
    const watch = <A, E, R>(self: Effect.Effect<A, E, R>) =>
      Effect.onExit(self, (exit) =>
        Effect.sync(() =>
          books.stopped.push(`${name}: ${exit}`)
        ))
    for (let i = 0; i < 4; i++) {
      yield* Effect.forkScoped(watch(Effect.forever(handle)))
    }
    const reclaim = { every: Schedule.spaced("100 millis") }
    const deliveries = StreamConsumer.stream(group, { consumer: name, batchSize: 16, reclaim, reconnect })
    yield* Stream.runForEachChunk(deliveries, (chunk) => Queue.offerAll(queue, chunk)).pipe(
      Effect.provide(redis),
      watch,
      Effect.forkScoped
    )
  })
