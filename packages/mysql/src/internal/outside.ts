/**
 * A statement of this package's own outside of any transaction of the caller's: a transaction of its own, in one packet, on a
 * connection of the pool. So it is durable where the session has no `autocommit`, and a read sees what is committed, and nothing else,
 * at whatever isolation level the session begins its transactions.
 *
 * @internal
 */
import type { MysqlClient } from "@effect/sql-mysql2/MysqlClient"
import * as Client from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as MysqlError from "../MysqlError.js"
import * as ambient from "./ambient.js"
import * as Begin from "./begin.js"
import { bounded, boundMillis } from "./bounded.js"
import * as own from "./own.js"
import * as phase from "./phase.js"
import * as reservation from "./reservation.js"
import type { Session } from "./session.js"
import { isOk } from "./statements.js"
import { asSqlError } from "./submission.js"
import * as tracing from "./tracing.js"

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
    run(statement, [Begin.commit, "SET TRANSACTION ISOLATION LEVEL READ COMMITTED", "START TRANSACTION READ ONLY"]),
    (rows) => Array.isArray(rows) ? own.read(statement.sql, rows, one) : Effect.fail(own.unreadable(statement.sql))
  )

/**
 * Creates what a module needs; fails as a migration of @effect/sql does. In an open transaction they are statements of that: the
 * `Migrator` of @effect/sql runs migrations in one.
 */
export const create = (...statements: ReadonlyArray<string>): Effect.Effect<void, SqlError, Client.SqlClient> =>
  Effect.contextWithEffect((context: Context.Context<Client.SqlClient>) => {
    const client = clientOf(context)
    const isInside = context.unsafeMap.has(Client.TransactionConnection.key)
    return Effect.forEach(statements, (sql): Effect.Effect<unknown, SqlError> =>
      isInside
        ? client.unsafe(sql).raw
        : Effect.mapError(alone(client, [sql, Begin.commit], sql), asSqlError), { discard: true })
  })

/** `select` for a statement that always answers with one row. */
export const selectOne = <A>(statement: Statement, one: (row: own.Reader) => A): Run<A> =>
  Effect.flatMap(
    select(statement, one),
    (all) => all.length === 1 ? Effect.succeed(all[0]!) : Effect.fail(own.unreadable(statement.sql))
  )

/** How many rows a statement has changed. */
export const write = (statement: Statement): Run<number> =>
  Effect.flatMap(
    run(statement, ["START TRANSACTION READ WRITE"]),
    (ok) => isOk(ok) ? Effect.succeed(Number(ok.affectedRows)) : Effect.fail(own.unreadable(statement.sql))
  )

// internal

const run = (statement: Statement, begin: ReadonlyArray<string>): Run<unknown> =>
  Effect.contextWithEffect((context: Context.Context<Client.SqlClient>) => {
    const client = clientOf(context)
    if (ambient.open(context, client) !== undefined) {
      return Effect.dieMessage(`${statement.name} was called inside a transaction: it has one of its own`)
    }
    const { operation, sql, table, values } = statement
    const packet = [...begin, own.text(sql, values), Begin.commit]
    return Effect.map(
      alone(
        client,
        packet,
        sql,
        (answers, { database }) =>
          tracing.span(`${operation} ${table}`, "client", () => tracing.operation(operation, database, table), answers)
      ),
      (results) => results[begin.length]
    )
  })

/** The answers to statements that are sent in one packet, and leave no transaction behind. `told` is what an error shows. */
const alone = (
  client: MysqlClient,
  statements: ReadonlyArray<string>,
  told: string,
  spanned: <A, E>(answers: Effect.Effect<A, E>, session: Session) => Effect.Effect<A, E> = (answers) => answers
): Effect.Effect<ReadonlyArray<unknown>, MysqlError.MysqlError> =>
  bounded(
    Effect.uninterruptibleMask((restore) =>
      Effect.flatMap(reservation.make(client, restore), (session) => {
        session.phase = phase.open
        const answers = Effect.mapError(session.whole(statements.join("; "), boundMillis, told), ({ error }) => error)
        return Effect.flatMap(Effect.exit(restore(spanned(answers, session))), (exit) =>
          Effect.zipRight(
            Effect.zipRight(Exit.isSuccess(exit) ? Effect.void : undo(session), reservation.release(session)),
            exit
          ))
      })
    ),
    told
  )

const clientOf = (context: Context.Context<never>): MysqlClient => context.unsafeMap.get(Client.SqlClient.key)

/** The server has ended the statement by then, so that there is nothing to wait for. */
const undoMillis = 500

/** A connection goes back without a transaction, or not at all. */
const undo = (session: Session): Effect.Effect<void> =>
  session.phase._tag === "Lost"
    ? Effect.void
    : Effect.catchAll(session.control(Begin.rollback, undoMillis, phase.idle), ({ error }) =>
      Effect.sync(() => session.abandon(error)))
