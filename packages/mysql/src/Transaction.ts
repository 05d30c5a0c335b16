/**
 * Transactions that are Effect `Scope`s: BEGIN when the scope opens, and its `Exit` decides between COMMIT and ROLLBACK
 * when it closes. Plain `sql` statements inside run on the transaction's connection, with no argument passed.
 *
 * ## How a transaction ends: exit × state
 *
 * | state of the transaction | the body succeeded | the body failed, died or was interrupted |
 * |---|---|---|
 * | open | COMMIT; see below | ROLLBACK; the body's cause stands |
 * | over: the server ended it (deadlock, implicit commit) | ROLLBACK; `TransactionAborted` | ROLLBACK; the body's cause stands |
 * | its connection is lost or in doubt | discard the connection; `TransactionAborted` | discard; the body's cause stands |
 *
 * | COMMIT's answer | what follows | what the caller sees |
 * |---|---|---|
 * | OK | connection back to the pool | the body's value |
 * | an error of the server, other than 1317 | ROLLBACK | `CommitFailed`: nothing was written |
 * | none: the connection was closed before COMMIT was sent | discard | `TransactionAborted`: nothing was written |
 * | none: the connection died, or the bound passed; or 1317, somebody has killed it | discard; a session that is not at work on the COMMIT is ended on the server | `CommitOutcomeUnknown`; with a `commitOracle` what it found: the value, or `CommitFailed` |
 *
 * What other fibers still run when the body ends: before COMMIT it is waited for, and COMMIT follows if the transaction is
 * open by then; who is interrupted meanwhile rolls back. Before ROLLBACK it is cancelled. Neither takes new statements: they
 * are a defect, as is a stream that is still open. A savepoint that another fiber is in is not committed half: ROLLBACK, and a defect.
 *
 * A ROLLBACK that fails is logged and counted, and its connection is discarded: the server rolls back what it no longer
 * has a client for. COMMIT is never retried and never interrupted.
 *
 * ## Who owns what
 *
 * The pool's connection belongs to a scope of its own, which is closed last. What follows the end of the transaction
 * (advisory locks that are released, variables that are set back) travels with COMMIT or ROLLBACK in one packet. Opening
 * and closing are uninterruptible; the wait for a connection of the pool and the body are not.
 *
 * @since 0.1.0
 */
import type * as MysqlClient from "@effect/sql-mysql2/MysqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as FiberRef from "effect/FiberRef"
import { dual } from "effect/Function"
import type * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import * as ambient from "./internal/ambient.js"
import * as body from "./internal/body.js"
import type { IfKnown } from "./internal/known.js"
import * as lifecycle from "./internal/lifecycle.js"
import * as phase from "./internal/phase.js"
import * as Savepoint from "./internal/savepoint.js"
import * as tracing from "./internal/tracing.js"
import * as MysqlError from "./MysqlError.js"
import type * as TransactionError from "./TransactionError.js"

/**
 * What marks a `Transaction`.
 *
 * @since 0.1.0
 * @category type ids
 */
export const TypeId: typeof lifecycle.TypeId = lifecycle.TypeId

/**
 * The type of `TypeId`.
 *
 * @since 0.1.0
 * @category type ids
 */
export type TypeId = typeof TypeId

/**
 * An open transaction. In `R` it says: this must run inside one.
 *
 * @since 0.1.0
 * @category models
 */
export interface Transaction extends lifecycle.State {
  readonly [TypeId]: TypeId
  /** The server's id of the connection, as in its process list. */
  readonly connectionId: number
}

/**
 * The tag of the transaction that is open. Its presence in `R` says that an effect needs one.
 *
 * @since 0.1.0
 * @category tags
 */
export const Transaction: Context.Tag<Transaction, Transaction> = Context.GenericTag<Transaction>(ambient.key)

