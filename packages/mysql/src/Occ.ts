/**
 * Optimistic concurrency: read a row with its version, compute, write it back only if the version is still the same.
 * Nobody waits; whoever is late gets a `VersionConflict` and starts again from the read, in a new transaction, by a
 * Schedule of the caller's.
 *
 * @since 0.1.0
 */
import type { MysqlClient } from "@effect/sql-mysql2/MysqlClient"
import * as Effect from "effect/Effect"
import { dual } from "effect/Function"
import type * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import { property } from "./internal/described.js"
import * as duration from "./internal/duration.js"
import * as identifier from "./internal/identifier.js"
import type { IfKnown } from "./internal/known.js"
import * as Names from "./internal/names.js"
import * as own from "./internal/own.js"
import type { OkPacket } from "./internal/statements.js"
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
    expected: Schema.Union(Schema.Number, Schema.String),
    /** The version that the row has now: a number where `expected` is one and it has no more digits than a number holds. */
    actual: Schema.Union(Schema.Number, Schema.String)
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
 * A version as the driver reads it: a number, or its digits where the pool reads them as text (`bigNumberStrings`), where the column
 * is DECIMAL, and beyond 2^53.
 *
 * @since 0.1.0
 * @category models
 */
export type Version = number | string

/**
 * What `update` and `tryUpdate` write, and where.
 *
 * @since 0.1.0
 * @category models
 */
export interface Update<
  K extends where.ColumnsOf<K>,
  V extends string,
  S extends where.ColumnsOf<S>,
  N extends Version = Version
> {
  /** The table, `schema.table` where it is of another schema. A name with a dot in it stands in backticks: `` `a.b` ``. */
  readonly table: string
  /**
   * The columns that identify one row: of the primary key or a unique index, and not the version's. Where they match several
   * rows, `update` is a defect; that they could is not noticed while they match one.
   */
  readonly key: where.Without<
    V,
    K,
    "The version column is compared by Occ.update alone: the key identifies the row",
    where.NonEmpty<K>
  >
  /** The version's column, and the version that was read. */
  readonly version: { readonly column: V; readonly expected: N }
  /** The new values. The version is not among them: it becomes `expected + 1`. */
  readonly set: where.Without<V, S, "The version column is set by Occ.update alone", S>
}

/**
 * Writes the row if it still has the version that was read, and returns its new version: one more, read from the row, a number or
 * digits as `expected` is. Fails with `VersionConflict` where it has another one, and with `RowMissing` where there is no row. A version
 * column that has another value after the update is a defect, since then versions do not tell who was late: one that is full where the
 * SQL mode lets the server shorten numbers, one that is no exact number, one that a trigger sets.
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
export const update = <K extends where.ColumnsOf<K>, V extends string, S extends where.ColumnsOf<S>, N extends Version>(
  given: Update<K, V, S, N>
): Effect.Effect<
  N extends number ? number : string,
  VersionConflict | RowMissing | MysqlError.MysqlError | MysqlError.TransactionAborted,
  Transaction
> =>
  Effect.flatMap(Transaction, ({ client, session }) => {
    const options = named(client, given)
    return Effect.flatMap(statement(options), (write) => {
      const { table } = options
      const before = versions(options, options.key as where.Columns)
      const answers: Effect.Effect<readonly [OkPacket, ReadonlyArray<unknown>], Failure> = changesKey(options)
        ? Effect.flatMap(session.together(write), ([ok]) =>
          Effect.map(
            session.together(ok.affectedRows === 0 ? before : versions(options, keyAfter(options))),
            ([rows]) => [ok, rows]
          ))
        : session.together(write, before)
      return Effect.flatMap(answers, ([{ affectedRows }, rows]) => {
        attempted(table)
        return Effect.flatMap(
          own.read(before.sql, rows, (row) => row.textOrNull(0)),
          (found): Effect.Effect<any, VersionConflict | RowMissing> =>
            affectedRows > 1 || found.length > 1
              ? Effect.dieMessage(
                `The key of Occ.update matched ${
                  Math.max(affectedRows, found.length)
                } rows of ${table}: it must identify one`
              )
              : affectedRows === 1
              ? written(options, found[0])
              : explain(options, found)
        )
      })
    })
  })

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
export const tryUpdate = <
  K extends where.ColumnsOf<K>,
  V extends string,
  S extends where.ColumnsOf<S>,
  N extends Version
>(
  given: Update<K, V, S, N>
): Effect.Effect<number, MysqlError.MysqlError | MysqlError.TransactionAborted, Transaction> =>
  Effect.flatMap(Transaction, ({ client, session }) => {
    const options = named(client, given)
    return Effect.flatMap(
      statement(options),
      ({ sql, values }) =>
        Effect.map(session.change(sql, values), ({ affectedRows }) => {
          attempted(options.table)
          return Number(affectedRows)
        })
    )
  })

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
 * An effect that opens its own transaction; of any other one, a sentence that says so. Where `R` is a type parameter, the compiler
 * cannot tell one from the other, and takes it: a helper that is to be given its attempts takes an `Attempt` itself.
 *
 * @since 0.1.0
 * @category models
 */
