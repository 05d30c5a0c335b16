import * as ConsumerGroup from "@safesync/redis-streams/ConsumerGroup"
import * as Delivery from "@safesync/redis-streams/Delivery"
import * as Reclaim from "@safesync/redis-streams/Reclaim"
import type { Redis } from "@safesync/redis-streams/Redis"
import type { InvalidOptions, RedisError } from "@safesync/redis-streams/RedisError"
import * as StreamConsumer from "@safesync/redis-streams/StreamConsumer"
import * as StreamProducer from "@safesync/redis-streams/StreamProducer"
import * as Effect from "effect/Effect"
import type * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import type { Scope } from "effect/Scope"
import type * as Stream from "effect/Stream"
import { describe, expect, test } from "tstyche"

/** Helpers of which it is enough that they compile. */
declare const compiles: (...helpers: ReadonlyArray<unknown>) => void
declare const group: ConsumerGroup.ConsumerGroup<number>
declare const producer: StreamProducer.StreamProducer<number>
declare const texts: ConsumerGroup.ConsumerGroup<string>
declare const anything: StreamProducer.StreamProducer<unknown>
declare const either: StreamProducer.StreamProducer<number | string>
declare const delivery: Delivery.Delivery<number>
declare const handle: (value: number) => Effect.Effect<string, "refused", "Database">

const settings = { stream: "s", group: "g", schema: Schema.Int, startId: "0", minIdle: "1 minute" } as const
const every = Schedule.spaced("1 minute")

describe("L15: the consumer is a Stream<Delivery<A>>", () => {
  test("its elements are deliveries, and it needs Redis", () => {
    const _stream = StreamConsumer.stream(group, { consumer: "a" })
    expect(_stream).type.toBe<Stream.Stream<Delivery.Delivery<number>, RedisError | InvalidOptions, Redis>>()
  })

  test("a delivery has no ack of its own: the bracket that takes it acks", () => {
    expect(delivery).type.not.toHaveProperty("ack")
    const _used = Delivery.use(delivery, handle)
    expect(_used).type.toBe<Effect.Effect<string, "refused" | RedisError, "Database">>()
    expect(Delivery.scoped(delivery)).type.toBe<Effect.Effect<number, never, Scope>>()
  })

  test("next needs a scope, which hands back what was not begun", () => {
    const _next = StreamConsumer.next(group, { consumer: "a" })
    expect(_next).type.toBe<
      Effect.Effect<Option.Option<Delivery.Delivery<number>>, RedisError | InvalidOptions, Redis | Scope>
    >()
  })

  test("a consumer has a name", () => {
    expect(StreamConsumer.stream).type.not.toBeCallableWith(group, {})
    expect(StreamConsumer.next).type.not.toBeCallableWith(group, { block: "1 second" })
    expect(Reclaim.stream).type.not.toBeCallableWith(group, { every })
  })
})

describe("L17: what becomes of an undecodable entry is one of two words", () => {
  test("dropping it is none of them", () => {
    expect(StreamConsumer.stream).type.toBeCallableWith(group, { consumer: "a", malformed: "fail" })
    expect(StreamConsumer.stream).type.not.toBeCallableWith(group, { consumer: "a", malformed: "drop" })
  })
})

describe("L18: the lease and what counts as stale are one number, the group's", () => {
  test("a group names it", () => {
    const { minIdle: _, ...rest } = settings
    expect(ConsumerGroup.make).type.toBeCallableWith(settings)
    expect(ConsumerGroup.make).type.not.toBeCallableWith(rest)
  })

  test("nobody takes over what is younger than the lease, unless one call says so", () => {
    const options = { consumer: "a", count: 1 }
    expect(Reclaim.once).type.toBeCallableWith(group, options)
    expect(Reclaim.once).type.toBeCallableWith(group, { ...options, minIdle: "1 second" })
    expect(Reclaim.stream).type.not.toBeCallableWith(group, { consumer: "a", every, minIdle: "1 second" })
    expect(StreamConsumer.stream).type.not.toBeCallableWith(group, { consumer: "a", lease: "1 second" })
  })

  test("looking for stale entries has no default rhythm", () => {
    expect(Reclaim.stream).type.not.toBeCallableWith(group, { consumer: "a" })
  })
})

describe("L21: what happens when Redis goes away is the caller's word", () => {
  test("connecting again takes a schedule, whose input is the error", () => {
    expect(StreamConsumer.stream).type.toBeCallableWith(group, { consumer: "a", reconnect: every })
    expect(StreamConsumer.stream).type.not.toBeCallableWith(group, { consumer: "a", reconnect: true })
  })

  test("a lost group is created again from a place that is named, or not at all", () => {
    expect(ConsumerGroup.make).type.toBeCallableWith({ ...settings, whenLost: { recreateFrom: "0" } })
    expect(ConsumerGroup.make).type.not.toBeCallableWith({ ...settings, whenLost: "recreate" })
  })

  test("where a group begins has no default", () => {
    const { startId: _, ...rest } = settings
    expect(ConsumerGroup.make).type.not.toBeCallableWith(rest)
  })
})

