/** What the tests of this package share: a real server, and a fresh stream with its group for each test. */
import { assert } from "@effect/vitest"
import * as ConsumerGroup from "@safesync/redis-streams/ConsumerGroup"
import * as Delivery from "@safesync/redis-streams/Delivery"
import * as Redis from "@safesync/redis-streams/Redis"
import * as StreamConsumer from "@safesync/redis-streams/StreamConsumer"
import * as StreamProducer from "@safesync/redis-streams/StreamProducer"
import { until } from "@safesync/testkit/Eventually"
import * as RedisServer from "@safesync/testkit/RedisServer"
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as crypto from "node:crypto"
import { type Capability, Without } from "../src/internal/capabilities.js"

export const RedisFromServer = Layer.unwrapEffect(
  Effect.map(RedisServer.RedisServer, ({ url }) => Redis.layer({ url }))
)

/** With what older servers do not have switched off, so that the ways for them run on any server. */
export const RedisWithout = (...without: ReadonlyArray<Capability>) =>
  Layer.provide(RedisFromServer, Layer.succeed(Without, new Set(without))).pipe(
    Layer.provideMerge(RedisServer.layer)
  )

/** Another connection than the layer's. */
export const connect = (options: Redis.Options) =>
  Effect.map(Layer.build(Redis.layer(options)), Context.get(Redis.Redis))

export const RedisLive = Layer.provideMerge(RedisFromServer, RedisServer.layer)

export class Order extends Schema.Class<Order>("Order")({
  number: Schema.Int,
  paid: Schema.DateFromString.pipe(Schema.optional)
}) {}

export const order = (number: number) => new Order({ number })

export const orders = (count: number) => Array.from({ length: count }, (_, i) => order(i + 1))

/** A stream and a group of its own, created on the server, deleted at the end. */
export const freshStream = <A, I>(
  schema: Schema.Schema<A, I>,
  settings: {
    readonly minIdle?: Duration.DurationInput
    readonly startId?: string
    readonly whenLost?: ConsumerGroup.WhenLost
  } = {}
) =>
  Effect.gen(function*() {
    const stream = `test:${crypto.randomUUID()}`
    const group = yield* ConsumerGroup.make({
      stream,
      group: "billing",
      schema,
      startId: settings.startId ?? "0",
      minIdle: settings.minIdle ?? "1 minute",
      whenLost: settings.whenLost
    })
    const producer = yield* StreamProducer.make({ stream, schema })
    yield* ConsumerGroup.create(group)
    const redis = yield* Redis.Redis
    // Runs last: every stream of the test is closed by then.
    yield* Effect.addFinalizer(() =>
      Effect.orDie(Effect.zipRight(redis.command("DEL", stream, group.deadLetterStream), expectNoReader(group)))
    )
    return { group, producer, redis, stream }
  })

/** The same, of orders. */
export const freshGroup = (settings?: Parameters<typeof freshStream>[1]) =>
  Effect.map(freshStream(Order, settings), (fresh) => ({
    ...fresh,
    send: (count: number) => StreamProducer.sendAll(fresh.producer, orders(count))
  }))

/** What is pending at the server, by entry: owner, delivery count. */
export const pendingOf = (group: { readonly stream: string; readonly group: string }) =>
  Effect.flatMap(Redis.Redis, (redis) =>
    Effect.map(
      redis.command("XPENDING", group.stream, group.group, "-", "+", "100000"),
      (reply) =>
        (reply as Array<[string, string, number, number]>).map(([id, consumer, idle, attempts]) => ({
          id,
          consumer,
          idle,
          attempts
        }))
    ))

/** Makes these entries look as if nothing had happened to them for so many milliseconds; the consumer has them then. */
export const age = (
  group: { readonly stream: string; readonly group: string },
  ids: ReadonlyArray<string>,
  millis: number,
  consumer = "a"
) =>
  Effect.flatMap(
    Redis.Redis,
    (redis) =>
      redis.command("XCLAIM", group.stream, group.group, consumer, "0", ...ids, "IDLE", String(millis), "JUSTID")
  )

/** The connections that are reserved for reads of this stream, as CLIENT LIST shows them. */
export const readersOf = (group: { readonly stream: string }) =>
  Effect.flatMap(
    Redis.Redis,
    (redis) =>
      Effect.map(redis.command("CLIENT", "LIST"), (reply) =>
        String(reply).split("\n")
          .map((line) => Object.fromEntries(line.trim().split(" ").map((field) => field.split("=", 2))))
          .filter((client) => client.name?.startsWith(`safesync:${group.stream}:`))
          .map((client) => ({ id: client.id as string, blocked: (client.flags as string).includes("b") })))
  )

export { until }

export const untilBlocked = (group: { readonly stream: string }) =>
  until(readersOf(group), (readers) => readers.some((reader) => reader.blocked))

/** Nothing may be pending. That no reserved connection is left open is asked at the end of every test. */
export const expectNothingLeft = (group: { readonly stream: string; readonly group: string }) =>
  Effect.map(pendingOf(group), (pending) => assert.deepStrictEqual(pending, []))

/** Closing a connection is noticed by the server a moment later. */
export const expectNoReader = (group: { readonly stream: string }) =>
  until(readersOf(group), (readers) => readers.length === 0).pipe(
    // A finalizer could not give up waiting otherwise, and the test would end without a reason.
    Effect.interruptible,
    Effect.timeoutFail({ duration: "5 seconds", onTimeout: () => new Error("a reserved connection is still open") })
  )

/** So many deliveries, fetched by a consumer whose stream stays open until the scope closes. */
export const deliveries = <A>(group: ConsumerGroup.ConsumerGroup<A>, count: number, consumer = "a") =>
  Effect.gen(function*() {
    const pull = yield* Stream.toPull(StreamConsumer.stream(group, { consumer, batchSize: count }))
    const seen: Array<Delivery.Delivery<A>> = []
    while (seen.length < count) {
      seen.push(...(yield* Effect.mapError(pull, Option.getOrThrow)))
    }
    return seen
  })

/** Uses a delivery, and answers with what it holds. */
export const numberOf = (delivery: Delivery.Delivery<Order>) =>
  Delivery.use(delivery, ({ number }) => Effect.succeed(number))
