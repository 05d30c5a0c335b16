/**
 * A statement of this package's own outside of any transaction of the caller's: a transaction of its own, in one packet, on a
 * connection of the pool. So it is durable where the session has no `autocommit`, and a read sees what is committed, and nothing else,
 * at whatever isolation level the session begins its transactions.
 *
 * @internal
 */
import type * as MysqlClient from "@effect/sql-mysql2/MysqlClient"
import * as Client from "@effect/sql/SqlClient"
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as MysqlError from "../MysqlError.js"
import * as ambient from "./ambient.js"
import * as Begin from "./begin.js"
import * as own from "./own.js"
import * as phase from "./phase.js"
import * as reservation from "./reservation.js"
import type { Session } from "./session.js"
import { isOk } from "./statements.js"
import * as tracing from "./tracing.js"

/** How long an answer is waited for: longer than the server waits for a lock, as long as it is left alone. */
const boundMillis = 60_000

export interface Statement {
  /** The function that the caller has called. */
  readonly name: string
  readonly operation: "SELECT" | "DELETE"
  readonly table: string
  readonly sql: string
  /** Numbers and bytes. */
  readonly values: ReadonlyArray<unknown>
}

type Run<A> = Effect.Effect<A, MysqlError.MysqlError, Client.SqlClient>

/** The rows of a committed state. */
export const select = <A>(statement: Statement, one: (row: own.Reader) => A): Run<ReadonlyArray<A>> =>
  Effect.flatMap(
    run(statement, `${Begin.commit}; SET TRANSACTION ISOLATION LEVEL READ COMMITTED; START TRANSACTION READ ONLY`, 3),
    (rows) => Array.isArray(rows) ? own.read(statement.sql, rows, one) : Effect.fail(own.unreadable(statement.sql))
  )

/** `select` for a statement that always answers with one row. */
export const selectOne = <A>(statement: Statement, one: (row: own.Reader) => A): Run<A> =>
  Effect.flatMap(
    select(statement, one),
    (all) => all.length === 1 ? Effect.succeed(all[0]!) : Effect.fail(own.unreadable(statement.sql))
  )

/** How many rows a statement has changed. */
export const write = (statement: Statement): Run<number> =>
  Effect.flatMap(
    run(statement, "START TRANSACTION READ WRITE", 1),
    (ok) => isOk(ok) ? Effect.succeed(Number(ok.affectedRows)) : Effect.fail(own.unreadable(statement.sql))
  )

// internal

/** The answer to the statement, which is the one behind so many. */
const run = (statement: Statement, begin: string, before: number): Run<unknown> =>
  Effect.contextWithEffect((context: Context.Context<Client.SqlClient>) => {
    if (ambient.open(context) !== undefined) {
      return Effect.dieMessage(`${statement.name} was called inside a transaction: it has one of its own`)
    }
    const client = context.unsafeMap.get(Client.SqlClient.key) as MysqlClient.MysqlClient
    const packet = `${begin}; ${own.text(statement.sql, statement.values)}; ${Begin.commit}`
    return Effect.uninterruptibleMask((restore) =>
      Effect.flatMap(reservation.make(client, restore), (reserved) => {
        const { session } = reserved
        session.phase = phase.open
        const answers = tracing.span(
          `${statement.operation} ${statement.table}`,
          "client",
          () => tracing.operation(statement.operation, session.database, statement.table),
          Effect.mapError(session.whole(packet, boundMillis, statement.sql), ({ error }) => error)
        )
        return Effect.flatMap(Effect.exit(restore(answers)), (exit) =>
          Effect.zipRight(
            Effect.zipRight(Exit.isSuccess(exit) ? Effect.void : undo(session), reservation.release(reserved)),
            Exit.map(exit, (results) => results[before])
          ))
      })
    )
  })

/** A connection goes back without a transaction, or not at all. */
const undo = (session: Session): Effect.Effect<void> =>
  session.phase._tag === "Lost"
    ? Effect.void
    : Effect.catchAll(session.control(Begin.rollback, boundMillis, phase.idle), ({ error }) =>
      Effect.sync(() => session.abandon(error)))
