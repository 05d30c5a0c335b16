/**
 * Inserts that may be repeated: a duplicate of the key that the caller names is an answer, every other failure stays
 * a failure. `INSERT IGNORE` is not used: it would also swallow truncated values and broken foreign keys.
 *
 * A failed insert leaves a shared lock on the row that it found, until the transaction ends.
 *
 * @since 0.1.0
 */
import * as MysqlClient from "@effect/sql-mysql2/MysqlClient"
import * as Statement from "@effect/sql/Statement"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as identifier from "./internal/identifier.js"
import * as Names from "./internal/names.js"
import * as where from "./internal/where.js"
import type * as MysqlError from "./MysqlError.js"
import { Transaction } from "./Transaction.js"

/**
 * The row was written. `insertId` is the value that AUTO_INCREMENT generated, 0 without one: a number, or beyond 2^53 its decimal digits,
 * as the driver reads every BIGINT.
 *
 * @since 0.1.0
 * @category models
 */
export class Inserted extends Data.TaggedClass("Inserted")<{ readonly insertId: number | string }> {}

/**
 * A row with that value of the named key was there before.
 *
 * @since 0.1.0
 * @category models
 */
export class AlreadyExists extends Data.TaggedClass("AlreadyExists")<{ readonly key: string }> {}

/**
 * Values of a row by column, each a value or a fragment of SQL.
 *
 * @since 0.1.0
 * @category models
 */
export type ValuesOf<V> = object & { readonly [column in keyof V]: where.Value | Statement.Fragment } & {
  readonly [Symbol.iterator]?: "An array has no names of columns"
}

/**
 * The row to insert, and the duplicate that is expected.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options<V extends ValuesOf<V> = Readonly<Record<string, where.Value | Statement.Fragment>>> {
  /** The table, `schema.table` where it is of another schema. A name with a dot in it stands in backticks: `` `a.b` ``. */
  readonly table: string
  /** By column: values, or fragments of SQL such as `` sql`NOW()` ``. */
  readonly values: V
  /**
   * The name of the unique index (not of its column), `PRIMARY` for the primary key. Of the table that is beneath a view with
   * that table's name: `invoice.PRIMARY`.
   */
  readonly key: string
}

/**
 * Inserts a row, or says that it exists already.
 *
 * `key` is the name of the unique index whose duplicate is expected, `PRIMARY` for the primary key. A duplicate of
 * another index, or of another table that a trigger writes to, fails with `DuplicateKey`, a missing parent with
 * `ForeignKeyViolation`, and so on: `MysqlError` has them all. That the row which is there holds the same values is not looked at.
 *
 * @example
 * import * as IdempotentInsert from "@safesync/mysql/IdempotentInsert"
 * import * as Transaction from "@safesync/mysql/Transaction"
 *
 * const header = IdempotentInsert.insert({
 *   table: "invoice",
 *   values: { invoice_no: "536365", customer_id: 17850 },
 *   key: "PRIMARY"
 * }).pipe(Transaction.run())
 *
 * @since 0.1.0
 * @category inserts
 */
export const insert = <V extends ValuesOf<V>>(options: Options<V>): Effect.Effect<
  Inserted | AlreadyExists,
  MysqlError.MysqlError | MysqlError.TransactionAborted,
  Transaction
> =>
  Effect.flatMap(Transaction, ({ client, session }) => {
    const names = Names.of(client)
    const named = names.one(options.table)
    const given = names.columns(options.values) as Readonly<Record<string, where.Value | Statement.Fragment>>
    const columns = Object.keys(given)
    const values = columns.map((column) => valueOf(given[column]!))
    const sql = `INSERT INTO ${identifier.table(named)} (${columns.map(identifier.column).join(", ")}) ` +
      `VALUES (${values.map(({ sql }) => sql).join(", ")})`
    // Names of indexes are compared by the server without regard to case, and so may those of tables be.
    const expected = options.key.toLowerCase()
    const table = identifier.ownName(named).toLowerCase()
    const absorbs = (
      error: MysqlError.MysqlError | MysqlError.TransactionAborted
    ): error is MysqlError.DuplicateKey => {
      if (error._tag !== "DuplicateKey") return false
      const found = inItsTable(error).toLowerCase()
      return found === expected || error.table !== undefined && found === `${table}.${expected}`
    }
    return Effect.matchEffect(session.change(sql, values.flatMap(({ values }) => values), absorbs), {
      onSuccess: ({ insertId }) => Effect.succeed(new Inserted({ insertId })),
      onFailure: (error) =>
        absorbs(error)
          ? Effect.succeed(new AlreadyExists({ key: keyOf(error, expected) }))
          : Effect.fail(error)
    })
  })

// internal

/** A value in its place, or what a fragment says in its stead. */
const valueOf = (
  value: where.Value | Statement.Fragment
): { readonly sql: string; readonly values: ReadonlyArray<unknown> } => {
  if (!Statement.isFragment(value)) return { sql: "?", values: [where.bound(value)] }
  const compiled = "compile" in value ? (value as Statement.Statement<unknown>).compile() : plain.compile(value, true)
  return { sql: compiled[0], values: compiled[1] }
}

/** A statement knows its client's. */
const plain = MysqlClient.makeCompiler()

/** As the server names it. Where the table ends cannot be told when there is a dot in its name. */
const inItsTable = ({ key, table }: MysqlError.DuplicateKey): string => table === undefined ? key : `${table}.${key}`

const keyOf = (error: MysqlError.DuplicateKey, expected: string): string => {
  const found = inItsTable(error)
  return found.length === expected.length ? error.key : found.slice(-expected.length)
}
