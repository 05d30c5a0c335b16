/**
 * What a transaction itself can fail with, whatever its body does.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"
import { messageOf } from "./internal/described.js"

/**
 * No connection could be had, or BEGIN failed: nothing was done. `cause` is the `MysqlError` that says why. Since BEGIN travels with
 * the first statement, it is that statement in whose place `Transaction.run` may fail with this.
 *
 * @since 0.1.0
 * @category errors
 */
export class BeginFailed extends Schema.TaggedError<BeginFailed>("@safesync/mysql/BeginFailed")("BeginFailed", {
  cause: Schema.Defect
}) {
  override get message() {
    return `The transaction did not begin: ${messageOf(this.cause)}`
  }
}

/**
 * The server answered COMMIT with an error and has rolled back: nothing of the transaction was written. `cause` is the `MysqlError`
 * that it answered; where that is a `Deadlock`, `Occ.retry` runs the transaction again.
 *
 * @since 0.1.0
 * @category errors
 */
export class CommitFailed extends Schema.TaggedError<CommitFailed>("@safesync/mysql/CommitFailed")("CommitFailed", {
  connectionId: Schema.Number,
  cause: Schema.Defect
}) {
  override get message() {
    return `The server refused COMMIT, nothing was written: ${messageOf(this.cause)}`
  }
}

/**
 * COMMIT was sent and its answer never came, or says that somebody has killed it (1317): the transaction is either there as a whole
 * or not at all. Do not simply run it again unless running it twice is harmless; an inbox makes it so. `cause` is the `MysqlError` of
 * the connection. The option `commitOracle` of `Transaction.run` finds out which it was.
 *
 * @since 0.1.0
 * @category errors
 */
export class CommitOutcomeUnknown
  extends Schema.TaggedError<CommitOutcomeUnknown>("@safesync/mysql/CommitOutcomeUnknown")("CommitOutcomeUnknown", {
    connectionId: Schema.Number,
    cause: Schema.Defect
  })
{
  override get message() {
    return `The answer to COMMIT was lost (connection ${this.connectionId}): the transaction is there as a whole or ` +
      `not at all: ${messageOf(this.cause)}`
  }
}

/**
 * The server has ended this transaction, or nobody can say whether it has, or it must not be committed: the statement was not
 * sent, and nothing of the transaction will be committed by us.
 *
 * - `deadlock`: rolled back as the victim of a deadlock.
 * - `implicit-commit`: a statement such as `CREATE TABLE` committed what was written before it.
 * - `ended-by-server`: the server reports no open transaction, for example after a lock wait timeout under
 *   `innodb_rollback_on_timeout`.
 * - `savepoint-lost`: a part of it was to be undone and could not be, so all of it is.
 * - `connection-lost`: rolled back because its connection is gone.
 *
 * `cause` is the error that ended it, where there was one.
 *
 * @since 0.1.0
 * @category errors
 */
export class TransactionAborted
  extends Schema.TaggedError<TransactionAborted>("@safesync/mysql/TransactionAborted")("TransactionAborted", {
    reason: Schema.Literal("deadlock", "implicit-commit", "savepoint-lost", "ended-by-server", "connection-lost"),
    connectionId: Schema.Number,
    /** The statement that was refused; absent when it is COMMIT that was not sent. */
    statement: Schema.optional(Schema.String),
    cause: Schema.optional(Schema.Defect)
  })
{
  override get message() {
    const consequence = this.reason === "implicit-commit"
      ? "what was written before that statement is committed"
      : "nothing that it wrote is there"
    return `The transaction on connection ${this.connectionId} was over (${this.reason}): ${consequence}; ` +
      (this.statement === undefined ? "COMMIT was not sent" : `not sent: ${this.statement}`)
  }
}

/**
 * What a transaction itself can fail with, whatever its body does.
 *
 * @since 0.1.0
 * @category errors
 */
export type TransactionError = BeginFailed | CommitFailed | CommitOutcomeUnknown | TransactionAborted
