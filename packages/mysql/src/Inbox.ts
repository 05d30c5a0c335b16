/**
 * The inbox makes handling a message idempotent: its id is written in the same transaction as its effects, so both are
 * there or neither is, and a message that comes again finds its id.
 *
 * @since 0.1.0
 */
import * as SqlClient from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import * as bytes from "./internal/bytes.js"
import * as MysqlError from "./MysqlError.js"
import * as MysqlMetrics from "./MysqlMetrics.js"
import { Transaction } from "./Transaction.js"

/**
 * The inbox's table. Ids are compared byte by byte, whatever the database's collation.
 *
 * @since 0.1.0
 * @category migrations
 */
export const table = "safesync_inbox"

/**
 * Creates the inbox's table where it does not exist; fits `Migrator` of @effect/sql. It is DDL, which commits: not to be
 * run inside a transaction.
 *
 * @since 0.1.0
 * @category migrations
 */
export const migration: Effect.Effect<void, SqlError, SqlClient.SqlClient> = Effect.flatMap(
  SqlClient.SqlClient,
  (sql) =>
    Effect.asVoid(sql`
      CREATE TABLE IF NOT EXISTS safesync_inbox (
        consumer_group VARBINARY(255) NOT NULL,
        message_id VARBINARY(255) NOT NULL,
        processed_at TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
        PRIMARY KEY (consumer_group, message_id),
        KEY processed_at (processed_at)
      ) ENGINE = InnoDB`)
)

/**
 * Runs an effect unless this group has processed the message before; then the answer is none and nothing is run.
 * When another transaction is processing the same message right now, this waits until that one has ended.
 *
 * An id of more than 255 bytes is remembered by its SHA-256.
 *
 * @example
 * import * as SqlClient from "@effect/sql/SqlClient"
 * import * as Effect from "effect/Effect"
 * import * as Inbox from "@safesync/mysql/Inbox"
 * import * as Transaction from "@safesync/mysql/Transaction"
 *
 * const credit = (messageId: string, account: number, pence: number) =>
 *   Effect.flatMap(SqlClient.SqlClient, (sql) =>
 *     sql`UPDATE account SET balance = balance + ${pence} WHERE id = ${account}`
 *   ).pipe(
 *     Inbox.once(messageId, "billing"),
 *     Transaction.run()
 *   )
 *
 * @since 0.1.0
 * @category combinators
 */
export const once = (messageId: string, group: string) =>
<A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<
  Option.Option<A>,
  E | MysqlError.MysqlError | MysqlError.TransactionAborted,
  R | Transaction
> =>
  Effect.flatMap(
    Transaction,
    ({ session }) =>
      Effect.matchEffect(session.write(insert, [bytes.bounded(group, 255), bytes.bounded(messageId, 255)]), {
        onSuccess: () => Effect.asSome(effect),
        onFailure: (error) =>
          error._tag === "DuplicateKey"
            ? Effect.as(Metric.increment(MysqlMetrics.inboxDuplicates), Option.none<A>())
            : Effect.fail(error)
      })
  )

/**
 * Forgets messages that were processed longer ago than `olderThan`, which must exceed the time for which a message may
 * come again. Deletes in batches, each a transaction of its own, so that no lock is held for long. Returns how many.
 *
 * @since 0.1.0
 * @category maintenance
 */
export const purge = (options: {
  readonly olderThan: Duration.DurationInput
  /** Rows a batch; default 1,000. */
  readonly batchSize?: number | undefined
}): Effect.Effect<number, MysqlError.MysqlError | MysqlError.TransactionAborted, SqlClient.SqlClient> =>
  Effect.flatMap(SqlClient.SqlClient, (sql) => {
    const batchSize = options.batchSize ?? 1_000
    const micros = Math.round(Duration.toMillis(options.olderThan) * 1_000)
    const batch = sql`DELETE FROM safesync_inbox
      WHERE processed_at < CURRENT_TIMESTAMP(6) - INTERVAL ${sql.literal(String(micros))} MICROSECOND
      ORDER BY processed_at LIMIT ${sql.literal(String(batchSize))}`
    const go = (total: number): Effect.Effect<number, SqlError> =>
      Effect.flatMap(batch.raw, (result) => {
        const { affectedRows } = result as { readonly affectedRows: number }
        return affectedRows < batchSize ? Effect.succeed(total + affectedRows) : go(total + affectedRows)
      })
    return MysqlError.refail(go(0))
  })

// ---------------------------------------------------------------------------------------------------------------------
// internal
// ---------------------------------------------------------------------------------------------------------------------

const insert = `INSERT INTO ${table} (consumer_group, message_id) VALUES (?, ?)`
