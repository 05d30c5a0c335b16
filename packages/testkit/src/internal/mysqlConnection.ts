import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import * as Mysql from "mysql2"

/** A failure of the driver, as little of it as is needed. `message` is the server's or the system's own text. */
export class MysqlRefused extends Data.TaggedError("MysqlRefused")<{
  readonly code: string | undefined
  readonly message: string
}> {}

const refused = (cause: unknown): MysqlRefused => {
  const { code, message } = cause as { code?: string; message?: string }
  return new MysqlRefused({ code, message: message ?? String(cause) })
}

/** One connection beside every pool. It is destroyed, not ended: a server that is paused cannot hold up the scope. */
export const connect = (
  url: Redacted.Redacted<string>
): Effect.Effect<Mysql.Connection, MysqlRefused, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.try({
      try: () => Mysql.createConnection({ uri: Redacted.value(url), connectTimeout: 5_000, supportBigNumbers: true }),
      catch: refused
    }),
    (connection) => Effect.sync(() => connection.destroy())
  ).pipe(
    Effect.tap((connection) =>
      Effect.async<void, MysqlRefused>((resume) => {
        // the listener stays: a later loss of the connection would otherwise be an unhandled "error" event
        connection.on("error", (cause) => resume(refused(cause)))
        connection.on("connect", () => resume(Effect.void))
      })
    )
  )

/** Asks one question, in at most 15 seconds. */
export const query = (
  connection: Mysql.Connection,
  sql: string,
  values: ReadonlyArray<unknown> = []
): Effect.Effect<ReadonlyArray<Readonly<Record<string, unknown>>>, MysqlRefused> =>
  Effect.async((resume) => {
    connection.query({ sql, values: [...values], timeout: 15_000 }, (cause, rows) =>
      resume(cause === null ? Effect.succeed(rows as ReadonlyArray<Record<string, unknown>>) : refused(cause)))
  })

/** Asks one question over a connection of its own. */
export const ask = (
  url: Redacted.Redacted<string>,
  sql: string,
  values: ReadonlyArray<unknown> = []
): Effect.Effect<ReadonlyArray<Readonly<Record<string, unknown>>>, MysqlRefused> =>
  Effect.scoped(Effect.flatMap(connect(url), (connection) => query(connection, sql, values)))
