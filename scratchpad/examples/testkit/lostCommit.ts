import { MysqlClient } from "@effect/sql-mysql2"
import { Transaction } from "@safesync/mysql"
import { MysqlServer, TcpProxy } from "@safesync/testkit"
import { Effect } from "effect"

/** COMMIT arrives at the server, and its reply does not come back. */
export const lostCommit = Effect.gen(function*() {
  const { url } = yield* MysqlServer.MysqlServer
  const { config } = yield* MysqlClient.MysqlClient
  const proxy = yield* TcpProxy.make(url)
  yield* proxy.loseReplies("COMMIT")
  return yield* Effect.flatMap(
    MysqlClient.MysqlClient,
    (sql) => Effect.flip(Transaction.run(sql`INSERT INTO account VALUES (2, 7)`)) // CommitOutcomeUnknown
  ).pipe(
    Effect.provide(MysqlClient.layer({ host: "127.0.0.1", port: proxy.port, username: "root", database: config.database! }))
  )
})
