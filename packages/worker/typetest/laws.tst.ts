import type * as MysqlClient from "@effect/sql-mysql2/MysqlClient"
import type { SqlClient } from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import type { Transaction } from "@safesync/mysql/Transaction"
import * as ConsumerGroup from "@safesync/redis-streams/ConsumerGroup"
import type * as Delivery from "@safesync/redis-streams/Delivery"
import type { Redis } from "@safesync/redis-streams/Redis"
import type { InvalidOptions, RedisError } from "@safesync/redis-streams/RedisError"
import * as StreamConsumer from "@safesync/redis-streams/StreamConsumer"
import * as Disposition from "@safesync/worker/Disposition"
import * as Worker from "@safesync/worker/Worker"
import type * as Cause from "effect/Cause"
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import type { Scope } from "effect/Scope"
import type * as Stream from "effect/Stream"
import { describe, expect, test } from "tstyche"

/** Helpers of which it is enough that they compile. */
declare const compiles: (...helpers: ReadonlyArray<unknown>) => void
declare const source: Stream.Stream<Delivery.Delivery<number>, "gone", "Queue">
declare const handler: (value: number) => Effect.Effect<void, "refused" | SqlError, SqlClient | Transaction | Scope>
declare const batchHandler: () => Effect.Effect<void, "refused", Transaction>

const rest = { concurrency: 1 } as const
const batch = { size: 1, within: 1 } as const
const onFailure = () => Disposition.stop
type Failure = "gone" | Worker.Failure<"refused">

describe("L24: what happens to a failed message is the caller's word", () => {
  test("onFailure has no default", () => {
    expect(Worker.run<number, "gone", "Queue", void, "refused" | SqlError, SqlClient>).type.not.toBeCallableWith(
      source,
      handler,
      {
        ...rest,
        inbox: "off" as const
      }
    )
    expect(Worker.runBatch<number, "gone", "Queue", void, "refused", Transaction>).type.not.toBeCallableWith(
      source,
      batchHandler,
      {
        ...batch,
        inbox: "off" as const
      }
    )
  })

  test("it is told the handler's errors, and those of the transaction around it", () => {
    Worker.run(source, handler, {
      ...rest,
      inbox: "off",
      onFailure: (cause) => {
        expect(cause).type.toBe<Cause.Cause<Worker.Failure<"refused" | SqlError>>>()
        return Disposition.discard
      }
    })
  })
})

describe("L23: whether there is an inbox is said", () => {
  test("it has no default", () => {
    expect(Worker.run<number, "gone", "Queue", void, "refused" | SqlError, SqlClient>).type.not.toBeCallableWith(
      source,
      handler,
      {
        ...rest,
        onFailure
      }
    )
    expect(Worker.runBatch<number, "gone", "Queue", void, "refused", Transaction>).type.not.toBeCallableWith(
      source,
      batchHandler,
      {
        ...batch,
        onFailure
      }
    )
  })
})

describe("what a worker needs and fails with", () => {
  test("the transaction and the scope of a message are its own; the driver's error comes out classified", () => {
    const _run = Worker.run(source, handler, { ...rest, inbox: "message-id", onFailure })
    expect(_run).type.toBe<Effect.Effect<void, Failure, "Queue" | SqlClient | MysqlClient.MysqlClient>>()
    const _batch = Worker.runBatch(source, batchHandler, { ...batch, inbox: "message-id", onFailure })
    expect(_batch).type.toBe<Effect.Effect<void, Failure, "Queue" | MysqlClient.MysqlClient>>()
  })

  test("a layer's tag must know every error, of the source and of the handler, and is told which it leaves out", () => {
    const options = { ...rest, inbox: "message-id", onFailure } as const
    const ofBatch = { ...batch, inbox: "message-id", onFailure } as const
    const all = {} as Context.Tag<"W", Worker.Worker<Failure>>
    const sourcesAlone = {} as Context.Tag<"W", Worker.Worker<"gone">>
    const handlersAlone = {} as Context.Tag<"W", Worker.Worker<Worker.Failure<"refused">>>
    expect(Worker.layer).type.toBeCallableWith(all, source, handler, options)
    expect(Worker.layerBatch).type.toBeCallableWith(all, source, batchHandler, ofBatch)
    expect(Worker.layer(sourcesAlone, source, handler, options)).type.toRaiseError(
      "The tag's error leaves out one that the handler can fail with"
    )
    expect(Worker.layer(handlersAlone, source, handler, options)).type.toRaiseError(
      "The tag's error leaves out one that the source can fail with"
    )
    expect(Worker.layer({} as Context.Tag<"W", Worker.Worker<never>>, source, handler, options)).type.toRaiseError(
      "The tag's error leaves out one that the source can fail with"
    )
    expect(Worker.layerBatch(handlersAlone, source, batchHandler, ofBatch)).type.toRaiseError(
      "The tag's error leaves out one that the source can fail with"
    )
  })
})

