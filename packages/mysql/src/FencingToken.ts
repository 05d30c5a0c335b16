/**
 * Numbers that only grow, one sequence for each lock name, issued to the lock's holder. A holder who lost the lock
 * without knowing it has a smaller number than his successor, and the guard refuses to let his transaction commit.
 *
 * @since 0.1.0
 */
import * as SqlClient from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type { AdvisoryLock } from "./AdvisoryLock.js"
import * as bytes from "./internal/bytes.js"
import type * as MysqlError from "./MysqlError.js"
import { Transaction } from "./Transaction.js"

/**
 * A number that grows with each holder of a lock: whoever comes with a lower one has lost the lock since.
 *
 * @since 0.1.0
 * @category models
 */
export interface FencingToken {
  /** The lock's name. */
  readonly name: string
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
    token: Schema.Number,
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
export const migration: Effect.Effect<void, SqlError, SqlClient.SqlClient> = Effect.flatMap(
  SqlClient.SqlClient,
  (sql) =>
    Effect.asVoid(sql`
      CREATE TABLE IF NOT EXISTS safesync_fencing_token (
        name VARBINARY(255) NOT NULL PRIMARY KEY,
        token BIGINT NOT NULL
      ) ENGINE = InnoDB`)
)

/**
 * The next token of a lock that is held, written over the lock's own connection: who has lost the lock cannot be issued
 * one.
 *
 * @since 0.1.0
 * @category constructors
 */
export const issue = (
  lock: AdvisoryLock
): Effect.Effect<FencingToken, MysqlError.MysqlError | MysqlError.TransactionAborted> =>
  Effect.map(
    lock.session.write(
      "INSERT INTO safesync_fencing_token (name, token) VALUES (?, LAST_INSERT_ID(1)) " +
        "ON DUPLICATE KEY UPDATE token = LAST_INSERT_ID(token + 1)",
      [bytes.bounded(lock.name, 255)]
    ),
    ({ insertId }) => ({ name: lock.name, token: insertId })
  )

/**
 * Refuses the transaction to a holder whose token is stale. From here to COMMIT no later token can be issued: the
 * sequence's row is locked in share mode, so a successor waits until this transaction has ended.
 *
 * @since 0.1.0
 * @category guards
 */
export const guard = (
  { name, token }: FencingToken
): Effect.Effect<void, FencingTokenStale | MysqlError.MysqlError | MysqlError.TransactionAborted, Transaction> =>
  Effect.flatMap(Transaction, ({ session }) =>
    Effect.flatMap(
      session.select("SELECT token FROM safesync_fencing_token WHERE name = ? LOCK IN SHARE MODE", [
        bytes.bounded(name, 255)
      ]),
      ([row]) => {
        const current = Number(row?.["token"] ?? 0)
        return current === token ? Effect.void : Effect.fail(new FencingTokenStale({ name, token, current }))
      }
    ))