/**
 * What a transaction is begun with.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /** Default: the server's, which is repeatable read unless it was configured otherwise. */
  readonly isolation?: "read-uncommitted" | "read-committed" | "repeatable-read" | "serializable" | undefined
  /** In a read-only transaction a write fails with `ReadOnlyServer`. Default: the session's, read-write. */
  readonly accessMode?: "read-write" | "read-only" | undefined
  /**
   * How long each statement may wait for a row lock, `innodb_lock_wait_timeout`: whole seconds, rounded up, at least
   * one. The session's value is set back before the connection is reused.
   */
  readonly lockWaitTimeout?: Duration.DurationInput | undefined
  /**
   * How long the answers to BEGIN, COMMIT, ROLLBACK and those about savepoints are waited for, while the server is there: a host that
   * has vanished is noticed before, as for every statement. Less than a millisecond is a defect. Default: 30 seconds.
   */
  readonly controlTimeout?: Duration.DurationInput | undefined
  /**
   * Finds out what became of a COMMIT whose answer was lost: the transaction leaves a marker, and a second connection
   * looks for it, again and again by this schedule while it cannot find out. Then `CommitOutcomeUnknown` becomes success
   * or `CommitFailed`; it stays when the schedule has ended. Needs the table of `CommitOracle.migration`; where
   * `Inbox.once` runs in the transaction, its row is the marker. It answers for the server that it reaches: after a
   * failover, whether the new primary has the transaction.
   */
  readonly commitOracle?: Schedule.Schedule<unknown, MysqlError.MysqlError> | undefined
  /**
   * Adds the trace context to each statement, as a comment by the convention of sqlcommenter, while a span that is recorded
   * is open: so process list, slow log and `performance_schema` name the span of what they show. Such a statement is
   * prepared for this one time, a round trip more. Default: false.
   */
  readonly sqlComments?: boolean | undefined
  /**
   * Lets `LockWaitTimeout`, `StatementTimeout` and `Deadlock` say in `blockers` who held the lock. A statement that is not
   * answered within 50 ms is asked about on a connection beside the pool, at intervals that double; a deadlock is told up to
   * 150 ms later. What it needs and what it costs the server: see `LockDiagnosis`. Default: false.
   */
  readonly blockerDetails?: boolean | undefined
}

/**
 * Runs an effect in a transaction: COMMIT when it succeeds, ROLLBACK when it fails, dies or is interrupted.
 *
 * BEGIN is sent with the first statement, in one packet where that is `Inbox.once` or `onceMany`, a `RowLock`, an `AdvisoryLock`, or
 * one that its connection has prepared before, if its values are whole numbers, plain ASCII texts or NULL and what it reads is no FLOAT,
 * time or JSON; a body without statements sends nothing.
 *
 * An `SqlError` of the body comes out as the `MysqlError` that it stands for; every other error of the body comes out as
 * it is, also when ROLLBACK fails. A `Scope` in the body's requirements is closed before COMMIT, and a finalizer that
 * dies leads to ROLLBACK.
 *
 * Of its own it fails with the `TransactionError`s: `BeginFailed`, `CommitFailed`, `CommitOutcomeUnknown`, `TransactionAborted`.
 * Opening a transaction inside another of the same client is a defect: use `savepoint`. With another client it is a transaction of that
 * client's own. A plain statement of another client than the transaction's is a defect, and is not sent.
 *
 * @example
 * import * as SqlClient from "@effect/sql/SqlClient"
 * import * as Effect from "effect/Effect"
 * import * as Transaction from "@safesync/mysql/Transaction"
 *
 * const transfer = (from: number, to: number, pence: number) =>
 *   Effect.gen(function*() {
 *     const sql = yield* SqlClient.SqlClient
 *     yield* sql`UPDATE account SET balance = balance - ${pence} WHERE id = ${from}`
 *     yield* sql`UPDATE account SET balance = balance + ${pence} WHERE id = ${to}`
 *   }).pipe(Transaction.run({ isolation: "read-committed" }))
 *
 * @since 0.1.0
 * @category combinators
 */
export const run: {
  (options?: Options): <A, E, R>(
    effect: Effect.Effect<A, E, R>
  ) => Effect.Effect<
    A,
    Exclude<E, SqlError> | MysqlError.MysqlError | TransactionError.TransactionError,
    Exclude<R, Transaction | Scope.Scope> | MysqlClient.MysqlClient
  >
  <A, E, R>(
    effect: Effect.Effect<A, E, R>,
    options?: Options
  ): Effect.Effect<
    A,
    Exclude<E, SqlError> | MysqlError.MysqlError | TransactionError.TransactionError,
    Exclude<R, Transaction | Scope.Scope> | MysqlClient.MysqlClient
  >
} = dual((args) => Effect.isEffect(args[0]), <A, E, R>(
  effect: Effect.Effect<A, E, R>,
  options: Options = {}
): Effect.Effect<A, any, any> => tracing.transaction(body.run(effect, options)))

