/** The database that the processes write to. */
import * as MysqlClient from "@effect/sql-mysql2/MysqlClient"
import { SqlClient } from "@effect/sql/SqlClient"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as MysqlServer from "../../MysqlServer.js"

/** Its tables, and its URL as the processes are told it: a server that was given by URL may need the URL's own parameters. */
export const prepared = Effect.gen(function*() {
  const server = yield* MysqlServer.MysqlServer
  const { config } = yield* MysqlClient.MysqlClient
  const url = new URL(Redacted.value(server.url))
  url.pathname = config.database!
  const sql = yield* SqlClient
  yield* sql`CREATE TABLE hot_row (id INT PRIMARY KEY, value INT NOT NULL, version INT NOT NULL) ENGINE = InnoDB`
  yield* sql`INSERT INTO hot_row VALUES (1, 0, 0)`
  yield* sql`CREATE TABLE new_row (name VARCHAR(64) PRIMARY KEY) ENGINE = InnoDB`
  return { sql, url: url.href }
})
