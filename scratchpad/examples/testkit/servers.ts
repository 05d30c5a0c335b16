import { SqlClient } from "@effect/sql"
import { MysqlServer, RedisServer } from "@safesync/testkit"
import { Effect, Layer } from "effect"

/** Both servers, and a fresh database on one of them that is dropped at the end. */
export const Servers = MysqlServer.database().pipe(
  Layer.provideMerge(Layer.merge(MysqlServer.layer, RedisServer.layer))
)

/** A test: it ends by asking whether anything was left behind. */
export const test = Effect.gen(function*() {
  const sql = yield* SqlClient.SqlClient
  yield* sql`CREATE TABLE account (id INT PRIMARY KEY, pence INT NOT NULL)`
  yield* sql.withTransaction(sql`INSERT INTO account VALUES (1, 5)`)
  yield* MysqlServer.assertClean()
  yield* RedisServer.assertClean("payments", "billing")
})
