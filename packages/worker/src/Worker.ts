/**
 * Read, begin, handle, commit, and only then ack.
 *
 * For each delivery, from the outside in: the delivery's bracket, which acks when its inside succeeds; a transaction,
 * which commits when its inside succeeds; the inbox, which runs its inside unless the message was processed before; the
 * handler. So the ack follows COMMIT by construction, and what the handler writes is applied exactly once.
 *
 * @since 0.1.0
 */
import type { SqlError } from "@effect/sql/SqlError"
import type { MysqlError } from "@safesync/mysql/MysqlError"
import type { TransactionError } from "@safesync/mysql/TransactionError"
import type * as Delivery from "@safesync/redis-streams/Delivery"
import type * as Arr from "effect/Array"
import type * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import type * as Stream from "effect/Stream"
import * as batching from "./internal/batching.js"
import * as handling from "./internal/handling.js"
import * as intake from "./internal/intake.js"
import * as lifecycle from "./internal/lifecycle.js"
import * as required from "./internal/options.js"
import { State } from "./internal/state.js"
import type { Environment } from "./internal/transacted.js"
import type { LeaseExpired } from "./LeaseExpired.js"
import type { BatchOptions, Options } from "./WorkerOptions.js"
import type { Status } from "./WorkerStatus.js"

/**
 * A worker that runs for as long as the scope that made it is open.
 *
 * @since 0.1.0
 * @category models
 */
export interface Worker<out E> {
  /** What it is doing just now, for probes: alive while not `stopped`, ready while `running`. */
  readonly status: Effect.Effect<Status>
  /**
   * Its end: success when the source has ended and is worked off, or its scope has closed; the source's error; or, after
   * `Disposition.stop`, the cause of the handler's failure. By then it has drained.
   */
  readonly await: Effect.Effect<void, E>
}

/**
 * What a handler's failure can be, as `onFailure` sees it: its own errors, the database's, those of the transaction around
 * it, and the end of its lease. An `onFailure` that is written inline needs no types. For one that stands apart, `E` is the
 * handler's whole error: `Cause.Cause<Worker.Failure<Effect.Effect.Error<ReturnType<typeof handler>>>>`.
 *
 * @since 0.1.0
 * @category models
 */
export type Failure<E> = Exclude<E, SqlError> | MysqlError | TransactionError | LeaseExpired

/**
 * Handles every delivery of the source, `concurrency` at a time, until the source ends or fails.
 *
 * Interruption drains: reading stops and what was fetched but not begun is handed back; what runs is finished within
 * `drainTimeout`, committed and acked; what is left then is interrupted, rolled back and handed back. The same happens
 * before the worker fails, with the source's error or, after `Disposition.stop`, with the handler's.
 *
 * A handler that failed is settled as `onFailure` says. When that is not possible, or an ack fails after COMMIT, the
 * entry stays pending and is delivered again; the inbox recognises it. So neither ends the worker: it is logged, and counted as
 * `left`.
 *
 * It fails with what the source fails with, for instance when Redis goes away and the streams have no `reconnect`; and with a
 * `Failure` only after `Disposition.stop`. An option that can never work, such as a `concurrency` of 0, is a defect.
 *
 * A message has one of the `concurrency` slots until its transaction has ended. Its ack may still be under way when the slot's next
 * one begins.
 *
 * @example
 * import * as SqlClient from "@effect/sql/SqlClient"
 * import * as ConsumerGroup from "@safesync/redis-streams/ConsumerGroup"
 * import * as StreamConsumer from "@safesync/redis-streams/StreamConsumer"
 * import * as Disposition from "@safesync/worker/Disposition"
 * import * as Worker from "@safesync/worker/Worker"
 * import * as Effect from "effect/Effect"
 * import * as Schedule from "effect/Schedule"
 * import * as Schema from "effect/Schema"
 *
 * const Payment = Schema.Struct({ account: Schema.Int, pence: Schema.Int })
 *
 * const program = Effect.gen(function*() {
 *   const group = yield* ConsumerGroup.make({
 *     stream: "payments", group: "billing", schema: Payment, startId: "0", minIdle: "1 minute"
 *   })
 *   yield* ConsumerGroup.create(group)
 *   const sql = yield* SqlClient.SqlClient
 *   yield* Worker.run(
 *     StreamConsumer.stream(group, { consumer: "a", reclaim: { every: Schedule.spaced("10 seconds") } }),
 *     ({ account, pence }) => sql`UPDATE account SET pence = pence + ${pence} WHERE id = ${account}`,
 *     { concurrency: 8, inbox: "message-id", onFailure: () => Disposition.retry(Schedule.recurs(5)) }
 *   )
 * })
 *
 * @since 0.1.0
 * @category runners
 */
