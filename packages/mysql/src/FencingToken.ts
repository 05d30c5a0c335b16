/**
 * Numbers that only grow, one sequence for each lock name, issued to the lock's holder. A holder who lost the lock
 * without knowing it has a smaller number than his successor, and the guard refuses to let his transaction commit.
 *
 * @since 0.1.0
 */
import type * as SqlClient from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type { AdvisoryLock } from "./AdvisoryLock.js"
import { bounded } from "./internal/bounded.js"
import * as duration from "./internal/duration.js"
import * as outside from "./internal/outside.js"
import * as own from "./internal/own.js"
import type * as MysqlError from "./MysqlError.js"
import { Transaction } from "./Transaction.js"

/**
 * A number of the lock's sequence. It is plain data: it may be handed to whoever writes for the holder.
 *
 * @since 0.1.0
 * @category models
 */
export interface FencingToken {
  /** The lock's name. */
  readonly name: string
  /** The server's name of the lock, which holds the namespace too: tokens of one sequence have the same. */
  readonly lock: string
  /** 1 for the first holder that asked, and one more for each later one. */
  readonly token: number
}

/**
 * A later holder of the lock has been issued a token: this one's work must not be committed.
 *
 * @since 0.1.0
 * @category errors
 */
export class FencingTokenStale
  extends Schema.TaggedError<FencingTokenStale>("@safesync/mysql/FencingTokenStale")("FencingTokenStale", {
    name: Schema.String,
    /** The holder's own. */
    token: Schema.Number,
    /** The newest that was issued; 0 where there is none, as after the table was emptied. */
    current: Schema.Number
  })
{
  override get message() {
    return `The lock ${this.name} has had another holder since: token ${this.token} is stale, ${this.current} is current`
  }
}

/**
 * Creates the table of the tokens where it does not exist. It is DDL, which commits: not to be run inside a transaction.
 *
 * @since 0.1.0
 * @category migrations
 */
export const migration: Effect.Effect<void, SqlError, SqlClient.SqlClient> = outside.create(
  `CREATE TABLE IF NOT EXISTS safesync_fencing_token (
    name VARBINARY(64) NOT NULL PRIMARY KEY,
    token BIGINT NOT NULL
  ) ENGINE = InnoDB`
)

/**
 * The next token of a lock that is held, written over the lock's own connection: who has lost the lock cannot be issued
 * one: it fails with `ConnectionLost` or `TransactionAborted`. It waits for transactions in which the guard of an earlier token has
 * passed. Needs the table of `migration`.
 *
 * @example
 * import * as SqlClient from "@effect/sql/SqlClient"
 * import * as Effect from "effect/Effect"
 * import * as AdvisoryLock from "@safesync/mysql/AdvisoryLock"
 * import * as FencingToken from "@safesync/mysql/FencingToken"
 * import * as Transaction from "@safesync/mysql/Transaction"
 *
 * const nightly = (work: Effect.Effect<void>) =>
 *   Effect.scoped(Effect.gen(function*() {
 *     const sql = yield* SqlClient.SqlClient
 *     const lock = yield* AdvisoryLock.acquire("nightly", { timeout: 0 })
 *     const token = yield* FencingToken.issue(lock)
 *     yield* work
 *     yield* FencingToken.guard(token).pipe(
 *       Effect.zipRight(sql`INSERT INTO nightly_run (day) VALUES (CURRENT_DATE)`),
 *       Transaction.run()
 *     )
 *   }))
 *
 * @since 0.1.0
 * @category constructors
 */
export const issue = (
  lock: AdvisoryLock
): Effect.Effect<FencingToken, MysqlError.MysqlError | MysqlError.TransactionAborted> =>
  Effect.map(
    bounded(lock.session.write(next, [Buffer.from(lock.encoded)]), next),
    ({ insertId }) => ({ name: lock.name, lock: lock.encoded, token: Number(insertId) })
  )

/**
 * Refuses the transaction to a holder whose token is stale, with `FencingTokenStale`: let that fail the transaction. From here to
 * COMMIT no later token can be issued: the sequence's row is locked in share mode, so a successor waits until this transaction has
 * ended. Where it stands among the transaction's statements does not matter.
 *
 * @since 0.1.0
 * @category guards
 */
export const guard = (
  { lock, name, token }: FencingToken
): Effect.Effect<void, FencingTokenStale | MysqlError.MysqlError | MysqlError.TransactionAborted, Transaction> =>
  Effect.flatMap(Transaction, ({ session }) =>
    Effect.flatMap(
      Effect.flatMap(
        session.ask(selectToken, [Buffer.from(lock)]),
        (rows) => own.read(selectToken, rows, (row) => row.number(0))
      ),
      ([current = 0]) => current === token ? Effect.void : Effect.fail(new FencingTokenStale({ name, token, current }))
    ))

// internal

const next = "INSERT INTO safesync_fencing_token (name, token) VALUES (?, LAST_INSERT_ID(1)) " +
  "ON DUPLICATE KEY UPDATE token = LAST_INSERT_ID(token + 1)"

const selectToken =
  `SELECT ${duration.untimed} token FROM safesync_fencing_token WHERE name = ? LIMIT 1 LOCK IN SHARE MODE`
