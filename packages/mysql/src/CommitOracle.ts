/**
 * The table of the commit-outcome oracle: what a transaction with the option `commitOracle` leaves behind, so that a second
 * connection can say what became of it when the answer to COMMIT was lost.
 *
 * It has one row for each committed transaction that used the option, written in COMMIT's own packet: no round trip more.
 * A transaction in which `Inbox.once` has run needs none, its row of the inbox serves.
 *
 * @example
 * import * as SqlClient from "@effect/sql/SqlClient"
 * import * as Effect from "effect/Effect"
 * import * as Schedule from "effect/Schedule"
 * import * as Transaction from "@safesync/mysql/Transaction"
 *
 * const pay = (id: number) =>
 *   Effect.flatMap(SqlClient.SqlClient, (sql) => sql`UPDATE invoice SET paid = 1 WHERE id = ${id}`).pipe(
 *     Transaction.run({ commitOracle: Schedule.intersect(Schedule.spaced("200 millis"), Schedule.recurs(50)) })
 *   )
 *
 * @since 0.1.0
 */
import type * as SqlClient from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import type * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import * as outside from "./internal/outside.js"
import * as purged from "./internal/purge.js"
import type * as MysqlError from "./MysqlError.js"

/**
 * The table of the markers.
 *
 * @since 0.1.0
 * @category migrations
 */
export const table = "safesync_commit"

/**
 * Creates the oracle's table where it does not exist; fits `Migrator` of @effect/sql. It is DDL, which commits: not to be
 * run inside a transaction.
 *
 * @since 0.1.0
 * @category migrations
 */
export const migration: Effect.Effect<void, SqlError, SqlClient.SqlClient> = outside.create(
  `CREATE TABLE IF NOT EXISTS safesync_commit (
    marker BINARY(16) NOT NULL PRIMARY KEY,
    committed TINYINT NOT NULL,
    written_at TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
    KEY written_at (written_at)
  ) ENGINE = InnoDB`
)

/**
 * Forgets markers that are older than `olderThan`, which must exceed the longest time for which a lost COMMIT is asked
 * about. Deletes in batches, each a transaction of its own, so that no lock is held for long: not to be run inside a
 * transaction. Returns how many. A failure leaves what earlier batches have deleted deleted.
 *
 * @example
 * import * as Effect from "effect/Effect"
 * import * as Schedule from "effect/Schedule"
 * import * as CommitOracle from "@safesync/mysql/CommitOracle"
 *
 * const daily = Effect.repeat(CommitOracle.purge({ olderThan: "1 day" }), Schedule.spaced("1 day"))
 *
 * @since 0.1.0
 * @category maintenance
 */
export const purge = (options: {
  readonly olderThan: Duration.DurationInput
  /** Rows a batch; default 1,000. */
  readonly batchSize?: number | undefined
}): Effect.Effect<number, MysqlError.MysqlError | MysqlError.TransactionAborted, SqlClient.SqlClient> =>
  purged.olderThan("CommitOracle", table, "written_at", options)