/**
 * `run` beside the transaction that is open, or without one: a transaction of its own on another connection of the pool, which is committed or
 * rolled back whatever becomes of the open one. It is for what must outlive that one's rollback, such as an audit row.
 *
 * It sees nothing of what the open one has not committed, and a row that the open one has locked it waits for in vain, until
 * `LockWaitTimeout`. Its connection is waited for no longer than `controlTimeout`, 30 seconds by default, then it fails with `BeginFailed`:
 * where each of the pool's connections has a transaction that waits for a second one, none comes free.
 *
 * @example
 * import * as SqlClient from "@effect/sql/SqlClient"
 * import * as Effect from "effect/Effect"
 * import * as Transaction from "@safesync/mysql/Transaction"
 *
 * const transfer = (from: number, pence: number) =>
 *   Effect.gen(function*() {
 *     const sql = yield* SqlClient.SqlClient
 *     yield* sql`INSERT INTO audit (account, pence) VALUES (${from}, ${pence})`.pipe(Transaction.independent())
 *     yield* sql`UPDATE account SET balance = balance - ${pence} WHERE id = ${from}`
 *     return yield* Effect.fail("refused") // the audit row stays
 *   }).pipe(Transaction.run())
 *
 * @since 0.1.0
 * @category combinators
 */
export const independent: typeof run = dual((args) => Effect.isEffect(args[0]), <A, E, R>(
  effect: Effect.Effect<A, E, R>,
  options: Options = {}
): Effect.Effect<A, any, any> =>
  Effect.withFiberRuntime((fiber) =>
    Effect.locally(
      tracing.transaction(body.run(effect, options, true)),
      FiberRef.currentContext,
      ambient.outside(fiber.currentContext)
    )
  ))

/**
 * The Scope form: BEGIN now, and COMMIT or ROLLBACK when the scope closes, by the scope's Exit. Run effects in it with
 * `provide`. It fails with `BeginFailed` where no connection could be had or BEGIN was refused. Finalizers cannot fail, so a COMMIT
 * that fails is a defect whose value is the typed error that `run` would fail with. Where `run` will do, use that.
 *
 * @example
 * import * as SqlClient from "@effect/sql/SqlClient"
 * import * as Effect from "effect/Effect"
 * import * as Transaction from "@safesync/mysql/Transaction"
 *
 * const transfer = (from: number, to: number, pence: number) =>
 *   Effect.scoped(Effect.gen(function*() {
 *     const sql = yield* SqlClient.SqlClient
 *     const transaction = yield* Transaction.make({ isolation: "read-committed" })
 *     const inside = Transaction.provide(transaction)
 *     yield* inside(sql`UPDATE account SET balance = balance - ${pence} WHERE id = ${from}`)
 *     yield* inside(sql`UPDATE account SET balance = balance + ${pence} WHERE id = ${to}`)
 *   })) // COMMIT
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (
  options: Options = {}
): Effect.Effect<Transaction, TransactionError.BeginFailed, MysqlClient.MysqlClient | Scope.Scope> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.tap(
      Effect.contextWithEffect((context: Context.Context<MysqlClient.MysqlClient>) =>
        body.open(context, options, restore, "at once")
      ),
      (transaction) =>
        Effect.addFinalizer((exit) =>
          Exit.isSuccess(exit)
            ? Effect.orDie(lifecycle.commit(transaction, restore))
            : lifecycle.rollback(transaction, exit.cause)
        )
    )
  )

/**
 * What `provide` marks its effects with, for the types alone: running one of them again opens no new transaction.
 *
 * @since 0.1.0
 * @category models
 */
export interface Borrowing {
  readonly [TypeId]?: "it runs in a transaction that is open already"
}

/**
 * Runs an effect inside a transaction that `make` has opened. An `SqlError` comes out as the `MysqlError` that it stands for, or as
 * `TransactionAborted` where the transaction was over before the statement was sent. It neither commits nor rolls back: that is
 * for the scope. After the scope is closed it is a defect.
 *
 * @since 0.1.0
 * @category combinators
 */
