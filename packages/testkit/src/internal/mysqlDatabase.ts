import type * as MysqlClient from "@effect/sql-mysql2/MysqlClient"
import { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import { randomBytes } from "node:crypto"
import type { DatabaseOptions } from "../MysqlServer.js"
import * as MysqlConnection from "./mysqlConnection.js"
import * as ServerUrl from "./serverUrl.js"

/** Creates an empty database, which is dropped with the scope, and answers with its name. */
export const fresh = (url: Redacted.Redacted<string>): Effect.Effect<string, SqlError, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.suspend(() => {
      const name = `safesync_${randomBytes(6).toString("hex")}`
      return Effect.as(MysqlConnection.ask(url, `CREATE DATABASE ${name}`), name).pipe(
        Effect.mapError((cause) =>
          new SqlError({ cause, message: `A fresh database could not be created: ${why(cause)}` })
        )
      )
    }),
    (name) =>
      Effect.catchAllCause(drop(url, name), (cause) => Effect.logWarning(`The database ${name} is left behind`, cause))
  )

/** What a client is told to use a database of that server. */
export const config = (
  url: Redacted.Redacted<string>,
  database: string,
  options: DatabaseOptions
): MysqlClient.MysqlClientConfig => {
  const parsed = new URL(Redacted.value(url))
  const maxConnections = options.maxConnections ?? 10
  return {
    ...options,
    maxConnections,
    host: ServerUrl.host(parsed),
    port: Number(parsed.port || 3306),
    username: decodeURIComponent(parsed.username),
    password: Redacted.make(decodeURIComponent(parsed.password)),
    database,
    // idle connections stay: taking them down is no part of any test
    poolConfig: { maxIdle: maxConnections, ...parameters(parsed), ...options.poolConfig }
  }
}

// internal

/** What the server's refusal to create a database means to the user. */
const why = ({ code, message }: MysqlConnection.MysqlRefused): string => {
  switch (code) {
    case "ER_DBACCESS_DENIED_ERROR":
      return "this login may not create databases. Grant it all on `safesync\\_%`.*, or use another one."
    case "ER_OPTION_PREVENTS_STATEMENT":
      return "the server is read-only. Use one that takes writes."
    default:
      return message
  }
}

const drop = (url: Redacted.Redacted<string>, name: string) =>
  Effect.scoped(Effect.gen(function*() {
    const connection = yield* MysqlConnection.connect(url)
    const left = MysqlConnection.query(
      connection,
      "SELECT PROCESSLIST_ID AS id FROM performance_schema.threads WHERE PROCESSLIST_DB = ? AND TYPE = 'FOREGROUND'",
      [name]
    )
    const kill = ({ id }: { readonly id?: unknown }) =>
      Effect.ignore(MysqlConnection.query(connection, `KILL ${Number(id)}`))
    // Whoever may not see or kill others drops all the same, and waits for them if they are in a transaction.
    yield* Effect.ignore(Effect.flatMap(left, (rows) => Effect.forEach(rows, kill)))
    yield* MysqlConnection.query(connection, `DROP DATABASE IF EXISTS ${name}`)
  }))

/** The driver's options that a URL carries, such as `?ssl={"rejectUnauthorized":false}`. */
const parameters = (url: URL): Record<string, unknown> =>
  Object.fromEntries(
    [...url.searchParams].map(([key, value]) => {
      try {
        return [key, JSON.parse(value)]
      } catch {
        return [key, value]
      }
    })
  )
