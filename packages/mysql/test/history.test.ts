import * as MysqlClient from "@effect/sql-mysql2/MysqlClient"
import { SqlClient } from "@effect/sql/SqlClient"
import { expect, layer } from "@effect/vitest"
import * as AdvisoryLock from "@safesync/mysql/AdvisoryLock"
import * as RowLock from "@safesync/mysql/RowLock"
import * as Transaction from "@safesync/mysql/Transaction"
import * as MysqlServer from "@safesync/testkit/MysqlServer"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as FastCheck from "effect/FastCheck"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as LogLevel from "effect/LogLevel"
import * as Redacted from "effect/Redacted"
import * as Runtime from "effect/Runtime"
import type { Scope } from "effect/Scope"
import * as Mysql from "mysql2/promise"
import { type Bench, execute } from "./history/Execute.js"
import * as Model from "./history/Model.js"
import * as Program from "./history/Program.js"

/**
 * The long form: SAFESYNC_HISTORY_RUNS=5000. To see a failure again: the seed and the path that it printed in
 * SAFESYNC_HISTORY_SEED and SAFESYNC_HISTORY_PATH, and the name of that one test after -t.
 */
const settings = {
  runs: Number(process.env["SAFESYNC_HISTORY_RUNS"] ?? 40),
  seed: process.env["SAFESYNC_HISTORY_SEED"],
  path: process.env["SAFESYNC_HISTORY_PATH"]
}

const timeout = 60_000 + settings.runs * 2_000

/** What the programs ask of the server, over connections that are none of theirs, and what somebody else holds. */
const bench = (holder: MysqlClient.MysqlClient): Effect.Effect<Bench, unknown, MysqlServer.MysqlServer | Scope> =>
  Effect.gen(function*() {
    const { url } = yield* MysqlServer.MysqlServer
    const connection = yield* Effect.acquireRelease(
      Effect.promise(() => Mysql.createConnection(Redacted.value(url))),
      (connection) => Effect.promise(() => connection.end())
    )
    const ask = (sql: string, ...values: ReadonlyArray<number>) =>
      Effect.promise(async () => (await connection.query<Array<Mysql.RowDataPacket>>(sql, [...values]))[0])
    const untilSome = (sql: string, id: number) => Effect.repeat(ask(sql, id), { until: (rows) => rows.length > 0 })

    const held = { table: `${holder.config.database}.held`, name: "held", namespace: holder.config.database! }
    yield* holder`CREATE TABLE held (id INT PRIMARY KEY)`
    yield* holder`INSERT INTO held VALUES (1)`
    const locked = yield* Deferred.make<void>()
    yield* Effect.forkScoped(
      RowLock.forUpdate({ table: "held", where: { id: 1 } }).pipe(
        Effect.zipRight(AdvisoryLock.acquireInTransaction(held.name, { timeout: 0, namespace: held.namespace })),
        Effect.zipRight(Deferred.succeed(locked, undefined)),
        Effect.zipRight(Effect.never),
        Transaction.run(),
        Effect.provideService(MysqlClient.MysqlClient, holder)
      )
    )
    yield* Deferred.await(locked)
    return {
      held,
      inside: new Map(),
      kill: (id) =>
        Effect.promise(() => connection.query(`KILL ${id}`).catch(() => {})).pipe(
          Effect.zipRight(Effect.repeat(
            ask("SELECT 1 FROM performance_schema.threads WHERE PROCESSLIST_ID = ?", id),
            { until: (rows) => rows.length === 0 }
          ))
        ),
      untilItWaits: (id) =>
        Effect.asVoid(untilSome(
          `SELECT 1 FROM performance_schema.threads t WHERE t.PROCESSLIST_ID = ?
            AND (t.PROCESSLIST_STATE IN ('User lock', 'User sleep')
              OR t.THREAD_ID IN (SELECT REQUESTING_THREAD_ID FROM performance_schema.data_lock_waits))`,
          id
        ))
    }
  })

