import * as MysqlClient from "@effect/sql-mysql2/MysqlClient"
import { SqlClient } from "@effect/sql/SqlClient"
import { expect, layer } from "@effect/vitest"
import * as CommitOracle from "@safesync/mysql/CommitOracle"
import * as Inbox from "@safesync/mysql/Inbox"
import * as Transaction from "@safesync/mysql/Transaction"
import * as MysqlServer from "@safesync/testkit/MysqlServer"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Schedule from "effect/Schedule"
import * as Mysql from "mysql2/promise"
import { accounts, add, anotherClient, balances, inDatabase, tag, throughProxy } from "./support.js"

/** A connection that the server gives this id, once it is as far as that. */
const withId = (id: number) =>
  Effect.flatMap(MysqlServer.MysqlServer, ({ url }) =>
    Effect.flatMap(MysqlClient.MysqlClient, ({ config }) => {
      const next: Effect.Effect<Mysql.Connection> = Effect.flatMap(
        Effect.promise(() => Mysql.createConnection(`${Redacted.value(url)}/${config.database}`)),
        (connection) =>
          connection.threadId === id ? Effect.succeed(connection) : Effect.suspend(() => {
            expect(connection.threadId).toBeLessThan(id)
            connection.destroy()
            return next
          })
      )
      return Effect.acquireRelease(next, (connection) => Effect.sync(() => connection.destroy()))
    }))

const restart = Effect.flatMap(MysqlServer.MysqlServer, ({ control }) => {
  const { kill, start } = Option.getOrThrow(control)
  return Effect.zipRight(kill, Effect.orDie(start))
})

/** Connection ids start anew with the server: one that is high enough is reached by somebody else before we ask. */
const useUpIds = Effect.forEach(
  Array.from({ length: 12 }),
  () => Effect.scoped(Effect.flatMap(anotherClient({ maxConnections: 1 }), (sql) => sql`DO 0`)),
  { discard: true }
)

layer(MysqlServer.layerOwn(), { excludeTestServices: true, timeout: "3 minutes" })("after a restart", (it) => {
  for (const what of ["a statement that is interrupted", "a COMMIT that is asked about"] as const) {
    it.effect(`L4: ${what} does not cost somebody else who was given its connection id`, () =>
      inDatabase(Effect.gen(function*() {
        yield* Effect.all([accounts, CommitOracle.migration, Inbox.migration, useUpIds])
        const direct = yield* MysqlClient.MysqlClient
        yield* throughProxy((proxy) =>
          Effect.gen(function*() {
            const proxied = yield* MysqlClient.MysqlClient
            // the pool goes through the proxy, kills and questions do not
            const client = Object.assign(Object.create(proxied) as typeof proxied, { config: direct.config })
            const id = yield* Deferred.make<number>()
            const arrived = yield* proxy.observe(what === "a COMMIT that is asked about" ? "COMMIT" : "SLEEP")
            const sql = yield* SqlClient
            const body = Effect.flatMap(
              Transaction.Transaction,
              ({ connectionId }) => Effect.zipRight(Deferred.succeed(id, connectionId), add(1, 1))
            ).pipe(
              Effect.zipRight(proxy.stall()),
              Effect.zipRight(what === "a COMMIT that is asked about" ? Effect.void : sql`SELECT SLEEP(30)`)
            )
            const fiber = yield* Effect.fork(
              Effect.asVoid(Inbox.once("m", "g")(body)).pipe(
                Transaction.run({
                  commitOracle: Schedule.intersect(Schedule.spaced("50 millis"), Schedule.recurs(200)),
                  controlTimeout: "4 seconds"
                }),
                Effect.provideService(MysqlClient.MysqlClient, client),
                Effect.exit
              )
            )
            yield* arrived
            yield* restart
            const victim = yield* Effect.provideService(
              withId(yield* Deferred.await(id)),
              MysqlClient.MysqlClient,
              direct
            )
            if (what === "a COMMIT that is asked about") {
              yield* Effect.promise(() => victim.query("BEGIN"))
              yield* Effect.promise(() =>
                victim.query("INSERT INTO safesync_inbox (consumer_group, message_id) VALUES ('g', 'm')")
              )
              yield* Effect.repeat(
                direct<{ n: number }>`SELECT COUNT(*) AS n FROM performance_schema.events_statements_summary_by_digest
                  WHERE DIGEST_TEXT LIKE '%FOR SHARE%NOWAIT%'`,
                { until: ([row]) => row!.n > 0 }
              )
              yield* Effect.promise(() => victim.query("COMMIT"))
              expect(tag(yield* Fiber.join(fiber))).toBe("CommitFailed")
            } else {
              const sleeps = victim.query("SELECT SLEEP(1) AS woken")
              yield* Fiber.interrupt(fiber)
              expect((yield* Effect.promise(() => sleeps))[0]).toEqual([{ woken: 0 }])
            }
            yield* proxy.resume()
          })
        )
        expect(yield* balances).toEqual([0, 0, 0])
      })))
  }

  it.effect("L4: a statement of a session that is as old as its server is ended as any other", () =>
    inDatabase(Effect.gen(function*() {
      yield* restart
      const sql = yield* anotherClient({ maxConnections: 1 })
      const sleeping = Effect.map(
        sql<{ n: number }>`SELECT COUNT(*) AS n FROM information_schema.processlist WHERE INFO LIKE 'SELECT SLEEP(30%'`,
        ([row]) => Number(row!.n)
      )
      const client = yield* anotherClient({ maxConnections: 1 })
      const fiber = yield* Effect.fork(
        Transaction.run(client`SELECT SLEEP(30)`).pipe(Effect.provideService(MysqlClient.MysqlClient, client))
      )
      yield* Effect.repeat(sleeping, { until: (n) => n === 1 })
      yield* Fiber.interrupt(fiber)
      expect(yield* sleeping).toBe(0)
    })))
})