export type Attempt<A, E, R> = [Transaction] extends [IfKnown<R>]
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
  retried.has(property(error, "_tag")) ||
  property(error, "_tag") === "CommitFailed" && property(property(error, "cause"), "_tag") === "Deadlock"

// internal

const retried: ReadonlySet<unknown> = new Set(["VersionConflict", "Deadlock", "LockWaitTimeout"])

/** With the names that plain `sql` of the client would write. */
const named = (client: MysqlClient, options: Updated): Updated => {
  const { columns, one } = Names.of(client)
  const { key, set, table, version: { column, expected } } = options
  return {
    table: one(table),
    key: columns(key as where.Columns),
    version: { column: one(column), expected },
    set: columns(set as where.Columns)
  }
}

/** The UPDATE, or the defect of options that the types let pass. */
const statement = (options: Updated): Effect.Effect<where.Fragment> =>
  Effect.suspend(() => {
    const set = options.set as where.Columns
    const { column, expected } = options.version
    const isVersion = (name: string) => name.toLowerCase() === column.toLowerCase()
    if (Object.keys(set).some(isVersion)) {
      return Effect.dieMessage(`The version column ${column} is set by Occ.update alone`)
    }
    if (Object.keys(options.key as where.Columns).some(isVersion)) {
      return Effect.dieMessage(`The version column ${column} is compared by Occ.update alone`)
    }
    const next = after(expected)
    if (next === undefined) {
      return Effect.dieMessage(
        `The version ${expected} of ${options.table} is no number that one can be added to: read it as text beyond 2^53`
      )
    }
    const version = identifier.column(column)
    const key = where.equal(options.key as where.Columns)
    const assignments = Object.keys(set).map((name) => `${identifier.column(name)} = ?`)
    const place = typeof expected === "string" ? `CAST(? AS DECIMAL(65, ${scaleOf(expected)}))` : "?"
    return Effect.succeed({
      sql: `UPDATE ${identifier.table(options.table)} SET ${[...assignments, `${version} = ${place}`].join(", ")} ` +
        `WHERE ${key.sql} AND ${version} = ${place}`,
      values: [...Object.values(set).map(where.bound), next, ...key.values, expected]
    })
  })

type Failure = MysqlError.MysqlError | MysqlError.TransactionAborted

/** Asks for the versions that the rows with a key have. A locking read sees them as they are; a plain one might see an older snapshot. */
const versions = (
  { table, version: { column } }: Updated,
  key: where.Columns
): where.Fragment => {
  const condition = where.equal(key)
  return {
    // MariaDB has no FOR SHARE.
    sql:
      `SELECT ${duration.untimed} CAST(${identifier.column(column)} + 0 AS BINARY) FROM ${identifier.table(table)} ` +
      `WHERE ${condition.sql} LIMIT 2 LOCK IN SHARE MODE`,
    values: condition.values
  }
}

const changesKey = (options: Updated): boolean => {
  const set = new Set(Object.keys(options.set as where.Columns).map((column) => column.toLowerCase()))
  return Object.keys(options.key as where.Columns).some((column) => set.has(column.toLowerCase()))
}

