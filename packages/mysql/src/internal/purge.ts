/**
 * @internal
 */
import * as SqlClient from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as MysqlError from "../MysqlError.js"

/** Deletes the rows that are older than that by their timestamp, batch by batch, and says how many. */
export const olderThan = (
  table: string,
  timestamp: string,
  options: { readonly olderThan: Duration.DurationInput; readonly batchSize?: number | undefined }
): Effect.Effect<number, MysqlError.MysqlError | MysqlError.TransactionAborted, SqlClient.SqlClient> =>
  Effect.flatMap(SqlClient.SqlClient, (sql) => {
    const batchSize = options.batchSize ?? 1_000
    if (!Number.isSafeInteger(batchSize) || batchSize < 1) {
      return Effect.dieMessage(
        `A batch has a whole number of rows, at least one: ${batchSize} would never come to an end`
      )
    }
    const micros = Math.round(Duration.toMillis(options.olderThan) * 1_000)
    // Nothing is older than for ever.
    if (!Number.isFinite(micros)) return Effect.succeed(0)
    const batch = sql`DELETE FROM ${sql(table)}
      WHERE ${sql(timestamp)} < CURRENT_TIMESTAMP(6) - INTERVAL ${sql.literal(String(micros))} MICROSECOND
      ORDER BY ${sql(timestamp)} LIMIT ${sql.literal(String(batchSize))}`
    const go = (total: number): Effect.Effect<number, SqlError> =>
      Effect.flatMap(batch.raw, (result) => {
        const { affectedRows } = result as { readonly affectedRows: number }
        return affectedRows < batchSize ? Effect.succeed(total + affectedRows) : go(total + affectedRows)
      })
    return MysqlError.refail(go(0))
  })
