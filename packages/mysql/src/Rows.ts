/**
 * The answer of a plain `sql` statement, read as the one row, the one value or the number of rows that the program counts on. A second
 * row where one is expected is a failure: taking the first of them would hide a missing unique index.
 *
 * @since 0.1.0
 */
import type { SqlError } from "@effect/sql/SqlError"
import type { Statement } from "@effect/sql/Statement"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as statements from "./internal/statements.js"

/**
 * The statement answered no row where the program counts on one.
 *
 * @since 0.1.0
 * @category errors
 */
export class NoRow extends Schema.TaggedError<NoRow>("@safesync/mysql/NoRow")("NoRow", {}) {
  override get message() {
    return "The statement answered no row, and one was expected"
  }
}

/**
 * The statement answered several rows where the program counts on at most one.
 *
 * @since 0.1.0
 * @category errors
 */
export class TooManyRows extends Schema.TaggedError<TooManyRows>("@safesync/mysql/TooManyRows")("TooManyRows", {
  /** How many rows came. */
  found: Schema.Number
}) {
  override get message() {
    return `The statement answered ${this.found} rows, and one was expected. Hint: is the condition that of a unique index?`
  }
}

/**
 * The only row. Fails with `NoRow` without one and with `TooManyRows` where there are several. Add `LIMIT 2` to a statement that may
 * find many.
 *
 * @example
 * import * as SqlClient from "@effect/sql/SqlClient"
 * import * as Effect from "effect/Effect"
 * import * as Rows from "@safesync/mysql/Rows"
 *
 * const status = (id: number) =>
 *   Effect.gen(function*() {
 *     const sql = yield* SqlClient.SqlClient
 *     const order = yield* Rows.one(sql<{ readonly status: string }>`SELECT status FROM orders WHERE id = ${id}`)
 *     return order.status
 *   })
 *
 * @since 0.1.0
 * @category readers
 */
export const one = <A, E, R>(
  rows: Effect.Effect<ReadonlyArray<A>, E, R>
): Effect.Effect<A, E | NoRow | TooManyRows, R> =>
  Effect.flatMap(rows, (found) =>
    found.length === 1
      ? Effect.succeed(found[0]!)
      : Effect.fail(found.length === 0 ? new NoRow() : new TooManyRows({ found: found.length })))

/**
 * The only row, or none where there is none. Fails with `TooManyRows` where there are several.
 *
 * @since 0.1.0
 * @category readers
 */
export const oneOrNone = <A, E, R>(
  rows: Effect.Effect<ReadonlyArray<A>, E, R>
): Effect.Effect<Option.Option<A>, E | TooManyRows, R> =>
  Effect.flatMap(rows, (found) =>
    found.length > 1
      ? Effect.fail(new TooManyRows({ found: found.length }))
      : Effect.succeed(found.length === 1 ? Option.some(found[0]!) : Option.none()))

/**
 * The only value of the only row, such as a count. Fails as `one` does. A row of several columns, of which it is not known which one is
 * meant, is a defect.
 *
 * @example
 * import * as SqlClient from "@effect/sql/SqlClient"
 * import * as Effect from "effect/Effect"
 * import * as Rows from "@safesync/mysql/Rows"
 *
 * const open = Effect.flatMap(
 *   SqlClient.SqlClient,
 *   (sql) => Rows.scalar(sql<{ readonly n: number }>`SELECT COUNT(*) AS n FROM orders WHERE status = 'open'`)
 * )
 *
 * @since 0.1.0
 * @category readers
 */
export const scalar = <A extends object, E, R>(
  rows: Effect.Effect<ReadonlyArray<A>, E, R>
): Effect.Effect<A[keyof A], E | NoRow | TooManyRows, R> =>
  Effect.flatMap(one(rows), (row) => {
    const values = Object.values(row) as ReadonlyArray<A[keyof A]>
    return values.length === 1
      ? Effect.succeed(values[0]!)
      : Effect.dieMessage(`Rows.scalar needs a row of one column; this one has ${values.length}`)
  })

/**
 * How many rows the statement affected: of an UPDATE those that its condition matched, changed or not, as @effect/sql-mysql2 asks the
 * server for. An upsert counts 2 for a row that it changes. A statement that answers rows in place of a count is a defect.
 *
 * @example
 * import * as SqlClient from "@effect/sql/SqlClient"
 * import * as Effect from "effect/Effect"
 * import * as Rows from "@safesync/mysql/Rows"
 *
 * const close = (id: number) =>
 *   Effect.flatMap(
 *     SqlClient.SqlClient,
 *     (sql) => Rows.affected(sql`UPDATE orders SET status = 'closed' WHERE id = ${id}`)
 *   )
 *
 * @since 0.1.0
 * @category readers
 */
export const affected = (statement: Statement<unknown>): Effect.Effect<number, SqlError> =>
  Effect.flatMap(statement.raw, (result) => {
    const ok = statements.lastOk(result)
    return ok === undefined
      ? Effect.dieMessage("Rows.affected needs a statement that writes; this one answered rows")
      : Effect.succeed(ok.affectedRows)
  })