export const run = <A, E1, R1, B, E, R>(
  source: Stream.Stream<Delivery.Delivery<A>, E1, R1>,
  handler: (value: A, delivery: Delivery.Delivery<A>) => Effect.Effect<B, E, R>,
  options: Options<A, E>
): Effect.Effect<void, E1 | Failure<E>, Exclude<R1, Scope.Scope> | Environment<R>> =>
  Effect.scoped(Effect.flatMap(make(source, handler, options), (worker) => worker.await)) as Effect.Effect<
    void,
    E1 | Failure<E>,
    Exclude<R1, Scope.Scope> | Environment<R>
  >

/**
 * `run` in the background: it works for as long as the scope is open, and closing the scope drains it.
 *
 * @example
 * import * as Disposition from "@safesync/worker/Disposition"
 * import * as Worker from "@safesync/worker/Worker"
 * import type { Delivery } from "@safesync/redis-streams/Delivery"
 * import * as Effect from "effect/Effect"
 * import * as Schedule from "effect/Schedule"
 * import type { Stream } from "effect/Stream"
 *
 * declare const deliveries: Stream<Delivery<number>>
 *
 * const program = Effect.scoped(Effect.gen(function*() {
 *   const worker = yield* Worker.make(deliveries, (n) => Effect.log(n), {
 *     concurrency: 8,
 *     inbox: "message-id",
 *     onFailure: () => Disposition.deadLetter
 *   })
 *   yield* worker.status.pipe(
 *     Effect.tap(({ inFlight, waiting }) => Effect.log({ inFlight, waiting })),
 *     Effect.repeat(Schedule.spaced("10 seconds")),
 *     Effect.raceFirst(worker.await)
 *   )
 * }))
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = <A, E1, R1, B, E, R>(
  source: Stream.Stream<Delivery.Delivery<A>, E1, R1>,
  handler: (value: A, delivery: Delivery.Delivery<A>) => Effect.Effect<B, E, R>,
  options: Options<A, E>
): Effect.Effect<Worker<E1 | Failure<E>>, never, R1 | Environment<R> | Scope.Scope> =>
  Effect.gen(function*() {
    yield* required.words(options)
    const concurrency = yield* required.count("Worker", "concurrency", options.concurrency)
    const maxWaiting = yield* required.count("Worker", "maxWaiting", options.maxWaiting ?? 1_000)
    const maxDeaths = yield* required.count("Worker", "maxDeaths", options.maxDeaths ?? 3)
    const state = yield* State.make(options.name ?? "worker")
    const stopped = yield* Deferred.make<void, Failure<E>>()
    const taken = new intake.Intake<A>({ concurrency, key: options.key, maxWaiting })
    return yield* lifecycle.start(source, {
      name: options.name ?? "worker",
      // Twice as many as slots: while one waits for its ack another one handles the next message.
      loops: 2 * concurrency,
      drainTimeout: options.drainTimeout,
      state,
      stopped,
      read: (deliveries) => taken.add(deliveries),
      take: taken.slots.take,
      handle: handling.make(handler, options, state, taken, (cause) => Deferred.failCause(stopped, cause), maxDeaths),
      aside: options.key === undefined ? Effect.void : taken.keepLeases,
      end: taken.end,
      stop: taken.stop,
      release: taken.release,
      gone: taken.slots.gone,
      waiting: () => taken.waiting,
      demand: () => taken.demand,
      unbegun: () => taken.unbegun
    })
  })

/**
 * `make` as a layer, under a tag of the caller's. Build it into the program, `await` the worker where the program waits for
 * its end, and ask `status` where a probe does.
 *
 * @example
 * import * as Disposition from "@safesync/worker/Disposition"
 * import * as Worker from "@safesync/worker/Worker"
 * import type { Delivery } from "@safesync/redis-streams/Delivery"
 * import * as Context from "effect/Context"
 * import * as Effect from "effect/Effect"
 * import type { Stream } from "effect/Stream"
 *
 * declare const deliveries: Stream<Delivery<number>>
 *
 * class Billing extends Context.Tag("Billing")<Billing, Worker.Worker<unknown>>() {}
 *
 * const BillingLive = Worker.layer(Billing, deliveries, (n) => Effect.log(n), {
 *   concurrency: 8,
 *   inbox: "message-id",
 *   onFailure: () => Disposition.deadLetter
 * })
 *
 * const alive = Effect.flatMap(Billing, (worker) => Effect.map(worker.status, ({ state }) => state !== "stopped"))
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = <Id, E2, A, E1, R1, B, E, R>(
  tag: Context.Tag<Id, Worker<E2>>,
  source: Stream.Stream<Delivery.Delivery<A>, E1, R1>,
  handler: (value: A, delivery: Delivery.Delivery<A>) => Effect.Effect<B, E, R>,
  options: Options<A, E> & KnownTo<E2, E1, E>
): Layer.Layer<Id, never, Exclude<R1 | Environment<R>, Scope.Scope>> =>
  Layer.scoped(tag, make(source, handler, options) as Effect.Effect<any, never, any>)

/**
 * Like `run`, with up to `size` messages in one transaction and one ack: the form for throughput. A batch is handled when
 * it is full or `within` is over. With the inbox, the handler sees one of those with the same id.
 *
 * A batch that fails is rolled back and handled again in halves, each in a transaction of its own, until the message that
 * fails does so alone and goes to `onFailure`. A failure of no message in particular (no connection, a server that is read-only, a
 * COMMIT whose outcome is unknown) is not looked for in halves: `onFailure` decides on all of them.
 *
 * It knows no `key`: with `concurrency: 1`, the default, the order is that of the stream.
 *
 * @example
 * import * as SqlClient from "@effect/sql/SqlClient"
 * import * as Disposition from "@safesync/worker/Disposition"
 * import * as Worker from "@safesync/worker/Worker"
 * import type { Delivery } from "@safesync/redis-streams/Delivery"
 * import * as Effect from "effect/Effect"
 * import type { Stream } from "effect/Stream"
 *
 * declare const measurements: Stream<Delivery<{ readonly sensor: number; readonly value: number }>>
 *
 * const program = Worker.runBatch(
 *   measurements,
 *   (batch) =>
 *     Effect.flatMap(SqlClient.SqlClient, (sql) => sql`INSERT INTO measurement ${sql.insert(batch.map(({ value }) => value))}`),
 *   { size: 500, within: "100 millis", inbox: "message-id", onFailure: () => Disposition.deadLetter }
 * )
 *
 * @since 0.1.0
 * @category runners
 */