/** The key of a row that was written. */
const keyAfter = (options: Updated): where.Columns => {
  const set = new Map(
    Object.entries(options.set as where.Columns).map(([column, value]) => [column.toLowerCase(), value])
  )
  const key = Object.entries(options.key as where.Columns)
  return Object.fromEntries(
    key.map(([column, value]) => [column, set.has(column.toLowerCase()) ? set.get(column.toLowerCase())! : value])
  )
}

const attempted = (table: string): void => {
  const labels = MysqlMetrics.labels({ table: MysqlMetrics.tableLabel(table) })
  MysqlMetrics.occAttempts.unsafeUpdate(1, labels)
  // A conflict is only told from a missing row by `update`. 0, since an exporter must have shown that once.
  MysqlMetrics.occConflicts.unsafeUpdate(0, labels)
}

/** The version of a row that was written, which is to be the next one. */
const written = (
  { table, version: { column, expected } }: Updated,
  found: string | undefined
): Effect.Effect<Version> => {
  const next = after(expected)!
  return found !== undefined && isSame(found, next)
    ? Effect.succeed(like(expected, found))
    : Effect.dieMessage(
      `The version column ${column} of ${table} did not become ${next} but ${found ?? "NULL"}. ` +
        "Hint: it must have room for each version that is to come, hold it exactly, and be set by Occ.update alone"
    )
}

/** Why no row was written, by the versions of the rows with that key. */
const explain = (
  { table, version: { column, expected } }: Updated,
  found: ReadonlyArray<string | undefined>
): Effect.Effect<never, VersionConflict | RowMissing> => {
  if (found.length === 0) return Effect.fail(new RowMissing({ table }))
  const [actual] = found
  if (actual === undefined) {
    return Effect.dieMessage(`The version column ${column} of ${table} holds NULL: declare it NOT NULL`)
  }
  return Effect.suspend(() => {
    MysqlMetrics.occConflicts.unsafeUpdate(1, MysqlMetrics.labels({ table: MysqlMetrics.tableLabel(table) }))
    return Effect.fail(new VersionConflict({ table, expected, actual: like(expected, actual) }))
  })
}

/** `Update`, without what its types tell the caller. */
interface Updated {
  readonly table: string
  readonly key: unknown
  readonly version: { readonly column: string; readonly expected: Version }
  readonly set: unknown
}

/** The next version; nothing where there is no next number, or a number of this kind could not hold it. */
const after = (version: Version): Version | undefined => {
  if (typeof version === "number") {
    return Number.isSafeInteger(version + 1) || Number.isFinite(version) && Math.abs(version) < 2 ** 50
      ? version + 1
      : undefined
  }
  const digits = decimal.exec(version)
  if (digits === null) return undefined
  const scale = scaleOf(version)
  const unscaled = String(BigInt(`${digits[1]}${digits[2]}${digits[3] ?? ""}`) + 10n ** BigInt(scale))
  const padded = unscaled.replace("-", "").padStart(scale + 1, "0")
  const sign = unscaled.startsWith("-") ? "-" : ""
  return scale === 0 ? unscaled : `${sign}${padded.slice(0, -scale)}.${padded.slice(-scale)}`
}

/** As many digits as DECIMAL has. */
const decimal = /^(-?)(\d{1,35})(?:\.(\d{1,30}))?$/

const scaleOf = (version: string): number => decimal.exec(version)?.[3]?.length ?? 0

/** Whether the server's digits are that number. Those of a fraction that JavaScript has rounded are near it. */
const isSame = (found: string, version: Version): boolean =>
  typeof version === "string"
    ? withoutZeros(found) === withoutZeros(version)
    : Number.isInteger(version)
    ? Number(found) === version
    : Math.abs(Number(found) - version) < 1e-6

const withoutZeros = (digits: string): string => digits.includes(".") ? digits.replace(/\.?0+$/, "") : digits

/** The server's digits in the form that the caller has. */
const like = (expected: Version, found: string): Version => {
  const number = Number(found)
  return typeof expected === "number" && (Number.isSafeInteger(number) || found.includes(".")) ? number : found
}
