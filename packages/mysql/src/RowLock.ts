/**
 * Row locks of InnoDB, held until the transaction ends. Without a Transaction in the context they do not compile.
 *
 * A lock on a row that does not exist excludes nobody: check for `none`, or use an `AdvisoryLock` on the name of what is
 * about to exist. Lock by primary key or a unique index: a condition without one locks every row that it scans.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import * as identifier from "./internal/identifier.js"
import * as where from "./internal/where.js"
import * as MysqlError from "./MysqlError.js"
import * as MysqlMetrics from "./MysqlMetrics.js"
import { Transaction } from "./Transaction.js"

/**
 * What to do when another transaction holds the lock.
 *
 * - `"wait"` (default): wait for as long as `innodb_lock_wait_timeout` says.
 * - `"nowait"`: fail with `LockNotAvailable` at once.
 * - `"skip-locked"`: leave locked rows out, so that a locked row looks like a missing one.
 * - a Duration: wait for that long, in milliseconds, then fail with `LockWaitTimeout`. It bounds the whole statement
 *   (`MAX_EXECUTION_TIME`, MySQL only), not each row's wait.
 *
 * @since 0.1.0
 * @category models
 */
export type Wait = "wait" | "nowait" | "skip-locked" | Duration.DurationInput

/**
 * @since 0.1.0
 * @category models
 */
export type Row = Readonly<Record<string, unknown>>

/**
 * @since 0.1.0
 * @category models
 */
export interface Options<W extends where.Columns> {
  /** The table, `schema.table` where it is of another schema. */
  readonly table: string
  /** The columns that identify the row; null means IS NULL. */
  readonly where: where.NonEmpty<W>
  readonly wait?: Wait | undefined
}

/**
 * Locks a row exclusively and returns it as it is under the lock, or none where there is none. More than one matching
 * row are all locked and the first is returned.
 *
 * @example
 * import * as Effect from "effect/Effect"
 * import * as RowLock from "@safesync/mysql/RowLock"
 * import * as Transaction from "@safesync/mysql/Transaction"
 *
 * const balance = RowLock.forUpdate({ table: "account", where: { id: 7 }, wait: "500 millis" }).pipe(
 *   Effect.map((row) => row._tag === "Some" ? row.value["balance"] : undefined),
 *   Transaction.run()
 * )
 *
 * @since 0.1.0
 * @category locks
 */
export const forUpdate = <W extends where.Columns>(
  options: Options<W>
): Effect.Effect<Option.Option<Row>, MysqlError.MysqlError | MysqlError.TransactionAborted, Transaction> =>
  lock("UPDATE", options)

/**
 * Locks a row against writers, together with other readers, and returns it as it is under the lock, or none.
 *
 * @since 0.1.0
 * @category locks
 */
export const forShare = <W extends where.Columns>(
  options: Options<W>
): Effect.Effect<Option.Option<Row>, MysqlError.MysqlError | MysqlError.TransactionAborted, Transaction> =>
  lock("SHARE", options)

/**
 * Locks several rows by their primary key, in the key's order, so that two transactions that lock the same rows cannot
 * wait for each other. Returns the rows that exist, in that order.
 *
 * @since 0.1.0
 * @category locks
 */
export const forUpdateMany = (options: {
  readonly table: string
  /** The column of the primary key. */
  readonly key: string
  readonly values: ReadonlyArray<string | number | bigint>
  readonly wait?: Wait | undefined
}): Effect.Effect<ReadonlyArray<Row>, MysqlError.MysqlError | MysqlError.TransactionAborted, Transaction> => {
  if (options.values.length === 0) return Effect.succeed([])
  const key = identifier.column(options.key)
  return select(
    "UPDATE",
    options.table,
    {
      sql: `${key} IN (${options.values.map(() => "?").join(", ")}) ORDER BY ${key}`,
      values: options.values
    },
    options.wait
  )
}

// ---------------------------------------------------------------------------------------------------------------------
// internal
// ---------------------------------------------------------------------------------------------------------------------

type Strength = "UPDATE" | "SHARE"

const lock = <W extends where.Columns>(strength: Strength, options: Options<W>) =>
  Effect.map(
    select(strength, options.table, where.equal(options.where as where.Columns), options.wait),
    (rows) => Option.fromNullable(rows[0])
  )

const waited = Metric.tagged(MysqlMetrics.lockAcquireLatency, "strategy", "row")

const select = (
  strength: Strength,
  table: string,
  condition: where.Fragment,
  wait: Wait = "wait"
): Effect.Effect<ReadonlyArray<Row>, MysqlError.MysqlError | MysqlError.TransactionAborted, Transaction> => {
  const bounded = wait !== "wait" && wait !== "nowait" && wait !== "skip-locked"
  const hint = bounded ? `/*+ MAX_EXECUTION_TIME(${Math.max(1, Math.ceil(Duration.toMillis(wait)))}) */ ` : ""
  const mode = wait === "nowait" ? " NOWAIT" : wait === "skip-locked" ? " SKIP LOCKED" : ""
  const sql = `SELECT ${hint}* FROM ${identifier.table(table)} WHERE ${condition.sql} FOR ${strength}${mode}`
  return Effect.flatMap(Transaction, ({ session }) => {
    const start = performance.now()
    const rows = session.select(sql, condition.values)
    return Effect.tap(
      bounded ? Effect.mapError(rows, asLockWaitTimeout) : rows,
      () => Metric.update(waited, (performance.now() - start) / 1000)
    )
  })
}

/** A wait that was bounded by the statement's execution limit ends with 3024; to the caller it is a lock wait. */
const asLockWaitTimeout = <E>(error: E | MysqlError.StatementTimeout): E | MysqlError.LockWaitTimeout =>
  error instanceof MysqlError.StatementTimeout
    ? new MysqlError.LockWaitTimeout({
      errno: error.errno,
      sqlState: error.sqlState,
      code: error.code,
      statement: error.statement,
      detail: error.detail,
      cause: error.cause
    })
    : error as E
