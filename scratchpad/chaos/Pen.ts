/**
 * What kinds of transfers are written with.
 *
 * @since 0.1.0
 */
import type { MysqlClient } from "@effect/sql-mysql2/MysqlClient"
import type * as SqlClient from "@effect/sql/SqlClient"
import type * as Transaction from "@safesync/mysql/Transaction"
import type * as Effect from "effect/Effect"
import type * as Bank from "./Bank.js"
import type { Seeded } from "./Seeded.js"

/**
 * What a kind is written with.
 *
 * @since 0.1.0
 * @category models
 */
export interface Pen {
  readonly random: Seeded
  readonly number: number
  readonly leg: (set: Bank.AccountSet, leg: number) => Bank.Leg
  /** Notes how far the body is; for a body that opens its transaction itself. */
  readonly traced: <A, E, R>(body: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R | Transaction.Transaction>
  /** The body in a transaction. */
  readonly transact: <A, E, R>(
    body: Effect.Effect<A, E, R>,
    more?: Transaction.Options
  ) => ReturnType<typeof Transaction.run<A, E, R | Transaction.Transaction>>
  readonly options: Transaction.Options
}

/**
 * @since 0.1.0
 * @category models
 */
export interface Written {
  /** What is in the ledger when it is committed. */
  readonly legs: ReadonlyArray<Bank.Leg>
  readonly run: Effect.Effect<unknown, unknown, MysqlClient | SqlClient.SqlClient>
}
