/**
 * Locks on names, for what has no row to lock yet or spans several tables: `GET_LOCK` of the server.
 *
 * Inside a transaction (`acquireInTransaction`) the lock is released after COMMIT or ROLLBACK, before the connection is
 * reused: whoever gets it next sees what was committed. A plain `SELECT` that follows may still read a snapshot from
 * before the lock was granted; run such a transaction at READ COMMITTED, or use locking reads.
 *
 * The server's names are at most 64 characters long, ignore case and are one space for all its databases. Ours may be of
 * any length, heed case, and belong to a namespace, by default the connection's database. What the server sees is a
 * readable beginning followed by a hash: `performance_schema.metadata_locks` shows it. With `raw: true` a name is the server's own.
 *
 * The server does not see a deadlock between advisory locks and row locks: take advisory locks in one order, and either
 * before all row locks or after all those that holders of the name may wait for.
 *
 * @since 0.1.0
 */
import type * as MysqlClient from "@effect/sql-mysql2/MysqlClient"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as duration from "./internal/duration.js"
import { getLock, WouldDeadlock } from "./internal/getLock.js"
import * as heldLock from "./internal/heldLock.js"
import * as lockName from "./internal/lockName.js"
import * as lockTimes from "./internal/lockTimes.js"
import type { Restore } from "./internal/reservation.js"
import type { Session } from "./internal/session.js"
import type * as MysqlError from "./MysqlError.js"
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
    /** The caller's `timeout`, in milliseconds. */
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
 * Why a lock could not be had: `AdvisoryLockTimeout` when it was not granted in time, `AdvisoryLockDeadlock` when waiting would have
 * been a deadlock among advisory locks, `StatementInterrupted` when somebody killed the wait on the server, or what a statement fails with.
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
 * How long a lock is waited for, and among whom it is a lock.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /** How long to wait for the lock, to the millisecond; 0 does not wait. A bare number is milliseconds. */
  readonly timeout: Duration.DurationInput
  /** Applications that share a server keep apart by this. Default: the connection's database. */
  readonly namespace?: string | undefined
  /**
   * The name is the server's own, as `GET_LOCK(name, …)` of others has it, so that they and this one exclude each other: COTI SafeSync for Python,
   * an older version of a service, a cron job. It has 1 to 64 characters, else it is a defect (one with an emoji is refused by the server, 3057); its case is not heeded, and it is one for
   * all databases of the server. Default: false.
   */
  readonly raw?: boolean | undefined
}

/**
 * How the loss of a lock is noticed that is held outside of any transaction.
 *
 * @since 0.1.0
 * @category models
 */
export interface HeartbeatOptions {
  /**
   * How often the holding connection is asked for a sign of life, and how long that may take: by this one that the network
   * has swallowed is noticed; one that the server closes is noticed at once. Default: 5 seconds.
   */
  readonly heartbeat?: Duration.DurationInput | undefined
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
  /** @internal The server's name of it. */
  readonly encoded: string
  /** @internal */
  readonly session: Session
}

/**
 * Takes the lock for as long as the scope is open, or fails with `AdvisoryLockTimeout`. A transaction that is opened inside the scope
 * begins after the lock is held, and so sees what its last holder committed, at every isolation level. Inside a transaction use
 * `acquireInTransaction`; calling this there, or inside `sql.withTransaction`, is a defect.
 *
 * The lock has a connection of its own, which is not one of the pool's: it is opened for the lock and closed after it. Of one
 * process only one waits on the server for a name, the others queue before it and have no connection. So a process has one
 * such connection for each name that it holds or waits for, and at most as many as `maxConnections`, the pool's size: whoever
 * wants one more waits for it, within `timeout`.
 *
 * Race `lost` against work that must not go on without the lock, or use `withLock`, which does. Finalizers cannot fail, so a
 * loss that is only noticed when a scope closes that has succeeded is a defect whose value is the `AdvisoryLockLost`. It is not
 * reentrant: whoever takes a name that he holds already waits for himself.
 *
 * @example
 * import * as Effect from "effect/Effect"
 * import * as AdvisoryLock from "@safesync/mysql/AdvisoryLock"
 *
 * const nightly = (work: Effect.Effect<void>) =>
 *   Effect.scoped(Effect.flatMap(AdvisoryLock.acquire("nightly", { timeout: 0 }), ({ lost }) => Effect.raceFirst(work, lost)))
 *
 * @since 0.1.0
 * @category locks
 */
export const acquire = (
  name: string,
  options: Options & HeartbeatOptions
): Effect.Effect<AdvisoryLock, AdvisoryLockError, MysqlClient.MysqlClient | Scope.Scope> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.tap(
      hold(name, options, restore),
      (held) =>
        Effect.addFinalizer((exit) =>
          Exit.isSuccess(exit) ? Effect.orDie(letGo(held, exit)) : Effect.ignore(letGo(held, exit))
        )
    )
  )

