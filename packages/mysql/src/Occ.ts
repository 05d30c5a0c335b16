/**
 * Optimistic concurrency: read a row with its version, compute, write it back only if the version is still the same.
 * Nobody waits; whoever is late gets a `VersionConflict` and starts again from the read, in a new transaction, by a
 * Schedule of the caller's.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import { dual } from "effect/Function"
import * as Predicate from "effect/Predicate"
import type * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as identifier from "./internal/identifier.js"
import * as where from "./internal/where.js"
import type * as MysqlError from "./MysqlError.js"
import * as MysqlMetrics from "./MysqlMetrics.js"
import type { TypeId } from "./Transaction.js"
import { Transaction } from "./Transaction.js"
import type * as TransactionError from "./TransactionError.js"

/**
 * The row has another version by now: somebody else was faster, nothing was written.
 *
 * @since 0.1.0
 * @category errors
 */
export class VersionConflict
  extends Schema.TaggedError<VersionConflict>("@safesync/mysql/VersionConflict")("VersionConflict", {
    table: Schema.String,
    /** The version that was read. */
    expected: Schema.Number,
    /** The version that the row has now. */
    actual: Schema.Number
  })
{
  override get message() {
    return `The row of ${this.table} was changed by somebody else: version ${this.actual}, not ${this.expected}. ` +
      "Hint: read it again and retry, see Occ.retry"
  }
}

/**
 * There is no row with that key: nothing was written, and a retry finds none either.
 *
 * @since 0.1.0
 * @category errors
 */
export class RowMissing extends Schema.TaggedError<RowMissing>("@safesync/mysql/RowMissing")("RowMissing", {
  table: Schema.String
}) {
  override get message() {
    return `The table ${this.table} has no row with this key`
  }
}

/**
 * What `update` and `tryUpdate` write, and where.
 *
 * @since 0.1.0
 * @category models
 */
export interface Update<K extends where.Columns, V extends string, S extends where.Columns> {
  /** The table, `schema.table` where it is of another schema. */
  readonly table: string
  /**
   * The columns that identify one row: of the primary key or a unique index, and not the version's. Where they match several
   * rows, `update` is a defect; that they could is not noticed while they match one.
   */
  readonly key: string extends keyof K ? K
    : V extends keyof K ? "The version column is compared by Occ.update alone: the key identifies the row"
    : where.NonEmpty<K>
  /** The version's column, and the version that was read. */
  readonly version: { readonly column: V; readonly expected: number }
  /** The new values. The version is not among them: it becomes `expected + 1`. */
  readonly set: V extends keyof S ? "The version column is set by Occ.update alone" : S
}

/**
 * Writes the row if it still has the version that was read, and returns its new version. Fails with `VersionConflict` where
 * it has another one, and with `RowMissing` where there is no row.
 *
 * @example
 * import * as Effect from "effect/Effect"
 * import * as Schedule from "effect/Schedule"
 * import * as SqlClient from "@effect/sql/SqlClient"
 * import * as Occ from "@safesync/mysql/Occ"
 * import * as Transaction from "@safesync/mysql/Transaction"
 *
 * const rename = (id: number, name: string) =>
 *   Effect.gen(function*() {
 *     const sql = yield* SqlClient.SqlClient
 *     const [row] = yield* sql<{ version: number }>`SELECT version FROM product WHERE id = ${id}`
 *     return yield* Occ.update({
 *       table: "product",
 *       key: { id },
 *       version: { column: "version", expected: row?.version ?? 0 },
 *       set: { name }
 *     })
 *   }).pipe(
 *     Transaction.run(),
 *     Occ.retry(Schedule.intersect(Schedule.jittered(Schedule.exponential("5 millis")), Schedule.recurs(10)))
 *   )
 *
 * @since 0.1.0
 * @category updates
 */
