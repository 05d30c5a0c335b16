/**
 * Locks on names, for what has no row to lock yet or spans several tables: `GET_LOCK` of the server.
 *
 * Inside a transaction (`acquireInTransaction`) the lock is released after COMMIT or ROLLBACK, before the connection is
 * reused: whoever gets it next sees what was committed. A plain `SELECT` that follows may still read a snapshot from
 * before the lock was granted; run such a transaction at READ COMMITTED, or use locking reads.
 *
 * The server's names are at most 64 characters long, ignore case and are one space for all its databases. Ours may be of
 * any length, heed case, and belong to a namespace, by default the connection's database. What the server sees is a
 * readable beginning followed by a hash: `performance_schema.metadata_locks` shows it.
 *
 * The server does not see a deadlock between advisory locks and row locks: take advisory locks in one order, and either
 * before all row locks or after all those that holders of the name may wait for.
 *
 * @since 0.1.0
 */
import * as MysqlClient from "@effect/sql-mysql2/MysqlClient"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as FiberId from "effect/FiberId"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as lockName from "./internal/lockName.js"
import * as lockTimes from "./internal/lockTimes.js"
import * as reservation from "./internal/reservation.js"
import type { Session } from "./internal/session.js"
import * as tracing from "./internal/tracing.js"
import type * as MysqlError from "./MysqlError.js"
import * as MysqlMetrics from "./MysqlMetrics.js"
import { Transaction } from "./Transaction.js"

/**
 * Somebody else held the lock for longer than the caller was willing to wait.
 *
 * @since 0.1.0
 * @category errors
 */
export class AdvisoryLockTimeout
  extends Schema.TaggedError<AdvisoryLockTimeout>("@safesync/mysql/AdvisoryLockTimeout")("AdvisoryLockTimeout", {
    name: Schema.String,
    timeoutMillis: Schema.Number
  })
{
  override get message() {
    return `The advisory lock ${this.name} was not granted within ${this.timeoutMillis} ms`
  }
}

/**
 * 3058: the server refused the wait, since it would close a circle of waits for advisory locks. The transaction stays open.
 *
 * @since 0.1.0
 * @category errors
 */
export class AdvisoryLockDeadlock
  extends Schema.TaggedError<AdvisoryLockDeadlock>("@safesync/mysql/AdvisoryLockDeadlock")("AdvisoryLockDeadlock", {
    name: Schema.String,
    cause: Schema.Defect
  })
{
  override get message() {
    return `Waiting for the advisory lock ${this.name} would be a deadlock. Hint: take locks in one order everywhere`
  }
}

/**
 * The connection that held the lock is gone, and the lock with it: somebody else may hold it by now.
 *
 * @since 0.1.0
 * @category errors
 */
export class AdvisoryLockLost
  extends Schema.TaggedError<AdvisoryLockLost>("@safesync/mysql/AdvisoryLockLost")("AdvisoryLockLost", {
    name: Schema.String,
    connectionId: Schema.Number,
    cause: Schema.Defect
  })
{
  override get message() {
    return `The advisory lock ${this.name} was lost with its connection ${this.connectionId}. ` +
      "Hint: what must not be written without it is guarded by a FencingToken"
  }
}

/**
 * Why a lock could not be had: its wait timed out, would have been a deadlock, or its statement failed.
 *
 * @since 0.1.0
 * @category models
 */
export type AdvisoryLockError =
  | AdvisoryLockTimeout
  | AdvisoryLockDeadlock
  | MysqlError.MysqlError
  | MysqlError.TransactionAborted

/**
 * How an advisory lock is asked for.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /** How long to wait for the lock, in milliseconds; 0 does not wait. */
  readonly timeout: Duration.DurationInput
  /** Applications that share a server keep apart by this. Default: the connection's database. */
  readonly namespace?: string | undefined
}

/**
 * A lock that is held by a connection of its own, outside of any transaction.
 *
 * @since 0.1.0
 * @category models
 */
export interface AdvisoryLock {
  readonly name: string
  /** Never succeeds; fails once the connection that holds the lock is gone. */
  readonly lost: Effect.Effect<never, AdvisoryLockLost>
  /** @internal */
  readonly session: Session
}

/**
 * Takes the lock for as long as the scope is open. It holds a connection of the pool of its own; a transaction that is
 * opened inside the scope begins after the lock is held, and so sees what its last holder committed, at every isolation
 * level. Inside a transaction use `acquireInTransaction`; calling this there is a defect.
 *
 * Race `lost` against work that must not go on without the lock, or use `withLock`, which does.
 *
 * @since 0.1.0
 * @category locks
 */
