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
export * as AdvisoryLock from "./AdvisoryLock.js"

/**
 * The table of the commit-outcome oracle: what a transaction with the option `commitOracle` leaves behind, so that a second
 * connection can say what became of it when the answer to COMMIT was lost.
 *
 * It has one row for each committed transaction that used the option, written in COMMIT's own packet: no round trip more.
 * A transaction in which `Inbox.once` has run needs none, its row of the inbox serves.
 *
 * @example
 * import * as SqlClient from "@effect/sql/SqlClient"
 * import * as Effect from "effect/Effect"
 * import * as Schedule from "effect/Schedule"
 * import * as Transaction from "@safesync/mysql/Transaction"
 *
 * const pay = (id: number) =>
 *   Effect.flatMap(SqlClient.SqlClient, (sql) => sql`UPDATE invoice SET paid = 1 WHERE id = ${id}`).pipe(
 *     Transaction.run({ commitOracle: Schedule.intersect(Schedule.spaced("200 millis"), Schedule.recurs(50)) })
 *   )
 *
 * @since 0.1.0
 */
export * as CommitOracle from "./CommitOracle.js"

/**
 * Numbers that only grow, one sequence for each lock name, issued to the lock's holder. A holder who lost the lock
 * without knowing it has a smaller number than his successor, and the guard refuses to let his transaction commit.
 *
 * @since 0.1.0
 */
export * as FencingToken from "./FencingToken.js"

/**
 * Inserts that may be repeated: a duplicate of the key that the caller names is an answer, every other failure stays
 * a failure. `INSERT IGNORE` is not used: it would also swallow truncated values and broken foreign keys.
 *
 * A failed insert leaves a shared lock on the row that it found, until the transaction ends.
 *
 * @since 0.1.0
 */
export * as IdempotentInsert from "./IdempotentInsert.js"

/**
 * The inbox makes handling a message idempotent: its id is written in the same transaction as its effects, so both are
 * there or neither is, and a message that comes again finds its id.
 *
 * @since 0.1.0
 */
export * as Inbox from "./Inbox.js"

/**
 * Who holds a lock, who waits for it, since when, with which statement and in which trace: asked of the server when
 * somebody wants to know. What it needs: SELECT on `performance_schema`, and PROCESS for `lastDeadlock`.
 *
 * It runs on a connection of its own, which is neither of the pool nor of the caller's transaction, so it works while the
 * pool is exhausted by those who wait. It changes nothing and takes no lock. Reading the lock tables costs the server in
 * proportion to the locks that are held: ask when something is slow, not once a request.
 *
 * Texts of statements have a `?` in place of each value, unless they are asked for with `statements: "text"`.
 *
 * @since 0.1.0
 */
export * as LockDiagnosis from "./LockDiagnosis.js"

/**
 * A connection that holds a lock or waits for one, as far as the server tells about it.
 *
 * @since 0.1.0
 */
export * as LockParty from "./LockParty.js"

/**
 * What a statement can fail with. One tag for each failure that a caller acts on, classified once, by errno.
 *
 * Messages name the problem, a hint and the statement's text. They never hold a value of a row, unless the caller has written it
 * into the text instead of binding it: the server's own message is kept only for errors whose text is known to hold names and no
 * values.
 *
 * @since 0.1.0
 */
export * as MysqlError from "./MysqlError.js"

/**
 * The metrics of this package. Names and labels of `writes`, `writeLatency` and `lockAcquireLatency` are those that
 * dashboards of COTI SafeSync already use; the others carry the same prefix.
 *
 * The label `table` is the table's name as the statement says it, without its schema. The first 200 tables that a process
 * names have a label of their own, all others share `other`.
 *
 * @since 0.1.0
 */
export * as MysqlMetrics from "./MysqlMetrics.js"

/**
 * Optimistic concurrency: read a row with its version, compute, write it back only if the version is still the same.
 * Nobody waits; whoever is late gets a `VersionConflict` and starts again from the read, in a new transaction, by a
 * Schedule of the caller's.
 *
 * @since 0.1.0
 */
export * as Occ from "./Occ.js"

/**
 * The outbox: messages that are written in the same transaction as what they tell about, so that they exist if and only if
 * it committed. A relay publishes them afterwards and removes them, so there is nothing to purge: what lies in the table has
 * not been published.
 *
 * **Order.** Messages of one stream with the same `key` get ids in the order in which their transactions commit: `append`
 * locks the key until its transaction has ended, so nobody can commit a higher id of that key while a lower one is still
 * open. Ids of different keys may become visible in any order, so a relay has no position in the table that it reads on
 * from; it takes what is there and removes it, and no gap of the auto-increment can hide a message.
 *
 * Keys share 1,024 locks, so now and then two keys wait for each other. Append at the end of a transaction: the lock is
 * held until COMMIT.
 *
 * @since 0.1.0
 */
export * as Outbox from "./Outbox.js"

/**
 * Row locks of InnoDB, held until the transaction ends. Without a Transaction in the context they do not compile.
 *
 * A lock on a row that does not exist excludes nobody: check for `none`, or use an `AdvisoryLock` on the name of what is
 * about to exist. Lock by primary key or a unique index: a condition without one locks every row that it scans, and so does a number
 * that is compared with a column of text.
 *
 * @since 0.1.0
 */
export * as RowLock from "./RowLock.js"

/**
 * The answer of a plain `sql` statement, read as the one row, the one value or the number of rows that the program counts on. A second
 * row where one is expected is a failure: taking the first of them would hide a missing unique index.
 *
 * @since 0.1.0
 */
export * as Rows from "./Rows.js"

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
export * as Transaction from "./Transaction.js"

/**
 * What a transaction itself can fail with, whatever its body does.
 *
 * @since 0.1.0
 */
export * as TransactionError from "./TransactionError.js"
