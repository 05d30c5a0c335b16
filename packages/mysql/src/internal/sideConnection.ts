/**
 * Connections that are not from the pool: the pool may be exhausted by the very statements that somebody else is to end or
 * to ask about.
 *
 * @internal
 */
import type { MysqlClientConfig } from "@effect/sql-mysql2/MysqlClient"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import * as Mysql from "mysql2"
import { Socket } from "node:net"
import * as MysqlError from "../MysqlError.js"
import * as own from "./own.js"

const connectMillis = 2_000

/**
/**
 * How long a connection is silent before the kernel asks whether the other side is still there; ten questions without an answer,
 * one a second, and the connection is closed. The system's own default is two hours.
 */
export const keepAliveMillis = 10_000

/**
 * A connection to where the client's pool connects to, as the same user, whose session is as `settings` says, whatever the server's
 * defaults are. `ready` is called once, when it can be used or with the reason why not. It does not throw: some callers are called by
 * timers and sockets. A configuration that the driver refuses makes a connection that is lost.
 */
export const open = (config: MysqlClientConfig, ready: (error: unknown) => void): Mysql.Connection => {
  const connection = created(config)
  // A failure of the connection itself comes here too, since this is what waits for it.
  own.send(connection, { sql: settings }, (error) => {
    if (error !== null) destroy(connection)
    ready(error)
  })
  return connection
}

const created = (config: MysqlClientConfig): Mysql.Connection => {
  try {
    return configured(config)
  } catch {
    // Without the driver's error, which holds the URL.
    const error = Object.assign(new Error("The client's configuration is refused by the driver"), {
      code: "ECONNREFUSED"
    })
    return Mysql.createConnection({
      stream: () => {
        const none = new Socket()
        process.nextTick(() => none.destroy(error))
        return none
      }
    })
  }
}

const configured = (config: MysqlClientConfig): Mysql.Connection =>
  Mysql.createConnection({
    keepAliveInitialDelay: keepAliveMillis,
    ...(config.url === undefined
      ? {
        ...config.poolConfig,
        ...(config.host === undefined ? {} : { host: config.host }),
        ...(config.port === undefined ? {} : { port: config.port }),
        ...(config.database === undefined ? {} : { database: config.database }),
        ...(config.username === undefined ? {} : { user: config.username }),
        ...(config.password === undefined ? {} : { password: Redacted.value(config.password) })
      }
      : { uri: Redacted.value(config.url) }),
    multipleStatements: true,
    connectTimeout: connectMillis,
    // Not `utf8mb4` itself, which the driver takes for a collation of its own.
    charset: "UTF8MB4_UNICODE_CI"
  })

/**
 * All that could change what a statement of this package means, or undo it. Numbers in place of names: the server reads texts of this
 * statement in the character set that the session had before.
 */
const settings =
  "SET NAMES utf8mb4, autocommit = 1, completion_type = 0, sql_mode = 0, sql_select_limit = 18446744073709551615, " +
  "sql_big_selects = 1, sql_safe_updates = 0, sql_auto_is_null = 0, max_execution_time = 0, transaction_isolation = 2, " +
  "transaction_read_only = 0"

/**
 * Away with it, whatever is under way. The driver alone only says goodbye: it would go on with a handshake that it does not expect any
 * more, and the socket would stay until the other side has closed it.
 */
export const destroy = (connection: Mysql.Connection): void => {
  connection.destroy()
  // @ts-expect-error: the socket is not in mysql2's types
  connection.stream?.destroy?.()
}

/** Says goodbye, and lets the process end before the server has answered. */
export const end = (connection: Mysql.Connection): void => {
  connection.end()
  // @ts-expect-error: the socket is not in mysql2's types
  connection.stream?.unref?.()
}

/** One for the scope. What goes wrong with it is told by the statement that is run on it. */
export const scoped = (config: MysqlClientConfig): Effect.Effect<Mysql.Connection, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.sync(() => open(config, () => {}).on("error", () => {})),
    (connection) => Effect.sync(() => destroy(connection))
  )

export type Row = Readonly<Record<string, unknown>>

/** The rows of one statement, by column. */
export const rows = (
  connection: Mysql.Connection,
  sql: string,
  values: ReadonlyArray<unknown> = []
): Effect.Effect<ReadonlyArray<Row>, MysqlError.MysqlError> =>
  Effect.async((resume) =>
    ask(
      connection,
      sql,
      values,
      (error, rows) => resume(error === null ? Effect.succeed(rows) : Effect.fail(MysqlError.fromDriver(error, sql)))
    )
  )

/** `rows`, for who is called back. */
export const ask = (
  connection: Mysql.Connection,
  sql: string,
  values: ReadonlyArray<unknown>,
  then: (error: unknown, rows: ReadonlyArray<Row>) => void
): void => {
  own.send(
    connection,
    { ...own.asRows, sql, values },
    (error, results) => then(error, Array.isArray(results) ? results : [])
  )
}