export const acquire = (
  name: string,
  options: Options & HeartbeatOptions
): Effect.Effect<AdvisoryLock, AdvisoryLockError, MysqlClient.MysqlClient | Scope.Scope> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.flatMap(
      hold(name, options, restore),
      (held) => Effect.as(Effect.addFinalizer(() => Effect.ignore(letGo(held))), held)
    )
  )

/**
 * Runs an effect while the lock is held. If the connection that holds it dies, the effect is interrupted and the result
 * is `AdvisoryLockLost`; it is the result too when the loss is only noticed at the end.
 *
 * @example
 * import * as Effect from "effect/Effect"
 * import * as AdvisoryLock from "@safesync/mysql/AdvisoryLock"
 * import * as Transaction from "@safesync/mysql/Transaction"
 *
 * const nightly = Effect.log("one process at a time").pipe(
 *   Transaction.run(),
 *   AdvisoryLock.withLock("nightly report", { timeout: 0 })
 * )
 *
 * @since 0.1.0
 * @category locks
 */
export const withLock = (name: string, options: Options & HeartbeatOptions) =>
<A, E, R>(
  effect: Effect.Effect<A, E, R>
): Effect.Effect<A, E | AdvisoryLockError | AdvisoryLockLost, R | MysqlClient.MysqlClient> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.flatMap(
      hold(name, options, restore),
      (held) =>
        Effect.flatMap(Effect.exit(restore(Effect.raceFirst(effect, held.lost))), (exit) =>
          exit._tag === "Success"
            ? Effect.as(letGo(held), exit.value)
            : Effect.zipRight(Effect.ignore(letGo(held)), exit))
    )
  )

/**
 * How a lock that has a connection of its own finds out that the connection is gone.
 *
 * @since 0.1.0
 * @category models
 */
export interface HeartbeatOptions {
  /**
   * How often the holding connection is asked for a sign of life, and how long that may take; a connection that the
   * server closes is noticed at once, one that the network swallowed by this. Default: 5 seconds.
   */
  readonly heartbeat?: Duration.DurationInput | undefined
}

/**
 * Takes the lock for the rest of the transaction. Taking a name twice in one transaction is fine.
 *
 * Fails with `AdvisoryLockTimeout` when it was not granted in time, `AdvisoryLockDeadlock` when waiting would be a
 * deadlock among advisory locks, and `StatementInterrupted` when somebody killed the wait on the server.
 *
 * @example
 * import * as Effect from "effect/Effect"
 * import * as AdvisoryLock from "@safesync/mysql/AdvisoryLock"
 * import * as Transaction from "@safesync/mysql/Transaction"
 *
 * const closeInvoice = (invoiceNo: string) =>
 *   AdvisoryLock.acquireInTransaction(`invoice/${invoiceNo}`, { timeout: "2 seconds" }).pipe(
 *     Effect.zipRight(Effect.log("nobody else computes this invoice's totals now")),
 *     Transaction.run({ isolation: "read-committed" })
 *   )
 *
 * @since 0.1.0
 * @category locks
 */
export const acquireInTransaction = (
  name: string,
  options: Options
): Effect.Effect<void, AdvisoryLockError, Transaction> =>
  Effect.flatMap(Transaction, (transaction) => {
    const { session } = transaction
    const encoded = lockName.encode(options.namespace ?? session.database, name)
    // Registered before the lock is asked for, since an interrupted wait may have been granted on the server.
    // Releasing a lock that one does not hold does nothing; one that is held n times is released n times.
    transaction.atEnd.push(`DO RELEASE_LOCK('${encoded}')`)
    return lockTimes.waiting(
      getLock(session, encoded, name, Duration.toMillis(options.timeout)),
      "advisory",
      () => transaction.onEnd.push(lockTimes.held("advisory")) > 0
    )
  })

// ---------------------------------------------------------------------------------------------------------------------
// internal
// ---------------------------------------------------------------------------------------------------------------------

interface Held extends AdvisoryLock {
  readonly encoded: string
  readonly reservation: Scope.CloseableScope
  readonly heart: Fiber.RuntimeFiber<unknown>
  /** To be called when it is held no more. */
  readonly over: () => void
}

const releaseMillis = 5_000

