/**
 * L4 by the number: interrupting a fiber that waits takes under 250 ms, a hundred times in a row for each way to wait, and nothing
 * is left of it on the server or in the pool.
 *
 * @since 0.1.0
 */
import type * as MysqlClient from "@effect/sql-mysql2/MysqlClient"
import * as SqlClient from "@effect/sql/SqlClient"
import * as AdvisoryLock from "@safesync/mysql/AdvisoryLock"
import * as MysqlMetrics from "@safesync/mysql/MysqlMetrics"
import * as RowLock from "@safesync/mysql/RowLock"
import * as Transaction from "@safesync/mysql/Transaction"
import * as MysqlServer from "@safesync/testkit/MysqlServer"
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import { monitorEventLoopDelay } from "node:perf_hooks"
import * as Moments from "./Moments.js"
import * as Report from "./Report.js"
import type { Outcome, Scenario, Settings } from "./Scenario.js"
import * as Seeded from "./Seeded.js"
import * as ServerState from "./ServerState.js"

/**
 * @since 0.1.0
 * @category scenarios
 */
export const scenario: Scenario = {
  name: "interrupt",
  description: "Interrupting a wait for a row lock, for GET_LOCK, in SLEEP or for the pool takes under 250 ms (L4)",
  unit: "interruptions of each kind, one after the other",
  runs: 100,
  run: (settings) => Effect.provide(run(settings), ServerState.ownServer(poolSize))
}

// internal

const poolSize = 8
const boundMillis = 250
/** A wait that had to be given up, its connection with it, takes 200 ms; one that the server has ended takes a few. */
const usualMillis = 100
const stuckAfter = "5 seconds"

type Database = MysqlClient.MysqlClient | SqlClient.SqlClient

const run = (settings: Settings): Effect.Effect<Outcome, Error, Database | MysqlServer.MysqlServer> =>
  Effect.gen(function*() {
    const observer = yield* ServerState.secondClient()
    const failures: Array<string> = []
    const figures: Array<readonly [string, number | string]> = []
    yield* observer`CREATE TABLE account (id INT PRIMARY KEY, balance INT NOT NULL)`
    yield* observer`INSERT INTO account VALUES (1, 0)`
    const discarded = yield* thrownAway
    const turns = monitorEventLoopDelay({ resolution: 5 })
    turns.enable()

    yield* Effect.scoped(Effect.gen(function*() {
      yield* holdTheLocks
      for (const [kind, wait] of Object.entries(waits)) {
        const took: Array<number> = []
        for (let n = 0; n < settings.runs && failures.length < 20; n++) {
          settings.progress.update(n, kind)
          const random = Seeded.make(settings.seed, kind, n)
          took.push(yield* once(`${kind}, ${n + 1}`, wait, random, observer, failures))
        }
        figures.push([`${kind}: ${Report.spreadNames}`, Report.spread(took)])
        late(kind, took, failures)
      }
    }))
    for (const what of yield* ServerState.poolIsWhole(poolSize)) failures.push(`after the waits on the server, ${what}`)

    const took: Array<number> = []
    for (let n = 0; n < settings.runs && failures.length < 20; n++) {
      settings.progress.update(n, "the pool")
      const one = yield* exhausted(`the pool, ${n + 1}`, Seeded.make(settings.seed, "pool", n), failures)
      if (Option.isNone(one)) break
      took.push(one.value)
    }
    figures.push([`a connection of an exhausted pool: ${Report.spreadNames}`, Report.spread(took)])
    late("a connection of an exhausted pool", took, failures)

    turns.disable()
    for (const what of yield* ServerState.leftovers(observer)) failures.push(`at the end, ${what}`)
    for (const what of yield* ServerState.poolIsWhole(poolSize)) failures.push(`at the end, ${what}`)
    yield* Effect.catchAll(MysqlServer.assertClean(), (leak) => Effect.sync(() => failures.push(leak.message)))
    figures.push(
      ["connections thrown away", (yield* thrownAway) - discarded],
      ["longest turn of this process's event loop, ms", (turns.max / 1e6).toFixed(1)]
    )
    return { figures, failures }
  }).pipe(Effect.scoped)

