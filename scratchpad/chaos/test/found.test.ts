import { SqlClient } from "@effect/sql/SqlClient"
import { expect, layer } from "@effect/vitest"
import * as Transaction from "@safesync/mysql/Transaction"
import * as MysqlServer from "@safesync/testkit/MysqlServer"
import * as TcpProxy from "@safesync/testkit/TcpProxy"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as ServerState from "../ServerState.js"

// What the long proofs have found, reduced to what it takes.

layer(MysqlServer.layer, { excludeTestServices: true })("found by the long proofs", (it) => {
  it.effect("L2: the connection dies while a nested sql.withTransaction goes back to its savepoint: the body's failure stands", () =>
    Effect.gen(function*() {
      const { url } = yield* MysqlServer.MysqlServer
      const proxy = yield* TcpProxy.make(url)
      const client = yield* ServerState.secondClient({ host: "127.0.0.1", port: proxy.port })
      const exit = yield* Effect.gen(function*() {
        const sql = yield* SqlClient
        yield* proxy.loseReplies("ROLLBACK TO")
        return yield* Effect.exit(
          Transaction.run(sql.withTransaction(Effect.zipRight(sql`SELECT 1`, Effect.fail("mine" as const))))
        )
      }).pipe(ServerState.using(client))
      expect(exit._tag === "Failure" && Cause.pretty(exit.cause)).toBe("Error: mine")
    }).pipe(Effect.scoped, Effect.provide(MysqlServer.database())))
})