export const update = <K extends where.Columns, V extends string, S extends where.Columns>(
  options: Update<K, V, S>
): Effect.Effect<
  number,
  VersionConflict | RowMissing | MysqlError.MysqlError | MysqlError.TransactionAborted,
  Transaction
> =>
  Effect.flatMap(
    tryUpdate(options),
    (affected) =>
      affected === 1
        ? Effect.succeed(options.version.expected + 1)
        : affected === 0
        ? explain(options)
        : Effect.dieMessage(`The key of Occ.update matched ${affected} rows of ${options.table}: it must identify one`)
  )

/**
 * The bare primitive: the number of rows that were written, 0 when the version was another one or the row is missing. Whoever
 * ignores it loses updates. It fails with what a statement fails with, such as `Deadlock` or `LockWaitTimeout`, and never with
 * `VersionConflict`.
 *
 * @example
 * import * as Effect from "effect/Effect"
 * import * as Occ from "@safesync/mysql/Occ"
 * import * as Transaction from "@safesync/mysql/Transaction"
 *
 * const touch = (id: number, version: number) =>
 *   Occ.tryUpdate({
 *     table: "session",
 *     key: { id },
 *     version: { column: "version", expected: version },
 *     set: { seen_at: new Date() }
 *   }).pipe(
 *     Effect.map((written) => written === 1),
 *     Transaction.run()
 *   )
 *
 * @since 0.1.0
 * @category updates
 */
export const tryUpdate = <K extends where.Columns, V extends string, S extends where.Columns>(
  options: Update<K, V, S>
): Effect.Effect<number, MysqlError.MysqlError | MysqlError.TransactionAborted, Transaction> => {
  const set = options.set as where.Columns
  const isVersion = (column: string) => column.toLowerCase() === options.version.column.toLowerCase()
  if (Object.keys(set).some(isVersion)) {
    return Effect.dieMessage(`The version column ${options.version.column} is set by Occ.update alone`)
  }
  if (Object.keys(options.key).some(isVersion)) {
    return Effect.dieMessage(`The version column ${options.version.column} is compared by Occ.update alone`)
  }
  const version = identifier.column(options.version.column)
  const key = where.equal(options.key as where.Columns)
  const assignments = Object.keys(set).map((column) => `${identifier.column(column)} = ?`)
  const sql = `UPDATE ${identifier.table(options.table)} SET ${[...assignments, `${version} = ? + 1`].join(", ")} ` +
    `WHERE ${key.sql} AND ${version} = ?`
  const { expected } = options.version
  return Effect.flatMap(Transaction, ({ session }) =>
    Effect.map(
      session.write(sql, [...Object.values(set).map(where.bound), expected, ...key.values, expected]),
      ({ affectedRows }) => {
        const labels = MysqlMetrics.labels({ table: MysqlMetrics.tableLabel(options.table) })
        MysqlMetrics.occAttempts.unsafeUpdate(1, labels)
        // A conflict is only told from a missing row by `update`. 0, since an exporter must have shown that once.
        MysqlMetrics.occConflicts.unsafeUpdate(0, labels)
        return affectedRows
      }
    ))
}

/**
 * Runs an attempt again, by the caller's Schedule, when it failed with `VersionConflict`, `Deadlock`, `LockWaitTimeout`, or a
 * `CommitFailed` whose cause is a `Deadlock`; every other failure passes at once. Each attempt must read again and must open
 * its own transaction: one that borrows an open transaction does not compile, since what it has read and locked would stay.
 *
 * @example
 * import * as SqlClient from "@effect/sql/SqlClient"
 * import * as Effect from "effect/Effect"
 * import * as Schedule from "effect/Schedule"
 * import * as Occ from "@safesync/mysql/Occ"
 * import * as Transaction from "@safesync/mysql/Transaction"
 *
 * const settle = Effect.flatMap(SqlClient.SqlClient, (sql) => sql`UPDATE account SET settled = 1 WHERE settled = 0`).pipe(
 *   Transaction.run({ lockWaitTimeout: "2 seconds" }),
 *   Occ.retry(Schedule.intersect(Schedule.jittered(Schedule.exponential("10 millis")), Schedule.recurs(5)))
 * )
 *
 * @since 0.1.0
 * @category retries
 */