const hold = (
  name: string,
  options: Options & HeartbeatOptions,
  restore: reservation.Restore
): Effect.Effect<Held, AdvisoryLockError, MysqlClient.MysqlClient> =>
  Effect.contextWithEffect((context: Context.Context<MysqlClient.MysqlClient>) =>
    context.unsafeMap.has(Transaction.key)
      ? Effect.dieMessage(
        "AdvisoryLock.acquire was called inside a transaction, whose snapshot is older than the lock. " +
          "Use AdvisoryLock.acquireInTransaction, or take the lock before the transaction."
      )
      : Effect.flatMap(
        reservation.make(Context.get(context, MysqlClient.MysqlClient), restore),
        ({ scope, session }) => {
          const encoded = lockName.encode(options.namespace ?? session.database, name)
          const { connectionId } = session
          const lost = Deferred.unsafeMake<never, AdvisoryLockLost>(FiberId.none)
          session.onLost = (cause) => {
            Deferred.unsafeDone(lost, Effect.fail(new AdvisoryLockLost({ name, connectionId, cause })))
          }
          session.phase = { _tag: "Open", transaction: false }
          let over = () => {}
          return Effect.matchCauseEffect(
            lockTimes.waiting(
              restore(getLock(session, encoded, name, Duration.toMillis(options.timeout))),
              "advisory",
              () => {
                over = lockTimes.held("advisory")
                return true
              }
            ),
            {
              // An interrupted wait may have been granted on the server.
              onFailure: (cause) => Effect.zipRight(giveBack(session, encoded, scope), Effect.failCause(cause)),
              onSuccess: () =>
                Effect.map(
                  Effect.forkDaemon(Effect.interruptible(heartbeat(session, options.heartbeat ?? Duration.seconds(5)))),
                  (heart): Held => ({
                    name,
                    lost: Deferred.await(lost),
                    session,
                    encoded,
                    reservation: scope,
                    heart,
                    over
                  })
                )
            }
          )
        }
      )
  )

const heartbeat = (session: Session, every: Duration.DurationInput): Effect.Effect<unknown> =>
  Effect.repeat(
    Effect.ignore(session.control("DO 0", Duration.toMillis(every))),
    Schedule.addDelay(Schedule.forever, () => every)
  )

const letGo = (held: Held): Effect.Effect<void, AdvisoryLockLost> =>
  Effect.zipRight(
    Fiber.interrupt(held.heart),
    Effect.suspend(() => {
      // Asked before the release, whose own trouble leaves a lock that was held to the end.
      const { phase } = held.session
      const outcome = phase._tag === "Lost"
        ? Effect.fail(
          new AdvisoryLockLost({ name: held.name, connectionId: held.session.connectionId, cause: phase.cause })
        )
        : Effect.void
      return Effect.zipRight(
        Effect.map(giveBack(held.session, held.encoded, held.reservation), held.over),
        outcome
      )
    })
  )

/** A release without an answer leaves the connection in doubt, and closing it releases the lock too. */
const giveBack = (session: Session, encoded: string, scope: Scope.CloseableScope): Effect.Effect<void> =>
  Effect.zipRight(
    Effect.catchAll(
      session.control(`DO RELEASE_LOCK('${encoded}')`, releaseMillis),
      ({ error }) => Effect.sync(() => session.abandon(error))
    ),
    Effect.suspend(() => reservation.release(session, scope))
  )

const deadlocked = (name: string, cause: MysqlError.MysqlError): Effect.Effect<never, AdvisoryLockDeadlock> =>
  Effect.suspend(() => {
    MysqlMetrics.deadlocks.unsafeUpdate(1, MysqlMetrics.deadlockLabels.advisory)
    return Effect.fail(new AdvisoryLockDeadlock({ name, cause }))
  })

/**
 * GET_LOCK counts whole seconds, MAX_EXECUTION_TIME milliseconds: the first is rounded up and the second ends the wait.
 * A timeout is 0, an error of the server NULL.
 */
const getLock = (
  session: Session,
  encoded: string,
  name: string,
  timeoutMillis: number
): Effect.Effect<void, AdvisoryLockError> => {
  const whole = Number.isInteger(timeoutMillis / 1000)
  const hint = whole ? "" : `/*+ MAX_EXECUTION_TIME(${Math.max(1, Math.ceil(timeoutMillis))}) */ `
  const timedOut = Effect.suspend(() => Effect.fail(new AdvisoryLockTimeout({ name, timeoutMillis })))
  return Effect.matchEffect(
    tracing.span(
      "GET_LOCK",
      "client",
      () => tracing.operation("GET_LOCK", session.database),
      session.lock(`SELECT ${hint}GET_LOCK(?, ?) AS granted`, [encoded, Math.ceil(timeoutMillis / 1000)])
    ),
    {
      onSuccess: ([row]): Effect.Effect<void, AdvisoryLockError> =>
        Number(row?.["granted"]) === 1 ? Effect.void : timedOut,
      onFailure: (error): Effect.Effect<never, AdvisoryLockError> =>
        error._tag === "StatementTimeout"
          ? timedOut
          : error._tag === "StatementFailed" && error.errno === 3058
          ? deadlocked(name, error)
          : Effect.fail(error)
    }
  )
}