describe("L24: what onFailure answers", () => {
  test("is one name", () => {
    expect(Disposition.stop).type.toBe<Disposition.Disposition>()
    expect(Math.random() < 0.5 ? Disposition.stop : Disposition.retry(Schedule.forever)).type.toBe<
      Disposition.Disposition
    >()
  })

  test("is no effect and no promise, and its error says so", () => {
    const off = { ...rest, inbox: "off" } as const
    expect(Worker.run(source, handler, { ...off, onFailure: () => Effect.succeed(Disposition.stop) })).type
      .toRaiseError("onFailure answers with a Disposition at once: an Effect that it answers with is not run")
    expect(
      Worker.runBatch(source, batchHandler, {
        ...batch,
        inbox: "off",
        onFailure: (cause) => Effect.as(Effect.logError(cause), Disposition.stop)
      })
    ).type.toRaiseError("onFailure answers with a Disposition at once: an Effect that it answers with is not run")
    expect(Worker.make(source, handler, { ...off, onFailure: () => Promise.resolve(Disposition.stop) })).type
      .toRaiseError("onFailure answers with a Disposition at once: a Promise that it answers with is not waited for")
  })
})

describe("a helper over messages, errors and services of any type", () => {
  const off = { inbox: "off", onFailure } as const

  test("runs a worker, makes one, and makes a layer of one", () => {
    const run = <A, I, E, R>(schema: Schema.Schema<A, I>, handler: (value: A) => Effect.Effect<void, E, R>) =>
      Effect.flatMap(
        ConsumerGroup.make({ stream: "s", group: "g", schema, startId: "0", minIdle: "1 minute" }),
        (group) => Worker.run(StreamConsumer.stream(group, { consumer: "a" }), handler, { ...rest, ...off })
      )
    expect(run(Schema.Int, handler)).type.toBe<
      Effect.Effect<
        void,
        Worker.Failure<"refused"> | RedisError | InvalidOptions,
        Redis | SqlClient | MysqlClient.MysqlClient
      >
    >()
    const make = <A, E1, R1, E, R>(
      source: Stream.Stream<Delivery.Delivery<A>, E1, R1>,
      handler: (value: A) => Effect.Effect<void, E, R>
    ) => Effect.flatMap(Worker.make(source, handler, { ...rest, ...off }), (worker) => worker.await)
    const decided = <A, E1, R1, E, R>(
      source: Stream.Stream<Delivery.Delivery<A>, E1, R1>,
      handler: (value: A) => Effect.Effect<void, E, R>,
      onFailure: (cause: Cause.Cause<Worker.Failure<E>>) => Disposition.Disposition
    ) => Worker.run(source, handler, { ...rest, inbox: "message-id", onFailure })
    const batches = <A, E1, R1, E, R>(
      source: Stream.Stream<Delivery.Delivery<A>, E1, R1>,
      handler: (batch: ReadonlyArray<Delivery.Delivery<A>>) => Effect.Effect<void, E, R>
    ) => Worker.runBatch(source, handler, { ...batch, ...off })
    const layer = <Id, A, E1, R1, E, R>(
      tag: Context.Tag<Id, Worker.Worker<E1 | Worker.Failure<E>>>,
      source: Stream.Stream<Delivery.Delivery<A>, E1, R1>,
      handler: (value: A) => Effect.Effect<void, E, R>
    ) => Worker.layer(tag, source, handler, { ...rest, ...off })
    expect(layer({} as Context.Tag<"W", Worker.Worker<Failure>>, source, handler)).type.toBe<
      Layer.Layer<"W", never, "Queue" | SqlClient | MysqlClient.MysqlClient>
    >()
    const layerBatch = <Id, A, E1, E, R>(
      tag: Context.Tag<Id, Worker.Worker<unknown>>,
      source: Stream.Stream<Delivery.Delivery<A>, E1>,
      handler: (batch: ReadonlyArray<Delivery.Delivery<A>>) => Effect.Effect<void, E, R>
    ) => Worker.layerBatch(tag, source, handler, { ...batch, ...off })
    compiles(make, decided, batches, layerBatch)
  })
})
