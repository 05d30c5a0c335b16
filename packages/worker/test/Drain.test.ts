import * as MysqlClient from "@effect/sql-mysql2/MysqlClient"
import { SqlClient } from "@effect/sql/SqlClient"
import { expect, layer } from "@effect/vitest"
import * as ConsumerGroup from "@safesync/redis-streams/ConsumerGroup"
import * as StreamProducer from "@safesync/redis-streams/StreamProducer"
import * as MysqlServer from "@safesync/testkit/MysqlServer"
import * as RedisServer from "@safesync/testkit/RedisServer"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as FiberId from "effect/FiberId"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import { fork } from "node:child_process"
import { randomBytes } from "node:crypto"
import { createRequire } from "node:module"
import { fileURLToPath, pathToFileURL } from "node:url"
import { bench, Servers, until, worked } from "./fixture.js"

const Job = Schema.Struct({ number: Schema.Number, millis: Schema.Number })

/** Jobs, and processes that work on them. */
const jobs = (minIdle: number) =>
  Effect.gen(function*() {
    const stream = `jobs-${randomBytes(6).toString("hex")}`
    const sql = yield* SqlClient
    yield* sql`CREATE TABLE done (id INT PRIMARY KEY AUTO_INCREMENT, number INT NOT NULL, pid INT NOT NULL)`
    const group = yield* ConsumerGroup.make({ stream, group: "jobs", schema: Job, startId: "0", minIdle })
    yield* ConsumerGroup.create(group)
    const producer = yield* StreamProducer.make({ stream, schema: Job })
    const { config } = yield* MysqlClient.MysqlClient
    const mysql = new URL(Redacted.value((yield* MysqlServer.MysqlServer).url))
    mysql.pathname = `/${config.database}`
    const redis = Redacted.value((yield* RedisServer.RedisServer).url)
    const start = (drainTimeout: number) =>
      Effect.acquireRelease(
        Effect.sync(() => {
          const child = fork(fileURLToPath(new URL("./processes/worker.ts", import.meta.url)), [], {
            execArgv: ["--import", pathToFileURL(createRequire(import.meta.url).resolve("tsx")).href],
            env: {
              ...process.env,
              TSX_TSCONFIG_PATH: fileURLToPath(new URL("../../../tsconfig.json", import.meta.url)),
              SETTINGS: JSON.stringify({ mysql: mysql.href, redis, stream, minIdle, drainTimeout })
            },
            stdio: ["ignore", "inherit", "inherit", "ipc"]
          })
          const ended = Deferred.unsafeMake<readonly [code: number | null, signal: string | null]>(FiberId.none)
          child.once("exit", (code, signal) => Deferred.unsafeDone(ended, Effect.succeed([code, signal] as const)))
          const draining = Deferred.unsafeMake<void>(FiberId.none)
          child.on("message", (message) => message === "draining" && Deferred.unsafeDone(draining, Effect.void))
          return {
            pid: child.pid!,
            draining: Deferred.await(draining),
            signal: (signal: NodeJS.Signals) => Effect.sync(() => child.kill(signal)),
            ended: Deferred.await(ended)
          }
        }),
        ({ ended, signal }) => Effect.zipRight(signal("SIGKILL"), ended)
      )
    const done = Effect.map(
      sql<
        { number: number; times: number }
      >`SELECT number, COUNT(*) AS times FROM done GROUP BY number ORDER BY number`,
      (rows) => rows.map(({ number, times }) => [number, Number(times)] as const)
    )
    return {
      done,
      group,
      send: (jobs: ReadonlyArray<typeof Job.Type>) => StreamProducer.sendAll(producer, jobs),
      start
    }
  })

const inTransactions = Effect.flatMap(SqlClient, (sql) =>
  Effect.map(
    sql<{ n: number }>`SELECT COUNT(*) AS n FROM performance_schema.threads t
      JOIN performance_schema.events_transactions_current e ON e.THREAD_ID = t.THREAD_ID AND e.STATE = 'ACTIVE'
      WHERE t.PROCESSLIST_DB = DATABASE() AND t.PROCESSLIST_ID <> CONNECTION_ID()`,
    ([row]) => Number(row!.n)
  ))

layer(Servers, { excludeTestServices: true })("Worker, as a process", (it) => {
  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    it.effect(
      `L26: ${signal} under load: it ends in time, nothing is handled twice, nothing waits for a stale timeout`,
      () =>
        bench(Effect.gen(function*() {
          const { done, group, send, start } = yield* jobs(120_000)
          // three that do not end in time, among many that are quick
          const sent = Array.from(
            { length: 600 },
            (_, number) => ({ number, millis: number % 20 === 7 && number < 60 ? 60_000 : 5 })
          )
          yield* send(sent)
          const first = yield* start(1_000)
          yield* until(done, (rows) => rows.length > 100)
          const asked = performance.now()
          yield* first.signal(signal)
          expect(yield* first.ended).toEqual([0, null])
          expect(performance.now() - asked).toBeLessThan(2_000)
          const before = yield* done
          expect(before.length).toBeLessThan(597)
          // the slow ones were rolled back and handed back; they are quick for nobody, so take them out of the way
          const next = yield* start(1_000)
          yield* until(done, (rows) => rows.length === 597)
          yield* until(inTransactions, (n) => n === 3)
          const { consumers } = yield* ConsumerGroup.info(group)
          expect(consumers.filter(({ name }) => name !== `worker-${next.pid}`).every(({ pending }) => pending === 0))
            .toBe(true)
          expect((yield* done).filter(([, times]) => times !== 1)).toEqual([])
        })),
      60_000
    )
  }

  it.effect("L26: a second signal ends it at once, and loses nothing", () =>
    bench(Effect.gen(function*() {
      const { done, group, send, start } = yield* jobs(1_000)
      yield* send([{ number: 1, millis: 3_000 }])
      const first = yield* start(60_000)
      yield* until(inTransactions, (n) => n === 1)
      yield* first.signal("SIGTERM")
      yield* first.draining
      yield* first.signal("SIGTERM")
      expect(yield* first.ended).toEqual([null, "SIGTERM"])
      expect(yield* done).toEqual([])
      yield* start(1_000)
      yield* worked(group)
      expect(yield* done).toEqual([[1, 1]])
    })), 60_000)
})