export const retry: {
  <Out, R2>(
    schedule: Schedule.Schedule<Out, Retryable, R2>
  ): <A, E, R>(attempt: Attempt<A, E, R>) => Effect.Effect<A, E, R | R2>
  <A, E, R, Out, R2>(
    attempt: Attempt<A, E, R>,
    schedule: Schedule.Schedule<Out, Retryable, R2>
  ): Effect.Effect<A, E, R | R2>
} = dual(2, <A, E, R, Out, R2>(
  attempt: Effect.Effect<A, E, R>,
  schedule: Schedule.Schedule<Out, Retryable, R2>
): Effect.Effect<A, E, R | R2> =>
  Effect.retry(attempt, {
    schedule: schedule as Schedule.Schedule<Out, any, R2>,
    while: isRetryable as (error: E) => boolean
  }))

/**
 * What `retry` retries. Of `CommitFailed` only those whose cause is a `Deadlock`: a member of a group that was late says so at
 * COMMIT, and then nothing was written.
 *
 * @since 0.1.0
 * @category models
 */
export type Retryable =
  | VersionConflict
  | MysqlError.Deadlock
  | MysqlError.LockWaitTimeout
  | TransactionError.CommitFailed

/**
 * An effect that opens its own transaction; of any other one, a sentence that says so.
 *
 * @since 0.1.0
 * @category models
 */
export type Attempt<A, E, R> = [Transaction] extends [R]
  ? "Each attempt of Occ.retry opens its own transaction: put Transaction.run inside it"
  : Effect.Effect<A, E, R> & {
    readonly [TypeId]?: "Each attempt of Occ.retry opens its own transaction: put Transaction.run in place of provide"
  }

/**
 * Whether `retry` would run the attempt again.
 *
 * @since 0.1.0
 * @category refinements
 */
export const isRetryable = (error: unknown): error is Retryable =>
  Predicate.isTagged(error, "VersionConflict") || Predicate.isTagged(error, "Deadlock") ||
  Predicate.isTagged(error, "LockWaitTimeout") ||
  Predicate.isTagged(error, "CommitFailed") && Predicate.hasProperty(error, "cause") &&
    Predicate.isTagged(error.cause, "Deadlock")

// internal

/**
 * Why no row was written. A locking read sees the row as it is; a plain one might see an older snapshot. MariaDB has no
 * FOR SHARE.
 */
const explain = <K extends where.Columns, V extends string, S extends where.Columns>(
  options: Update<K, V, S>
): Effect.Effect<
  never,
  VersionConflict | RowMissing | MysqlError.MysqlError | MysqlError.TransactionAborted,
  Transaction
> => {
  const key = where.equal(options.key as where.Columns)
  const { table, version: { column, expected } } = options
  const sql = `SELECT ${identifier.column(column)} AS version FROM ${
    identifier.table(table)
  } WHERE ${key.sql} LOCK IN SHARE MODE`
  return Effect.flatMap(Transaction, ({ session }) =>
    Effect.flatMap(
      session.select(sql, key.values),
      ([row]): Effect.Effect<never, VersionConflict | RowMissing> =>
        row === undefined
          ? Effect.fail(new RowMissing({ table }))
          : row["version"] === null
          ? Effect.dieMessage(`The version column ${column} of ${table} holds NULL: declare it NOT NULL`)
          : Effect.suspend(() => {
            MysqlMetrics.occConflicts.unsafeUpdate(1, MysqlMetrics.labels({ table: MysqlMetrics.tableLabel(table) }))
            return Effect.fail(new VersionConflict({ table, expected, actual: Number(row["version"]) }))
          })
    ))
}