describe("a send that may be repeated", () => {
  test("says for how long it is remembered", () => {
    expect(StreamProducer.sendOnce).type.toBeCallableWith(producer, 1, { key: "k", remember: "1 hour" })
    expect(StreamProducer.sendOnce).type.not.toBeCallableWith(producer, 1, { key: "k" })
  })

  test("no header is called data", () => {
    expect(StreamProducer.send).type.toBeCallableWith(producer, 1, { headers: { key: "k" } })
    expect(StreamProducer.send).type.not.toBeCallableWith(producer, 1, { headers: { data: "k" } })
  })

  test("a value of another type does not compile", () => {
    expect(StreamProducer.send).type.not.toBeCallableWith(producer, "1")
  })
})

describe("values that are literals", () => {
  interface OrderPlaced {
    readonly _tag: "OrderPlaced"
    readonly order: string
  }
  const value = { _tag: "OrderPlaced", order: "x" } as const
  const orders = {} as StreamProducer.StreamProducer<OrderPlaced>

  test("the producer says what they are", () => {
    expect(StreamProducer.send).type.toBeCallableWith(orders, { _tag: "OrderPlaced", order: "x" })
    expect(StreamProducer.sendAll).type.toBeCallableWith(orders, [{ _tag: "OrderPlaced", order: "x" }])
    expect(StreamProducer.sendOnce).type.toBeCallableWith(
      orders,
      { _tag: "OrderPlaced", order: "x" },
      { key: "k", remember: 1 }
    )
    expect(StreamProducer.sendIdempotent).type.toBeCallableWith(
      orders,
      { _tag: "OrderPlaced", order: "x" },
      { producerId: "p", idempotentId: "i" }
    )
    expect(StreamProducer.send(orders, value)).type.toBe<ReturnType<typeof StreamProducer.send>>()
  })

  test("and refuses what they are not", () => {
    expect(StreamProducer.send).type.not.toBeCallableWith(orders, { _tag: "OrderLost", order: "x" })
    expect(StreamProducer.sendAll).type.not.toBeCallableWith(orders, [{ _tag: "OrderLost", order: "x" }])
    expect(StreamProducer.sendAll).type.not.toBeCallableWith(producer, ["1"])
  })
})

describe("groups and producers of several types", () => {
  test("a function over groups of whatever type needs no type parameter", () => {
    const infos = (groups: ReadonlyArray<ConsumerGroup.ConsumerGroup<unknown>>) =>
      Effect.forEach(groups, ConsumerGroup.info)
    expect(infos).type.toBeCallableWith([group, texts])
    expect(StreamConsumer.stream(group, { consumer: "a" })).type.toBeAssignableTo<
      Stream.Stream<Delivery.Delivery<number | string>, RedisError | InvalidOptions, Redis>
    >()
    expect(group).type.toBeAssignableTo<ConsumerGroup.ConsumerGroup<number | string>>()
  })

  test("a group of a wide type is none of a narrow one", () => {
    expect<ConsumerGroup.ConsumerGroup<number | string>>().type.not.toBeAssignableTo<
      ConsumerGroup.ConsumerGroup<number>
    >()
  })

  test("who may send a type may send a narrower one, and no wider one", () => {
    expect(either).type.toBeAssignableTo<StreamProducer.StreamProducer<number>>()
    expect(anything).type.toBeAssignableTo<StreamProducer.StreamProducer<number>>()
    expect(producer).type.not.toBeAssignableTo<StreamProducer.StreamProducer<number | string>>()
  })

  test("a helper over values of any type sends and reads them", () => {
    const sends = <A, I>(schema: Schema.Schema<A, I>, value: A) =>
      Effect.flatMap(StreamProducer.make({ stream: "s", schema }), (producer) =>
        Effect.zip(
          StreamProducer.send(producer, value),
          Effect.zip(
            StreamProducer.sendAll(producer, [value]),
            StreamProducer.sendOnce(producer, value, { key: "k", remember: 1 })
          )
        ))
    const reads = <A, I, E, R>(schema: Schema.Schema<A, I>, handle: (value: A) => Effect.Effect<void, E, R>) =>
      Effect.flatMap(
        ConsumerGroup.make({ ...settings, schema }),
        (group) =>
          StreamConsumer.stream(group, { consumer: "a", reclaim: { every } }).pipe(
            StreamConsumer.runForEach(Delivery.use(handle), { concurrency: 2 })
          )
      )
    compiles(sends, reads)
  })
})
