import * as Mysql2 from "@effect/sql-mysql2/MysqlClient"
import { expect, layer } from "@effect/vitest"
import * as MysqlServer from "@safesync/testkit/MysqlServer"
import * as Effect from "effect/Effect"
import * as lastingConnection from "../src/internal/lastingConnection.js"
import { inDatabase, throughProxy } from "./support.js"

const ask = (connection: lastingConnection.LastingConnection, sql: string) =>
  Effect.async<readonly [rows: unknown, code: unknown]>((done) =>
    connection.ask(
      sql,
      [],
      (rows, error) => done(Effect.succeed([rows, (error as { readonly code?: unknown } | null)?.code]))
    )
  )

layer(MysqlServer.layer, { excludeTestServices: true })("A connection beside the pool", (it) => {
  it.effect("what it is asked is answered within a bound, all that wait; the next one is asked, and is closed when idle", () =>
    inDatabase(throughProxy((proxy) =>
      Effect.gen(function*() {
        const { config } = yield* Mysql2.MysqlClient
        const before = (yield* proxy.counters).open
        const connection = lastingConnection.make(config, { answerMillis: 300, idleMillis: 100 })
        expect(yield* ask(connection, "SELECT 1 AS one")).toEqual([[{ one: 1 }], undefined])
        yield* proxy.stall("replies")
        const silent = yield* Effect.all([ask(connection, "SELECT 2"), ask(connection, "SELECT 3")], { concurrency: 2 })
        expect(silent).toEqual([[undefined, "PROTOCOL_SEQUENCE_TIMEOUT"], [undefined, "PROTOCOL_SEQUENCE_TIMEOUT"]])
        yield* proxy.resume("replies")
        expect(yield* ask(connection, "SELECT 4 AS four")).toEqual([[{ four: 4 }], undefined])
        yield* Effect.repeat(proxy.counters, { until: ({ open }) => open === before })
      })
    )))

  it.effect("the server's own error is the question's alone", () =>
    inDatabase(throughProxy((proxy) =>
      Effect.gen(function*() {
        const { config } = yield* Mysql2.MysqlClient
        const connection = lastingConnection.make(config, { answerMillis: 2_000, idleMillis: 100 })
        expect(yield* ask(connection, "SELECT nothing")).toEqual([undefined, "ER_BAD_FIELD_ERROR"])
        const { accepted } = yield* proxy.counters
        expect(yield* ask(connection, "SELECT 1 AS one")).toEqual([[{ one: 1 }], undefined])
        expect((yield* proxy.counters).accepted).toBe(accepted)
      })
    )))
})