export const provide: {
  (transaction: Transaction): <A, E, R>(
    effect: Effect.Effect<A, E, R>
  ) =>
    & Effect.Effect<
      A,
      Exclude<E, SqlError> | MysqlError.MysqlError | MysqlError.TransactionAborted,
      Exclude<R, Transaction>
    >
    & Borrowing
  <A, E, R>(
    effect: Effect.Effect<A, E, R>,
    transaction: Transaction
  ):
    & Effect.Effect<
      A,
      Exclude<E, SqlError> | MysqlError.MysqlError | MysqlError.TransactionAborted,
      Exclude<R, Transaction>
    >
    & Borrowing
} = dual(
  2,
  <A, E, R>(effect: Effect.Effect<A, E, R>, transaction: Transaction): Effect.Effect<A, any, any> =>
    MysqlError.refail(
      Effect.withFiberRuntime((fiber) =>
        Effect.locally(effect, FiberRef.currentContext, body.context(fiber.currentContext, transaction))
      )
    )
)

/**
 * Runs an effect under a savepoint of the open transaction: when it fails, what it wrote is undone and the transaction
 * goes on. Effects that were registered with `afterCommit` inside are dropped too. Locks that it took are kept until
 * the transaction ends, as InnoDB does. It fails with what the effect fails with, its `SqlError`s as the `MysqlError`s that they
 * stand for, so that a tag can be caught behind it. After a `Deadlock` the whole transaction is over, whatever is caught.
 *
 * Savepoints nest. While the effect runs, only its own fiber and those that are forked in it do anything in the transaction: a
 * statement, savepoint or `afterCommit` of another fiber would be undone with it, and is a defect before it is sent; so is one of a
 * fiber that goes on after the savepoint has ended. All of it holds for a nested `sql.withTransaction` too.
 *
 * If going back to a savepoint fails, what the effect wrote is still there: the transaction is over (`TransactionAborted`, reason
 * `savepoint-lost`), and nothing of it is committed, though the effect's failure be caught.
 *
 * @since 0.1.0
 * @category combinators
 */
export const savepoint = <A, E, R>(
  effect: Effect.Effect<A, E, R>
): Effect.Effect<
  A,
  Exclude<E, SqlError> | MysqlError.MysqlError | MysqlError.TransactionAborted,
  R | Transaction
> => Effect.flatMap(Transaction, (transaction) => Savepoint.around(effect, transaction))

/**
 * Runs an effect once this transaction has committed, after its connection has gone back to the pool; never when it
 * rolled back or when its outcome is unknown. In the order of registration, by the fiber that closes the transaction,
 * which waits for them, uninterruptibly: keep them short. What they die of is logged. What was registered since a savepoint
 * is dropped when the transaction goes back to it, also by a nested `sql.withTransaction`. It is lost if the process dies between
 * COMMIT and its end: what must not be lost is for `Outbox.append`. What it succeeds with is not looked at.
 *
 * @example
 * import * as SqlClient from "@effect/sql/SqlClient"
 * import * as Effect from "effect/Effect"
 * import * as Transaction from "@safesync/mysql/Transaction"
 *
 * const rename = (id: number, name: string, forget: (id: number) => Effect.Effect<void>) =>
 *   Effect.gen(function*() {
 *     const sql = yield* SqlClient.SqlClient
 *     yield* sql`UPDATE product SET name = ${name} WHERE id = ${id}`
 *     yield* Transaction.afterCommit(forget(id)) // of a cache that others read
 *   }).pipe(Transaction.run())
 *
 * @since 0.1.0
 * @category combinators
 */
export const afterCommit = <R>(
  effect: [Transaction] extends [IfKnown<R>] ?
    "An effect that runs after COMMIT cannot use the transaction: it is over by then"
    : [Scope.Scope] extends [IfKnown<R>] ?
      "An effect that runs after COMMIT needs a scope of its own: the body's is closed by then"
    : Effect.Effect<unknown, never, R>
): Effect.Effect<void, never, Transaction | R> =>
  Effect.contextWithEffect((context: Context.Context<R | Transaction>) => {
    const { afterCommit, connectionId, session } = Context.get(context as Context.Context<Transaction>, Transaction)
    // The effect belongs to the innermost savepoint, as a statement does.
    if (session.isMisplaced) return phase.misplaced(connectionId)
    const outside = Context.omit(Scope.Scope)(
      ambient.outside(context as Context.Context<never>) as Context.Context<Scope.Scope>
    )
    afterCommit.push(
      Effect.provide(
        effect as Effect.Effect<unknown, never, R>,
        outside as Context.Context<never> as Context.Context<R>
      )
    )
    return Effect.void
  })
