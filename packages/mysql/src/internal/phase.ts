/**
 * What is known of the transaction on a connection, and what it means for a statement that is about to be sent.
 *
 * @internal
 */
import * as Effect from "effect/Effect"
import * as MysqlError from "../MysqlError.js"

export type Phase =
  /** No transaction: before BEGIN, and after COMMIT or ROLLBACK. */
  | { readonly _tag: "Idle" }
  /** Statements may be sent. `transaction: false`: a connection that holds a lock, and has no transaction to lose. */
  | { readonly _tag: "Open"; readonly transaction: boolean }
  /** The server has ended the transaction, or a part of it could not be undone; the connection is well. */
  | { readonly _tag: "Doomed"; readonly reason: Reason; readonly cause?: unknown }
  /** The connection is gone or in doubt. */
  | { readonly _tag: "Lost"; readonly cause: unknown }

export type Reason = MysqlError.TransactionAborted["reason"]

export const idle: Phase = { _tag: "Idle" }
export const open: Phase = { _tag: "Open", transaction: true }

/** What a statement fails with that is not sent, or COMMIT. */
export const aborted = (
  phase: Phase,
  connectionId: number,
  statement?: string | undefined
): MysqlError.TransactionAborted =>
  new MysqlError.TransactionAborted({
    reason: phase._tag === "Doomed" ? phase.reason : "connection-lost",
    connectionId,
    statement,
    cause: phase._tag === "Doomed" || phase._tag === "Lost" ? phase.cause : undefined
  })

/** What a statement dies of that comes after its transaction. */
export const outlived = (connectionId: number): Effect.Effect<never> =>
  Effect.dieMessage(
    `A statement was run on a transaction whose scope is closed (connection ${connectionId}). ` +
      "A fiber that outlives Transaction.run needs a transaction of its own."
  )

/** The defect of a statement that a savepoint would undo of which its fiber knows nothing. */
export const misplaced = (connectionId: number): Effect.Effect<never> =>
  Effect.dieMessage(
    `A statement was not sent, since its fiber was not in the innermost savepoint of its transaction (connection ${connectionId}): ` +
      "another fiber was in that one, or its own had ended. While one fiber of a transaction is in Transaction.savepoint, or in a " +
      "nested sql.withTransaction, only that fiber and those that it has forked there run statements."
  )

/** The defect of a plain statement whose client is not the transaction's. */
export const foreign = (connectionId: number): Effect.Effect<never> =>
  Effect.dieMessage(
    `A statement of another client was not sent: the transaction that is open is not that client's (connection ${connectionId}). ` +
      "Run it outside, or in a transaction of its own: Transaction.run with its client as MysqlClient."
  )

/** COMMIT is not sent while a fiber is half way through a savepoint. */
export const leftOpen = (connectionId: number): string =>
  `The body of a transaction ended while another of its fibers was in a savepoint (connection ${connectionId}): it is rolled back. ` +
  "Wait for the fiber before the body ends."