export const runBatch = <A, E1, R1, B, E, R>(
  source: Stream.Stream<Delivery.Delivery<A>, E1, R1>,
  handler: (deliveries: Arr.NonEmptyReadonlyArray<Delivery.Delivery<A>>) => Effect.Effect<B, E, R>,
  options: BatchOptions<A, E>
): Effect.Effect<void, E1 | Failure<E>, Exclude<R1, Scope.Scope> | Environment<R>> =>
  Effect.scoped(Effect.flatMap(makeBatch(source, handler, options), (worker) => worker.await)) as Effect.Effect<
    void,
    E1 | Failure<E>,
    Exclude<R1, Scope.Scope> | Environment<R>
  >

/**
 * `runBatch` in the background, as `make` is to `run`: its failures are those of `await`.
 *
 * @since 0.1.0
 * @category constructors
 */
export const makeBatch: <A, E1, R1, B, E, R>(
  source: Stream.Stream<Delivery.Delivery<A>, E1, R1>,
  handler: (deliveries: Arr.NonEmptyReadonlyArray<Delivery.Delivery<A>>) => Effect.Effect<B, E, R>,
  options: BatchOptions<A, E>
) => Effect.Effect<Worker<E1 | Failure<E>>, never, R1 | Environment<R> | Scope.Scope> = batching.make

/**
 * `makeBatch` as a layer, as `layer` is to `make`.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerBatch = <Id, E2, A, E1, R1, B, E, R>(
  tag: Context.Tag<Id, Worker<E2>>,
  source: Stream.Stream<Delivery.Delivery<A>, E1, R1>,
  handler: (deliveries: Arr.NonEmptyReadonlyArray<Delivery.Delivery<A>>) => Effect.Effect<B, E, R>,
  options: BatchOptions<A, E> & KnownTo<E2, E1, E>
): Layer.Layer<Id, never, Exclude<R1 | Environment<R>, Scope.Scope>> =>
  Layer.scoped(tag, makeBatch(source, handler, options) as Effect.Effect<any, never, any>)

// internal

/** A sentence where the error of a layer's tag leaves out what its worker can fail with. */
type KnownTo<Known, Source, E> = [Source] extends [Known] ? [Failure<E>] extends [Known] ? unknown
  : "The tag's error leaves out one that the handler can fail with"
  : "The tag's error leaves out one that the source can fail with"
