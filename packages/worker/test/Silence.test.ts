import * as MysqlClient from "@effect/sql-mysql2/MysqlClient"
import { SqlClient } from "@effect/sql/SqlClient"
import { expect, layer } from "@effect/vitest"
import * as Inbox from "@safesync/mysql/Inbox"
import * as Outbox from "@safesync/mysql/Outbox"
import * as ConsumerGroup from "@safesync/redis-streams/ConsumerGroup"
import * as StreamProducer from "@safesync/redis-streams/StreamProducer"
import * as MysqlServer from "@safesync/testkit/MysqlServer"
import * as RedisServer from "@safesync/testkit/RedisServer"
import * as TcpProxy from "@safesync/testkit/TcpProxy"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as FiberId from "effect/FiberId"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import type { Scope } from "effect/Scope"
import { fork } from "node:child_process"
import { randomBytes } from "node:crypto"
import { createRequire } from "node:module"
import { fileURLToPath, pathToFileURL } from "node:url"
import { bench, until } from "./fixture.js"

const Job = Schema.Struct({ number: Schema.Number })

const drainTimeout = 1_000

/** A process that has much to do, and a hand on its servers. */
const busy = Effect.gen(function*() {
  const stream = `jobs-${randomBytes(6).toString("hex")}`
  const sql = yield* SqlClient
  yield* Effect.all([Inbox.migration, Outbox.migration])
  yield* sql`CREATE TABLE done (id INT PRIMARY KEY AUTO_INCREMENT, number INT NOT NULL)`
  yield* sql`CREATE TABLE plain (id INT PRIMARY KEY AUTO_INCREMENT)`
  const group = yield* ConsumerGroup.make({ stream, group: "jobs", schema: Job, startId: "0", minIdle: "1 minute" })
  yield* ConsumerGroup.create(group)
  const producer = yield* StreamProducer.make({ stream, schema: Job })
  yield* StreamProducer.sendAll(producer, Array.from({ length: 5_000 }, (_, number) => ({ number })))
  const server = yield* MysqlServer.MysqlServer
  const redis = yield* RedisServer.RedisServer
  const proxy = yield* TcpProxy.make(server.url)
  const mysql = new URL(Redacted.value(proxy.through(server.url)))
  mysql.pathname = `/${(yield* MysqlClient.MysqlClient).config.database}`
  const child = yield* Effect.acquireRelease(
    Effect.sync(() => {
      const child = fork(fileURLToPath(new URL("./processes/everything.ts", import.meta.url)), [], {
        execArgv: ["--import", pathToFileURL(createRequire(import.meta.url).resolve("tsx")).href],
        env: {
          ...process.env,
          TSX_TSCONFIG_PATH: fileURLToPath(new URL("../../../tsconfig.json", import.meta.url)),
          SETTINGS: JSON.stringify({ mysql: mysql.href, redis: Redacted.value(redis.url), stream, drainTimeout })
        },
        stdio: ["ignore", "inherit", "inherit", "ipc"]
      })
      const ended = Deferred.unsafeMake<readonly [code: number | null, signal: string | null]>(FiberId.none)
      child.once("exit", (code, signal) => Deferred.unsafeDone(ended, Effect.succeed([code, signal] as const)))
      return {
        signal: (signal: NodeJS.Signals) => Effect.sync(() => child.kill(signal)),
        ended: Deferred.await(ended)
      }
    }),
    ({ ended, signal }) => Effect.zipRight(signal("SIGKILL"), ended)
  )
  yield* until(Effect.map(sql`SELECT id FROM done`, (rows) => rows.length), (count) => count > 100)
  yield* until(Effect.map(sql`SELECT id FROM plain`, (rows) => rows.length), (count) => count > 0)
  return { child, proxy, mysql: Option.getOrThrow(server.control), redis: Option.getOrThrow(redis.control) }
})

/** How many sessions of this database wait for those states. */
const inState = (...states: ReadonlyArray<string>) =>
  Effect.flatMap(SqlClient, (sql) =>
    Effect.map(
      sql<{ n: number }>`SELECT COUNT(*) AS n FROM performance_schema.threads
        WHERE PROCESSLIST_DB = DATABASE() AND PROCESSLIST_STATE IN ${sql.in(states)}`,
      ([row]) => Number(row!.n)
    ))

/** Nothing of this database is under way on any other connection. */
const quiet = Effect.flatMap(SqlClient, (sql) =>
  until(
    Effect.map(
      sql<{ n: number }>`SELECT COUNT(*) AS n FROM information_schema.PROCESSLIST
        WHERE DB = DATABASE() AND ID <> CONNECTION_ID() AND COMMAND <> 'Sleep'`,
      ([row]) => Number(row!.n)
    ),
    (n) => n === 0
  ))

type Faults = Effect.Effect.Success<typeof busy>

const faults: Record<
  string,
  (faults: Faults) => Effect.Effect<Effect.Effect<void>, unknown, SqlClient | Scope>
> = {
  "a frozen MySQL": ({ mysql }) => Effect.as(mysql.pause, mysql.resume),
  "a MySQL that has vanished": ({ proxy }) => Effect.as(proxy.stall(), Effect.void),
  "FLUSH TABLES WITH READ LOCK": () =>
    Effect.gen(function*() {
      const backup = yield* Effect.flatMap(SqlClient, (sql) => sql.reserve)
      yield* backup.executeUnprepared("FLUSH TABLES WITH READ LOCK", [], undefined)
      yield* until(inState("Waiting for global read lock", "Waiting for commit lock"), (n) => n >= 4)
      return Effect.orDie(Effect.asVoid(backup.executeUnprepared("UNLOCK TABLES", [], undefined)))
    }),
  "both servers frozen": ({ mysql, redis }) =>
    Effect.as(Effect.zipRight(mysql.pause, redis.pause), Effect.zipRight(mysql.resume, redis.resume))
}

layer(Layer.merge(MysqlServer.layerOwn(), RedisServer.layerOwn()), {
  excludeTestServices: true,
  timeout: "3 minutes"
})("A worker with a relay, as a process", (it) => {
  for (const [what, cause] of Object.entries(faults)) {
    it.effect(
      `L26: it ends within drainTimeout and two seconds of SIGTERM: ${what}`,
      () =>
        bench(Effect.gen(function*() {
          const faults = yield* busy
          const over = yield* cause(faults)
          const asked = performance.now()
          yield* faults.child.signal("SIGTERM")
          const code = yield* Effect.ensuring(faults.child.ended, over)
          const took = performance.now() - asked
          expect(took).toBeLessThan(drainTimeout + 2_000)
          expect(code).toEqual([0, null])
          yield* quiet
        })),
      60_000
    )
  }
})
