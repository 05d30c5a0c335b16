/**
 * Read, begin, handle, commit, and only then ack.
 *
 * For each delivery, from the outside in: the delivery's bracket, which acks when its inside succeeds; a transaction,
 * which commits when its inside succeeds; the inbox, which runs its inside unless the message was processed before; the
 * handler. So the ack follows COMMIT by construction, and what the handler writes is applied exactly once.
 *
 * @since 0.1.0
 */
import type { MysqlClient } from "@effect/sql-mysql2/MysqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import * as Inbox from "@safesync/mysql/Inbox"
import type { MysqlError, TransactionAborted } from "@safesync/mysql/MysqlError"
import * as Occ from "@safesync/mysql/Occ"
import * as Transaction from "@safesync/mysql/Transaction"
import type { TransactionError } from "@safesync/mysql/TransactionError"
import * as Delivery from "@safesync/redis-streams/Delivery"
import type { InvalidOptions, RedisError } from "@safesync/redis-streams/RedisError"
import * as Cause from "effect/Cause"
import * as Data from "effect/Data"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Mailbox from "effect/Mailbox"
import type * as Schedule from "effect/Schedule"
import type { Scope } from "effect/Scope"
import * as Stream from "effect/Stream"
import type { Disposition } from "./Disposition.js"
import * as retryDelay from "./internal/retryDelay.js"
import * as Settled from "./internal/settled.js"

/**
 * What a handler's failure can be, as `onFailure` sees it.
 *
 * @since 0.1.0
 * @category models
 */
export type Failure<E> = Exclude<E, SqlError> | MysqlError | TransactionError

/**
 * @since 0.1.0
 * @category models
 */
export interface Options<A, E> {
  /** How many messages are handled at a time by this worker. */
  readonly concurrency: number
  /**
   * What the inbox remembers a message by, for each stream and group: `"message-id"`, the delivery's own, which a replay
   * from the dead letters keeps; or an id of the caller's, which also recognises an entry that the producer sent twice.
   * `"off"`: the handler sees redelivered messages again.
   */
  readonly inbox: "off" | "message-id" | ((value: A, delivery: Delivery.Delivery<A>) => string)
  /** What becomes of a message whose handler or transaction failed or died. */
  readonly onFailure: (cause: Cause.Cause<Failure<E>>, delivery: Delivery.Delivery<A>) => Disposition
  /**
   * Options of each transaction. `retry`: run it again, from its start and in a new transaction, after a
   * `VersionConflict`, `Deadlock` or `LockWaitTimeout`; without it these go to `onFailure` like any other failure.
   */
  readonly transaction?:
    | (Transaction.Options & {
      readonly retry?: Schedule.Schedule<unknown, Occ.Retryable> | undefined
    })
    | undefined
  /** How long the handlers that run may go on once the worker is interrupted. Default: 20 seconds. */
  readonly drainTimeout?: Duration.DurationInput | undefined
}

/**
 * Handles every delivery of the source, `concurrency` at a time, until the source ends or fails.
 *
 * Interruption drains: reading stops and what was fetched but not begun is handed back; what runs is finished within
 * `drainTimeout`, committed and acked; then it is interrupted, rolled back and stays pending. The same happens before
 * the worker fails, with the source's error or, after `Disposition.stop`, with the handler's.
 *
 * A handler that failed is settled as `onFailure` says. When that is not possible, or an ack fails after COMMIT, the
 * entry stays pending and is delivered again; the inbox recognises it.
 *
 * @since 0.1.0
 * @category runners
 */
export const run = <A, E1, R1, B, E, R>(
  source: Stream.Stream<Delivery.Delivery<A>, E1, R1>,
  handler: (value: A, delivery: Delivery.Delivery<A>) => Effect.Effect<B, E, R>,
  options: Options<A, E>
): Effect.Effect<
  void,
  E1 | Failure<E>,
  R1 | Environment<R>
> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.gen(function*() {
      if (!Number.isInteger(options.concurrency) || options.concurrency < 1) {
        return yield* Effect.dieMessage(
          `Worker.run: concurrency must be a whole number above 0, not ${options.concurrency}`
        )
      }
      const taken = yield* Mailbox.make<Delivery.Delivery<A>>({ capacity: options.concurrency })
      const stopped = yield* Deferred.make<never, Failure<E>>()
      const one = handleOne(handler, options, (cause) => Deferred.failCause(stopped, cause))
      const loop = Effect.forever(Effect.flatMap(taken.take, one)).pipe(
        Effect.catchTag("NoSuchElementException", () => Effect.void),
        // Nothing else ends a loop but a defect, such as one of `onFailure` itself.
        Effect.catchAllCause((cause) => Deferred.failCause(stopped, cause))
      )
      // Daemons, since they outlive the interruption of this fiber by the time that draining takes.
      const loops = yield* Effect.replicateEffect(Effect.forkDaemon(Effect.interruptible(loop)), options.concurrency)
      const reader = yield* Effect.forkDaemon(Effect.interruptible(
        Stream.runForEachChunk(source, (deliveries) => taken.offerAll(deliveries))
      ))
      const ended = Effect.zipRight(Fiber.join(reader), Effect.zipRight(taken.end, Fiber.awaitAll(loops)))
      const exit = yield* Effect.exit(restore(Effect.raceFirst(ended, Deferred.await(stopped))))
      yield* taken.shutdown
      yield* Fiber.interrupt(reader)
      yield* drain(loops, options.drainTimeout ?? Duration.seconds(20))
      return yield* Effect.asVoid(exit)
    })
  )