/** Ways to wait on the server. Each says which connection waits before it does, and would wait for 30 seconds and more. */
const waits: Record<string, (waiting: Tell) => Effect.Effect<unknown, unknown, Database>> = {
  "a row lock": (tell) =>
    Transaction.run(Effect.zipRight(tell, RowLock.forUpdate({ table: "account", where: { id: 1 } }))),
  "GET_LOCK in a transaction": (tell) =>
    Transaction.run(Effect.zipRight(tell, AdvisoryLock.acquireInTransaction("held", { timeout: "30 seconds" }))),
  "SELECT SLEEP(30)": (tell) =>
    Transaction.run(Effect.zipRight(tell, Effect.flatMap(SqlClient.SqlClient, (sql) => sql`SELECT SLEEP(30)`))),
  "GET_LOCK by a statement of the caller's": (tell) =>
    Transaction.run(Effect.zipRight(
      tell,
      Effect.flatMap(SqlClient.SqlClient, (sql) => sql`SELECT GET_LOCK(CONCAT(DATABASE(), '.held'), 30)`)
    ))
}

type Tell = Effect.Effect<void, never, Transaction.Transaction>

/** Takes what the fibers wait for, by a client of its own, until the scope closes. */
const holdTheLocks = Effect.gen(function*() {
  const client = yield* ServerState.secondClient()
  const held = yield* Deferred.make<void>()
  const holder = yield* Effect.gen(function*() {
    yield* RowLock.forUpdate({ table: "account", where: { id: 1 } })
    yield* AdvisoryLock.acquireInTransaction("held", { timeout: 0 })
    yield* Effect.flatMap(SqlClient.SqlClient, (sql) => sql`SELECT GET_LOCK(CONCAT(DATABASE(), '.held'), 0)`)
    yield* Deferred.succeed(held, undefined)
    return yield* Effect.never
  }).pipe(Transaction.run(), ServerState.using(client), Effect.forkScoped)
  yield* Effect.raceFirst(Deferred.await(held), Fiber.join(holder))
})

/** Milliseconds from the interruption to the fiber's end, which is after its scope has closed. */
const once = (
  label: string,
  wait: (tell: Tell) => Effect.Effect<unknown, unknown, Database>,
  random: Seeded.Seeded,
  observer: MysqlClient.MysqlClient,
  failures: Array<string>
): Effect.Effect<number, Error, Database> =>
  Effect.gen(function*() {
    const connection = yield* Deferred.make<number>()
    const tell = Effect.flatMap(
      Transaction.Transaction,
      ({ connectionId }) => Effect.asVoid(Deferred.succeed(connection, connectionId))
    )
    const fiber = yield* Effect.fork(wait(tell))
    const id = yield* Deferred.await(connection)
    yield* Effect.repeat(isWaiting(observer, id), { until: (yes) => yes })
    yield* Moments.pass(Moments.draw(random, 5))
    const took = yield* interrupt(label, fiber, failures)
    // The fiber has ended: whatever the server still does for it now, it does for nobody.
    const left = yield* ServerState.within("1 second", transactionOf(observer, id), (left) => left === "")
    if (left !== "") failures.push(`${label}: connection ${id} still has ${left}`)
    return took
  })

