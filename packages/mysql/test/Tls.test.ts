import * as Reactivity from "@effect/experimental/Reactivity"
import * as MysqlClient from "@effect/sql-mysql2/MysqlClient"
import { SqlClient } from "@effect/sql/SqlClient"
import { expect, layer } from "@effect/vitest"
import * as AdvisoryLock from "@safesync/mysql/AdvisoryLock"
import * as Transaction from "@safesync/mysql/Transaction"
import * as MysqlServer from "@safesync/testkit/MysqlServer"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import { connectionId, inDatabase, outside } from "./support.js"

/** Whether a transaction's connection and a lock's are encrypted, by what the server says of both. */
const encrypted = (config: MysqlClient.MysqlClientConfig) =>
  Effect.gen(function*() {
    const other = yield* SqlClient
    const isEncrypted = (id: number) =>
      Effect.map(
        other<{ cipher: string }>`SELECT VARIABLE_VALUE AS cipher FROM performance_schema.status_by_thread
          JOIN performance_schema.threads USING (THREAD_ID)
          WHERE PROCESSLIST_ID = ${id} AND VARIABLE_NAME = 'Ssl_cipher'`,
        ([row]) => row!.cipher !== ""
      )
    const client = yield* MysqlClient.make(config)
    const inClient = Context.make(MysqlClient.MysqlClient, client).pipe(Context.add(SqlClient, client))
    return yield* Effect.provide(
      Effect.gen(function*() {
        const { session } = yield* AdvisoryLock.acquire("x", { timeout: 0 })
        const ofLock = yield* isEncrypted(session.connectionId)
        const ofTransaction = yield* Transaction.run(Effect.flatMap(connectionId, (id) => outside(isEncrypted(id))))
        return [ofLock, ofTransaction]
      }),
      inClient
    )
  }).pipe(Effect.scoped, Effect.provide(Reactivity.layer))

layer(MysqlServer.layer, { excludeTestServices: true })("TLS", (it) => {
  it.effect("of the client's configuration, for the connections beside the pool too", () =>
    inDatabase(Effect.gen(function*() {
      const { url } = yield* MysqlServer.MysqlServer
      const { hostname, password, port, username } = new URL(Redacted.value(url))
      const { config: { database } } = yield* MysqlClient.MysqlClient
      // the server's own certificate is one that it made for itself
      const ssl = { rejectUnauthorized: false }
      const host = {
        host: hostname,
        port: Number(port),
        username: decodeURIComponent(username),
        password: Redacted.make(decodeURIComponent(password)),
        database: database!
      }
      const inUrl = new URL(Redacted.value(url))
      inUrl.pathname = `/${database}`
      const plain = Redacted.make(inUrl.href)
      inUrl.searchParams.set("ssl", JSON.stringify(ssl))
      expect(yield* encrypted({ url: Redacted.make(inUrl.href) })).toEqual([true, true])
      expect(yield* encrypted({ ...host, poolConfig: { ssl } })).toEqual([true, true])
      inUrl.searchParams.set("ssl", "{}")
      expect(String(yield* Effect.exit(encrypted({ url: Redacted.make(inUrl.href) })))).toContain("HANDSHAKE_SSL_ERROR")
      // as the guide warns
      expect(yield* encrypted({ url: plain, poolConfig: { ssl } })).toEqual([false, false])
    })))
})
