/**
 * The inbox makes handling a message idempotent: its id is written in the same transaction as its effects, so both are
 * there or neither is, and a message that comes again finds its id.
 *
 * @since 0.1.0
 */
import * as SqlClient from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import * as bytes from "./internal/bytes.js"
import * as purged from "./internal/purge.js"
import type * as MysqlError from "./MysqlError.js"
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
        commit_marker BINARY(16),
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
  Effect.flatMap(Transaction, ({ commitOracle, session }) => {
    const row = { group: bytes.bounded(group, 255), messageId: bytes.bounded(messageId, 255) }
    const values = [row.group, row.messageId, commitOracle?.marker ?? null]
    return Effect.matchEffect(session.writeFirst(insert, values, asText), {
      onSuccess: () => {
        // Its row tells what became of the transaction.
        if (commitOracle !== undefined) commitOracle.inbox ??= row
        return Effect.asSome(effect)
      },
      onFailure: (error) =>
        error._tag === "DuplicateKey"
          ? Effect.as(Metric.increment(MysqlMetrics.inboxDuplicates), Option.none<A>())
          : Effect.fail(error)
    })
  })

/**
 * `once` for many messages: remembers them all, and answers with the ids of those that this group has not processed before,
 * each once. Their effects belong into the same transaction. Waits as `once` does.
 *
 * One statement where all are new. Where some are known the statement fails as a whole, and is tried with either half: only
 * an insert says which row is there without locking the gaps in which others are about to insert, as locking reads do under
 * REPEATABLE READ. Ids are inserted in one order everywhere. Where several transactions wait for the same id and the one
 * that has it is rolled back, InnoDB may still choose a victim among those that waited: a `Deadlock`.
 *
 * @since 0.1.0
 * @category operations
 */
export const onceMany = (messageIds: Iterable<string>, group: string): Effect.Effect<
  ReadonlyArray<string>,
  MysqlError.MysqlError | MysqlError.TransactionAborted,
  Transaction
> =>
  Effect.flatMap(Transaction, ({ commitOracle, session }) => {
    const boundedGroup = bytes.bounded(group, 255)
    const rows = Array.from(new Set(messageIds), (id) => ({ id, bytes: bytes.bounded(id, 255) }))
      .sort((a, b) => Buffer.compare(a.bytes, b.bytes))
    const fresh: Array<typeof rows[number]> = []
    const remember = (
      from: number,
      to: number
    ): Effect.Effect<void, MysqlError.MysqlError | MysqlError.TransactionAborted> => {
      const part = rows.slice(from, to)
      if (part.length === 0) return Effect.void
      const values = part.flatMap((row) => [boundedGroup, row.bytes, commitOracle?.marker ?? null])
      return Effect.matchEffect(session.writeFirst(insertMany(part.length), values, asText), {
        onSuccess: () => Effect.sync(() => fresh.push(...part)),
        onFailure: (error) => {
          if (error._tag !== "DuplicateKey") return Effect.fail(error)
          if (part.length === 1) return Metric.increment(MysqlMetrics.inboxDuplicates)
          const middle = (from + to) >> 1
          return Effect.zipRight(remember(from, middle), remember(middle, to))
        }
      })
    }
    return Effect.zipRight(
      remember(0, rows.length),
      Effect.suspend(() => {
        const ids = fresh.map(({ id }) => id)
        if (commitOracle !== undefined && fresh.length > 0) {
          commitOracle.inbox ??= { group: boundedGroup, messageId: fresh[0]!.bytes }
        }
        return Effect.succeed(ids)
      })
    )
  })

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
  purged.olderThan(table, "processed_at", options)

// ---------------------------------------------------------------------------------------------------------------------
// internal
// ---------------------------------------------------------------------------------------------------------------------

const insertMany = (count: number): string =>
  `INSERT INTO ${table} (consumer_group, message_id, commit_marker) VALUES ${Array(count).fill("(?, ?, ?)").join(", ")}`

const insert = insertMany(1)

const asText = (values: ReadonlyArray<unknown>): string => {
  const rows: Array<string> = []
  for (let i = 0; i < values.length; i += 3) rows.push(`(${values.slice(i, i + 3).map(bytes.literal).join(", ")})`)
  return `INSERT INTO ${table} (consumer_group, message_id, commit_marker) VALUES ${rows.join(", ")}`
}
