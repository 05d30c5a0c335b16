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

/** One for the scope. What goes wrong with it is told by the statement that is run on it. */
export const scoped = (config: MysqlClientConfig): Effect.Effect<Mysql.Connection, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.sync(() => open(config).on("error", () => {})),
    (connection) => Effect.sync(() => connection.destroy())
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

/** Asks for how long the server has been running. */
export const uptime = "SHOW GLOBAL STATUS LIKE 'Uptime'"

/** How long to wait before asking again, in milliseconds, when one answer did not tell. */
export const askAgainMillis = 50

/**
 * When a server was started, by `performance.now()`, as closely as its answers tell: it counts whole seconds, so one answer
 * leaves a second open, and the one at which the count goes up leaves none.
 */
export class ServerStart {
  private earliest = -Infinity
  private latest = Infinity

  observe(rows: unknown): void {
    const seconds = Number((rows as ReadonlyArray<Record<string, unknown>>)[0]?.["Value"])
    const now = performance.now()
    this.latest = Math.min(this.latest, now - seconds * 1_000)
    this.earliest = Math.max(this.earliest, now - (seconds + 1) * 1_000)
  }

  /** Whether the server is the one that was there at that moment; undefined: that is not known yet. */
  wasThere(moment: number): boolean | undefined {
    return this.latest <= moment ? true : this.earliest > moment ? false : undefined
  }
}