/**
 * Runs an effect while the lock is held. If the connection that holds it dies, the effect is interrupted and the result
 * is `AdvisoryLockLost`; it is the result too when the loss is only noticed once the effect has succeeded. What the effect had
 * committed by then stays committed.
 *
 * Where it fails with `AdvisoryLockError`, the effect was not run. A transaction is opened inside of it; inside a transaction it is a
 * defect.
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
  withHeld(name, options, () => effect)

/**
 * `withLock` for an effect that works over the connection that holds the lock.
 *
 * @internal
 */
export const withHeld = <A, E, R>(
  name: string,
  options: Options & HeartbeatOptions,
  use: (lock: AdvisoryLock) => Effect.Effect<A, E, R>
): Effect.Effect<A, E | AdvisoryLockError | AdvisoryLockLost, R | MysqlClient.MysqlClient> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.flatMap(
      hold(name, options, restore),
      (held) =>
        Effect.flatMap(Effect.exit(restore(Effect.raceFirst(use(held), held.lost))), (exit) =>
          exit._tag === "Success"
            ? Effect.as(letGo(held, exit), exit.value)
            : Effect.zipRight(Effect.ignore(letGo(held, exit)), exit))
    )
  )

/**
 * Takes the lock for the rest of the transaction. Taking a name twice in one transaction is fine.
 *
 * The lock lives and dies with the transaction's connection, so nothing that was written under a lost lock is ever
 * committed: the next statement fails with `ConnectionLost` or `TransactionAborted`, and where there is none, COMMIT is not
 * sent. Nothing interrupts a body that does something else meanwhile; what must stop with the lock runs in `withLock`.
 *
 * What it fails with: `AdvisoryLockError`.
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
    const lock = lockName.of(name, options, session.database)
    // Registered before the lock is asked for, since an interrupted wait may have been granted on the server.
    // Releasing a lock that one does not hold does nothing; one that is held n times is released n times.
    transaction.atEnd.push(`DO RELEASE_LOCK(${lock.literal})`)
    const timeoutMillis = duration.toMillis(options.timeout)
    return Effect.asVoid(granted(
      name,
      timeoutMillis,
      lockTimes.waiting(getLock(session, lock, timeoutMillis), "advisory", (isGranted) => {
        if (!isGranted) return "advisory_lock_timeout"
        transaction.onEnd.push(lockTimes.held("advisory"))
        return "granted"
      })
    ))
  })

// internal

type Held = heldLock.Held & AdvisoryLock

/** What a wait came to: what it got, or why it got nothing, by the name of the lock. */
const granted = <A, E>(
  name: string,
  timeoutMillis: number,
  asked: Effect.Effect<A | false | undefined, E | WouldDeadlock>
): Effect.Effect<A, E | AdvisoryLockTimeout | AdvisoryLockDeadlock> =>
  Effect.matchEffect(asked, {
    onFailure: (error) =>
      Effect.fail(error instanceof WouldDeadlock ? new AdvisoryLockDeadlock({ name, cause: error.cause }) : error),
    onSuccess: (got): Effect.Effect<A, AdvisoryLockTimeout> =>
      got ? Effect.succeed(got) : Effect.fail(new AdvisoryLockTimeout({ name, timeoutMillis }))
  })

const hold = (
  name: string,
  options: Options & HeartbeatOptions,
  restore: Restore
): Effect.Effect<Held, AdvisoryLockError, MysqlClient.MysqlClient> =>
  Effect.flatMap(heldLock.client, (client) => {
    const timeoutMillis = duration.toMillis(options.timeout)
    const heartbeatMillis = duration.toMillis(options.heartbeat ?? "5 seconds")
    if (heartbeatMillis === 0) return Effect.dieMessage("A heartbeat without a pause is none: name a longer Duration")
    const held = heldLock.hold(client, { name, named: options, timeoutMillis, heartbeatMillis }, restore)
    return Effect.map(granted(name, timeoutMillis, held), (held) => ({
      ...held,
      name,
      lost: Effect.mapError(held.gone, (cause) => lostOf(held, name, cause))
    }))
  })

const letGo = (held: Held, exit: Exit.Exit<unknown, unknown>): Effect.Effect<void, AdvisoryLockLost> =>
  Effect.mapError(heldLock.letGo(held, exit), (cause) => lostOf(held, held.name, cause))

const lostOf = ({ session }: heldLock.Held, name: string, cause: unknown): AdvisoryLockLost =>
  new AdvisoryLockLost({ name, connectionId: session.connectionId, cause })
