/**
 * @internal
 */
import type * as SqlClient from "@effect/sql/SqlClient"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as MysqlError from "../MysqlError.js"
import * as outside from "./outside.js"

/**
 * Deletes the rows that are older than that by their timestamp when it begins, batch by batch, and says how many. What gets as old
 * meanwhile stays, or small batches would never come to an end beside those who write.
 */
export const olderThan = (
  module: string,
  table: string,
  timestamp: string,
  options: { readonly olderThan: Duration.DurationInput; readonly batchSize?: number | undefined }
): Effect.Effect<number, MysqlError.MysqlError | MysqlError.TransactionAborted, SqlClient.SqlClient> =>
  Effect.suspend(() => {
    const batchSize = options.batchSize ?? 1_000
    if (!Number.isSafeInteger(batchSize) || batchSize < 1) {
      return Effect.dieMessage(
        `A batch has a whole number of rows, at least one: ${batchSize} would never come to an end`
      )
    }
    const micros = Math.round(Duration.toMillis(options.olderThan) * 1_000)
    // Nothing is older than three centuries.
    if (micros > Number.MAX_SAFE_INTEGER) return Effect.succeed(0)
    const begun = performance.now()
    // Moments are compared in UTC: in a zone that sets its clocks back, an hour comes twice.
    const batch = Effect.suspend(() =>
      outside.write({
        name: `${module}.purge`,
        operation: "DELETE",
        table,
        sql: `DELETE /*+ SET_VAR(time_zone = '+00:00') */ FROM ${table} ` +
          `WHERE ${timestamp} < CURRENT_TIMESTAMP(6) - INTERVAL ? MICROSECOND ORDER BY ${timestamp} LIMIT ?`,
        values: [micros + Math.round((performance.now() - begun) * 1_000), batchSize]
      })
    )
    const go = (total: number): typeof batch =>
      Effect.flatMap(
        batch,
        (affected) => affected < batchSize ? Effect.succeed(total + affected) : go(total + affected)
      )
    return go(0)
  })
