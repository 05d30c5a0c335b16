/** What an error tells, and what it must not tell. */
import { SqlClient } from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import { expect } from "@effect/vitest"
import type * as MysqlError from "@safesync/mysql/MysqlError"
import * as RowLock from "@safesync/mysql/RowLock"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { failure, holding } from "./support.js"

/** The value of a row and of a parameter that no error may tell. */
export const secret = "s3cret-of-a-row"

/** Wherever an error may be printed. */
export const printed = (exit: Exit.Exit<unknown, unknown>, error: MysqlError.MysqlError): string =>
  [
    Exit.isFailure(exit) ? Cause.pretty(exit.cause) : "",
    String(error),
    error.message,
    error.detail,
    error.statement,
    String(error.cause),
    JSON.stringify(error),
    error.stack
  ].join("\n")

export interface Told {
  readonly tag: MysqlError.MysqlError["_tag"]
  readonly errno?: number
  readonly sqlState?: string
  readonly code?: unknown
  readonly statement?: string
  readonly key?: string
  readonly constraint?: string
  readonly detail?: unknown
}

export const expectTold = (exit: Exit.Exit<unknown, unknown>, { statement, tag, ...fields }: Told) => {
  const error = failure(exit) as MysqlError.MysqlError
  expect(error, printed(exit, error)).toMatchObject({ _tag: tag, ...fields })
  if (statement !== undefined) {
    expect(error.statement).toContain(statement)
    expect(error.message).toContain(error.statement)
  }
  expect(printed(exit, error)).not.toContain(secret)
}

export const tables = Effect.gen(function*() {
  const sql = yield* SqlClient
  yield* sql`CREATE TABLE customer (id INT PRIMARY KEY, name VARCHAR(40) NOT NULL, UNIQUE KEY the_name (name),
    CONSTRAINT the_check CHECK (name NOT LIKE 'bad%'))`
  yield* sql`CREATE TABLE invoice (id INT PRIMARY KEY, customer VARCHAR(40), amount TINYINT,
    CONSTRAINT the_customer FOREIGN KEY (customer) REFERENCES customer (name))`
  yield* sql`CREATE PROCEDURE refuse (IN reason TEXT) SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = reason`.unprepared
  yield* sql`INSERT INTO customer VALUES (1, ${secret}), (2, 'other')`
  yield* sql`INSERT INTO invoice VALUES (1, ${secret}, 1)`
})

/** Row 1 of `customer` is locked by another transaction while `use` runs. */
export const whileLocked = <A, E, R>(use: Effect.Effect<A, E, R>) =>
  Effect.flatMap(
    holding(RowLock.forUpdate({ table: "customer", where: { id: 1 } })),
    ({ release }) => Effect.zipLeft(Effect.exit(use), release)
  )

export const statement = (text: (sql: SqlClient) => Effect.Effect<unknown, SqlError>) => Effect.flatMap(SqlClient, text)
