/**
 * The primitives of `@safesync/mysql`.
 *
 * @since 0.1.0
 */
import type * as MysqlClient from "@effect/sql-mysql2/MysqlClient"
import * as AdvisoryLock from "@safesync/mysql/AdvisoryLock"
import * as Occ from "@safesync/mysql/Occ"
import * as RowLock from "@safesync/mysql/RowLock"
import * as Transaction from "@safesync/mysql/Transaction"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"

type Write = (
  sql: MysqlClient.MysqlClient,
  id: number
) => Effect.Effect<unknown, unknown, MysqlClient.MysqlClient>

/**
 * @since 0.1.0
 * @category primitives
 */
export const atomic: Write = (sql, id) => Transaction.run(sql`UPDATE counter SET value = value + 1 WHERE id = ${id}`)

/**
 * @since 0.1.0
 * @category primitives
 */
export const rowLock: Write = (sql, id) =>
  Transaction.run(
    Effect.flatMap(
      RowLock.forUpdate({ table: "counter", where: { id } }),
      (row) => sql`UPDATE counter SET value = ${valueOf(row) + 1} WHERE id = ${id}`
    )
  )

/**
 * @since 0.1.0
 * @category primitives
 */
export const advisory: Write = (sql, id) =>
  Transaction.run(
    Effect.zipRight(
      AdvisoryLock.acquireInTransaction(`counter-${id}`, { timeout: "30 seconds" }),
      Effect.flatMap(
        sql<{ readonly value: number }>`SELECT value FROM counter WHERE id = ${id}`,
        ([row]) => sql`UPDATE counter SET value = ${row!.value + 1} WHERE id = ${id}`
      )
    )
  )

/**
 * @since 0.1.0
 * @category primitives
 */
export const occ: Write = (sql, id) =>
  Occ.retry(
    Transaction.run(Effect.flatMap(
      sql<{ readonly value: number; readonly version: number }>`SELECT value, version FROM counter WHERE id = ${id}`,
      ([row]) =>
        Occ.update({
          table: "counter",
          key: { id },
          version: { column: "version", expected: row!.version },
          set: { value: row!.value + 1 }
        })
    )),
    Schedule.forever
  )

// internal

const valueOf = (row: { readonly _tag: string; readonly value?: Record<string, unknown> }): number =>
  Number(row.value!["value"])
