/**
 * A locking read: which rows, how strongly, and what it does about those that others hold.
 *
 * @internal
 */
import * as Effect from "effect/Effect"
import * as MysqlError from "../MysqlError.js"
import type { Row, RowLockError, Wait } from "../RowLock.js"
import { Transaction } from "../Transaction.js"
import * as duration from "./duration.js"
import * as identifier from "./identifier.js"
import * as lockTimes from "./lockTimes.js"
import * as Names from "./names.js"
import * as tracing from "./tracing.js"
import * as where from "./where.js"

export type Strength = "UPDATE" | "SHARE"

export const select = (
  strength: Strength,
  { table: named, wait = "wait" }: { readonly table: string; readonly wait?: Wait | undefined },
  conditionOf: (names: Names.Names) => where.Fragment
): Effect.Effect<ReadonlyArray<Row>, RowLockError, Transaction> =>
  Effect.flatMap(Transaction, ({ client, onEnd, session }) => {
    const names = Names.of(client)
    const table = names.one(named)
    const condition = conditionOf(names)
    const bounded = wait !== "wait" && wait !== "nowait" && wait !== "skip-locked"
    const hint = bounded
      ? `/*+ MAX_EXECUTION_TIME(${Math.max(1, duration.toMillis(wait))}) */ `
      : wait === "wait"
      ? `${duration.untimed} `
      : ""
    const mode = wait === "nowait" ? " NOWAIT" : wait === "skip-locked" ? " SKIP LOCKED" : ""
    const sql = `SELECT ${hint}* FROM ${
      identifier.table(table)
    } WHERE ${condition.sql} LIMIT ${all} FOR ${strength}${mode}`
    const rows = tracing.span(
      `SELECT ${table}`,
      "client",
      () => tracing.operation("SELECT", session.database, table),
      Effect.map(session.select(sql, condition.values), names.rows)
    )
    return lockTimes.waiting(bounded ? Effect.mapError(rows, asLockWaitTimeout) : rows, "row", (rows) => {
      if (rows.length === 0) return "none"
      onEnd.push(lockTimes.held("row"))
      return "granted"
    })
  })

/**
 * A condition on the key's columns, in the key's order. Prepared statements are few: the number of values is filled up to a
 * power of two with the last one, which changes nothing.
 *
 * A composite key is compared column by column: of `(a, b) IN (…)` with dates, MySQL looks into no partition of a table that is
 * partitioned `BY RANGE COLUMNS` of such a column, and finds and locks nothing.
 */
export const inKeyOrder = (
  key: string | ReadonlyArray<string>,
  values: ReadonlyArray<any>,
  { one }: Names.Names
): where.Fragment => {
  const columns = (typeof key === "string" ? [key] : key).map((column) => identifier.column(one(column)))
  const names = columns.join(", ")
  const size = 2 ** Math.ceil(Math.log2(values.length))
  const filled = Array.from({ length: size }, (_, i) => values[Math.min(i, values.length - 1)])
  const each = `(${columns.map((column) => `${column} = ?`).join(" AND ")})`
  const sql = typeof key === "string"
    ? `${names} IN (${filled.map(() => "?").join(", ")})`
    : `(${filled.map(() => each).join(" OR ")})`
  return {
    sql: `${sql} ORDER BY ${names}`,
    values: typeof key === "string"
      ? filled.map(where.bound)
      : filled.flatMap((value) => key.map((column) => where.bound(value[column])))
  }
}

// internal

/** A session's `sql_select_limit` would leave rows out, and unlocked. */
const all = "18446744073709551615"

/** A wait that was bounded by the statement's execution limit ends with 3024; to the caller it is a lock wait. */
const asLockWaitTimeout = <E>(error: E | MysqlError.StatementTimeout): E | MysqlError.LockWaitTimeout =>
  error instanceof MysqlError.StatementTimeout
    ? new MysqlError.LockWaitTimeout({
      errno: error.errno,
      sqlState: error.sqlState,
      code: error.code,
      statement: error.statement,
      detail: error.detail,
      blockers: error.blockers,
      cause: error.cause
    })
    : error as E