// ---------------------------------------------------------------------------------------------------------------------
// internal
// ---------------------------------------------------------------------------------------------------------------------

/** Tells the handler's failure from that of the ack. */
class HandlerFailed<E> extends Data.Error<{ readonly failure: Cause.Cause<E> }> {}

type Environment<R> = Exclude<R, Transaction.Transaction | Scope> | MysqlClient

/** Handles one delivery. Never fails: what went wrong is settled, counted and logged here. */
const handleOne = <A, B, E, R>(
  handler: (value: A, delivery: Delivery.Delivery<A>) => Effect.Effect<B, E, R>,
  { inbox, onFailure, transaction }: Options<A, E>,
  stop: (cause: Cause.Cause<Failure<E>>) => Effect.Effect<unknown>
): (delivery: Delivery.Delivery<A>) => Effect.Effect<void, never, Environment<R>> => {
  const once = (
    value: A,
    delivery: Delivery.Delivery<A>
  ): Effect.Effect<unknown, E | MysqlError | TransactionAborted, R | Transaction.Transaction> =>
    inbox === "off"
      ? handler(value, delivery)
      : Effect.suspend(() => handler(value, delivery)).pipe(
        // Entry ids are unique in their stream alone, and groups of two streams may share a name.
        Inbox.once(
          inbox === "message-id" ? delivery.messageId : inbox(value, delivery),
          `${delivery.stream}/${delivery.group}`
        )
      )

  const inTransaction = (
    value: A,
    delivery: Delivery.Delivery<A>
  ): Effect.Effect<unknown, Failure<E>, Environment<R>> => {
    const attempt = Transaction.run(Effect.suspend(() => once(value, delivery)), transaction) as Effect.Effect<
      unknown,
      Failure<E>,
      Environment<R>
    >
    return transaction?.retry === undefined
      ? attempt
      : Effect.retry(attempt, {
        schedule: transaction.retry as Schedule.Schedule<unknown, unknown>,
        while: Occ.isRetryable
      })
  }

  const settle = (
    delivery: Delivery.Delivery<A>,
    cause: Cause.Cause<Failure<E>>
  ): Effect.Effect<void, RedisError | InvalidOptions> => {
    const disposition = onFailure(cause, delivery)
    switch (disposition._tag) {
      case "Retry":
        return Effect.flatMap(retryDelay.nth(disposition.schedule, delivery.attempt), (delay) =>
          delay._tag === "None"
            ? Settled.as("dead_letter", Delivery.deadLetter(delivery, Cause.pretty(cause)))
            : Settled.as("retry", Delivery.retryAfter(delivery, delay.value)))
      case "DeadLetter":
        return Settled.as("dead_letter", Delivery.deadLetter(delivery, Cause.pretty(cause)))
      case "Discard":
        return Settled.as("discard", Delivery.use(delivery, () => Effect.void))
      case "Stop":
        return Settled.as("stop", stop(cause))
    }
  }

  return (delivery) =>
    Settled.acked(Delivery.use(delivery, (value) =>
      Effect.catchAllCause(
        inTransaction(value, delivery),
        (failure) => Effect.fail(new HandlerFailed({ failure }))
      ))).pipe(
        Effect.catchAll((error): Effect.Effect<void, RedisError | InvalidOptions> =>
          error instanceof HandlerFailed ? settle(delivery, error.failure) : Effect.fail(error)
        ),
        Effect.catchAll((error) => Settled.left(delivery, error))
      )
}

/** Waits in a fiber of its own: this one may have been interrupted, and then every wait of its own would end at once. */
const drain = (
  loops: Iterable<Fiber.RuntimeFiber<unknown, unknown>>,
  within: Duration.DurationInput
): Effect.Effect<void> =>
  Fiber.awaitAll(loops).pipe(
    Effect.timeoutTo({ duration: within, onSuccess: () => true, onTimeout: () => false }),
    Effect.tap((finished) =>
      finished ? Effect.void : Effect.logWarning("Drain timeout: running handlers are interrupted")
    ),
    Effect.ensuring(Fiber.interruptAll(loops)),
    Effect.interruptible,
    Effect.forkDaemon,
    Effect.flatMap(Fiber.join),
    Effect.asVoid
  )
