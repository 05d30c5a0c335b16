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
import * as MysqlError from "../MysqlError.js"

const connectMillis = 2_000

/** A connection to where the client's pool connects to, as the same user. */
export const open = (config: MysqlClientConfig): Mysql.Connection =>
  Mysql.createConnection({
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
    connectTimeout: connectMillis
  })

/**
 * Away with it, whatever is under way. The driver alone only says goodbye: it would go on with a handshake that it does not expect any
 * more, and the socket would stay until the other side has closed it.
 */
export const destroy = (connection: Mysql.Connection): void => {
  connection.destroy()
  // @ts-expect-error: the socket is not in mysql2's types
  connection.stream?.destroy?.()
}

/** One for the scope. What goes wrong with it is told by the statement that is run on it. */
export const scoped = (config: MysqlClientConfig): Effect.Effect<Mysql.Connection, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.sync(() => open(config).on("error", () => {})),
    (connection) => Effect.sync(() => destroy(connection))
  )

/** The rows of one statement, by the text protocol. */
export const rows = (
  connection: Mysql.Connection,
  sql: string,
  values: ReadonlyArray<unknown> = []
): Effect.Effect<ReadonlyArray<Record<string, unknown>>, MysqlError.MysqlError> =>
  Effect.async((resume) => {
    connection.query({ sql, values: values as Array<unknown> }, (error, results) =>
      resume(
        error === null
          ? Effect.succeed(Array.isArray(results) ? results as unknown as ReadonlyArray<Record<string, unknown>> : [])
          : Effect.fail(MysqlError.fromDriver(error, sql))
      ))
  })