/** Runs a history against the model; fails, or dies, with what is wrong. */
const check = (history: Program.History, bench: Bench) =>
  Effect.gen(function*() {
    const sql = yield* SqlClient
    const client = yield* MysqlClient.MysqlClient
    yield* sql`CREATE TABLE item (id INT PRIMARY KEY, v INT NOT NULL)`
    yield* sql`CREATE TABLE tally (id INT PRIMARY KEY, n INT NOT NULL)`
    yield* sql`CREATE TABLE receipt (id INT PRIMARY KEY)`
    yield* sql`INSERT INTO tally VALUES (1, 0), (2, 0)`

    let contended = history.fibers.length > 1
    const states = yield* Effect.forEach(history.fibers, (programs, fiber) =>
      Effect.gen(function*() {
        const base = (fiber + 1) * 10
        yield* sql`INSERT INTO item VALUES (${base + 1}, 0), (${base + 2}, 0)`
        let state = Model.initial
        for (const [index, program] of programs.entries()) {
          const receipt = base * 10 + index
          const run = yield* execute(program, bench, base, receipt)
          const { discarded, either, marks } = Model.judge(program, run, state, { base, receipt, contended })
          if (discarded) contended = true
          const [one, other] = either
          state = other !== undefined && (yield* has(receipt)) !== one.receipts.has(receipt) ? other : one
          const mine = yield* sql<{ id: number; v: number }>`
            SELECT id, v FROM item WHERE id BETWEEN ${base + 1} AND ${base + 3} ORDER BY id`
          expect(new Map(mine.map(({ id, v }) => [id - base, v])), "rows").toEqual(state.rows)
          expect(yield* has(receipt), "receipt").toBe(state.receipts.has(receipt))
          expect(run.marks, "effects that ran after COMMIT").toEqual(state === one ? marks : [])
        }
        return state
      }), { concurrency: "unbounded" })

    const tally = yield* sql<{ id: number; n: number }>`SELECT id, n FROM tally ORDER BY id`
    expect(tally.map(({ n }) => n), "shared rows").toEqual(
      [1, 2].map((id) => states.reduce((sum, state) => sum + (state.tally.get(id) ?? 0), 0))
    )
    yield* MysqlServer.assertClean()
    yield* servesAll(client, history.connections)
    yield* untilNothingRuns
  })

const has = (receipt: number) =>
  Effect.flatMap(
    SqlClient,
    (sql) => Effect.map(sql`SELECT 1 FROM receipt WHERE id = ${receipt}`, (rows) => rows.length > 0)
  )

/** All connections of the pool at a time, each with a session as it was when it was new. */
const servesAll = (client: MysqlClient.MysqlClient, connections: number) =>
  Effect.gen(function*() {
    const all = yield* Deferred.make<void>()
    const ids = new Set<number>()
    const one = Effect.gen(function*() {
      const sql = yield* SqlClient
      const { connectionId } = yield* Transaction.Transaction
      ids.add(connectionId)
      if (ids.size === connections) yield* Deferred.succeed(all, undefined)
      yield* Deferred.await(all)
      return yield* sql`SELECT @history IS NOT NULL AS history, @@innodb_lock_wait_timeout AS seconds,
        @@transaction_isolation AS isolation`
    })
    const sessions = yield* Effect.all(Array.from({ length: connections }, () => Transaction.run(one)), {
      concurrency: "unbounded"
    })
    for (const [session] of sessions) {
      expect(session, "session").toEqual({ history: 0, seconds: 50, isolation: "REPEATABLE-READ" })
    }
  }).pipe(
    Effect.timeoutFail({
      duration: "5 seconds",
      onTimeout: () => new Error("The pool does not serve all its connections")
    }),
    Effect.provideService(MysqlClient.MysqlClient, client)
  )

const untilNothingRuns = Effect.gen(function*() {
  const sql = yield* SqlClient
  const running = sql<{ what: string }>`
    SELECT CONCAT(PROCESSLIST_COMMAND, ': ', COALESCE(PROCESSLIST_INFO, '')) AS what FROM performance_schema.threads
    WHERE PROCESSLIST_DB = DATABASE() AND PROCESSLIST_COMMAND <> 'Sleep' AND PROCESSLIST_ID <> CONNECTION_ID()`
  const left = yield* Effect.repeat(running, { until: (rows) => rows.length === 0, times: 200 })
  expect(left, "what the server still does").toEqual([])
})

const property = (fibers: number) =>
  Effect.scoped(Effect.gen(function*() {
    const holder = Context.get(yield* Layer.build(MysqlServer.database({ maxConnections: 2 })), MysqlClient.MysqlClient)
    const around = yield* bench(holder)
    const runtime = yield* Effect.runtime<MysqlServer.MysqlServer>()
    const holds = FastCheck.asyncProperty(Program.history(fibers), (history) =>
      // A database and a pool of its own: what a failure leaves behind is no trouble of the next run.
      check(history, { ...around, inside: new Map() }).pipe(
        Effect.provide(MysqlServer.database({ maxConnections: history.connections })),
        Effect.timeoutFail({ duration: "20 seconds", onTimeout: () => new Error("It hangs") }),
        // A ROLLBACK on a connection that was killed warns.
        Logger.withMinimumLogLevel(LogLevel.Error),
        Runtime.runPromise(runtime)
      ))
    yield* Effect.promise(() =>
      FastCheck.assert(holds, {
        numRuns: settings.runs,
        // What has been found is told, however long its shrinking takes.
        interruptAfterTimeLimit: timeout - 25_000,
        markInterruptAsFailure: true,
        ...(settings.seed === undefined ? {} : { seed: Number(settings.seed) }),
        ...(settings.path === undefined ? {} : { path: settings.path })
      })
    )
  }))

layer(MysqlServer.layer, { excludeTestServices: true })("any history", (it) => {
  it.effect(
    "L1-L8, L10, L11: one fiber: what a model says is in the tables, and nothing is left behind",
    () => property(1),
    timeout
  )

  it.effect(
    "L1-L8, L10, L11: two fibers on one pool: each as the model says, and nothing is left behind",
    () => property(2),
    timeout
  )
})