/** The pool is taken, a fiber waits for a connection and is interrupted, and the pool serves again; none if it cannot be taken. */
const exhausted = (
  label: string,
  random: Seeded.Seeded,
  failures: Array<string>
): Effect.Effect<Option.Option<number>, never, Database> =>
  Effect.gen(function*() {
    const release = yield* Deferred.make<void>()
    const latches = yield* Effect.replicateEffect(Deferred.make<void>(), poolSize)
    const holders = yield* Effect.forEach(latches, (latch) =>
      Effect.zipRight(Deferred.succeed(latch, undefined), Deferred.await(release)).pipe(Transaction.run(), Effect.fork))
    const taken = yield* Effect.forEach(latches, (latch, n) =>
      Effect.raceFirst(Deferred.await(latch), Fiber.join(holders[n]!))).pipe(Effect.timeoutOption(stuckAfter))
    if (Option.isNone(taken)) {
      failures.push(`${label}: the pool does not give its ${poolSize} connections`)
      yield* Fiber.interruptAll(holders)
      return Option.none<number>()
    }
    const fiber = yield* Effect.fork(Transaction.run(Effect.void))
    yield* Moments.pass(Moments.draw(random, 5))
    const took = yield* interrupt(label, fiber, failures)
    yield* Deferred.succeed(release, undefined)
    yield* Effect.forEach(holders, Fiber.join)
    for (const what of yield* ServerState.poolIsWhole(poolSize)) {
      failures.push(`${label}: ${what}`)
    }
    return Option.some(took)
  }).pipe(Effect.orDie)

const interrupt = <A, E>(
  label: string,
  fiber: Fiber.RuntimeFiber<A, E>,
  failures: Array<string>
): Effect.Effect<number> =>
  Effect.suspend(() => {
    const start = performance.now()
    return Effect.map(Effect.timeoutOption(Fiber.interrupt(fiber), stuckAfter), (ended) => {
      if (Option.isNone(ended)) failures.push(`${label}: it has not ended after ${stuckAfter}`)
      else if (ended.value._tag === "Success") failures.push(`${label}: the wait ended by itself`)
      else if (!Cause.isInterruptedOnly(ended.value.cause)) {
        failures.push(`${label}: ${Cause.pretty(ended.value.cause)}`)
      }
      return performance.now() - start
    })
  })

/** Whether the server says that this connection waits. */
const isWaiting = (observer: MysqlClient.MysqlClient, id: number) =>
  Effect.map(
    observer`SELECT 1 FROM performance_schema.threads WHERE PROCESSLIST_ID = ${id}
      AND (PROCESSLIST_STATE IN ('User lock', 'User sleep')
        OR THREAD_ID IN (SELECT REQUESTING_THREAD_ID FROM performance_schema.data_lock_waits))`,
    (rows) => rows.length > 0
  )

/** What a connection has that one of the pool must not have: a running statement, a transaction, a lock. */
const transactionOf = (observer: MysqlClient.MysqlClient, id: number) =>
  Effect.map(
    observer<{ what: string }>`
      SELECT CONCAT('a statement: ', COALESCE(PROCESSLIST_INFO, '')) AS what FROM performance_schema.threads
      WHERE PROCESSLIST_ID = ${id} AND PROCESSLIST_COMMAND <> 'Sleep'
      UNION ALL
      SELECT 'a transaction' FROM information_schema.innodb_trx WHERE trx_mysql_thread_id = ${id}
      UNION ALL
      SELECT CONCAT('the lock ', m.OBJECT_NAME) FROM performance_schema.metadata_locks m
      JOIN performance_schema.threads t ON t.THREAD_ID = m.OWNER_THREAD_ID
      WHERE m.OBJECT_TYPE = 'USER LEVEL LOCK' AND t.PROCESSLIST_ID = ${id}`,
    (rows) => rows.map(({ what }) => what).join(", ")
  )

/** As the library counts them: those on which the caller's own statement took a lock, and those that did not answer. */
const thrownAway = Effect.map(Metric.value(MysqlMetrics.connectionsDiscarded), ({ count }) => count)

const late = (kind: string, took: ReadonlyArray<number>, failures: Array<string>): void => {
  const over = took.filter((millis) => millis >= boundMillis)
  if (over.length > 0) {
    failures.push(
      `${kind}: ${over.length} of ${took.length} took ${boundMillis} ms or more, the longest ${
        Math.max(...over).toFixed(0)
      } ms`
    )
  }
  if (took.filter((millis) => millis >= usualMillis).length > took.length / 2) {
    failures.push(`${kind}: more than half of them took ${usualMillis} ms or more`)
  }
}
