import { MysqlClient } from "@effect/sql-mysql2/MysqlClient"
import { SqlClient } from "@effect/sql/SqlClient"
import { expect, layer } from "@effect/vitest"
import * as AdvisoryLock from "@safesync/mysql/AdvisoryLock"
import * as CommitOracle from "@safesync/mysql/CommitOracle"
import * as FencingToken from "@safesync/mysql/FencingToken"
import * as Inbox from "@safesync/mysql/Inbox"
import * as MysqlError from "@safesync/mysql/MysqlError"
import * as Outbox from "@safesync/mysql/Outbox"
import * as Transaction from "@safesync/mysql/Transaction"
import * as MysqlServer from "@safesync/testkit/MysqlServer"
import * as TcpProxy from "@safesync/testkit/TcpProxy"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as ExecutionStrategy from "effect/ExecutionStrategy"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/TestClock"
import * as TestContext from "effect/TestContext"
import { readFileSync } from "node:fs"
import { accounts, add, anotherClient, balances, inDatabase, tag, throughProxy } from "./support.js"

const tables = Effect.all([accounts, Inbox.migration, Outbox.migration, CommitOracle.migration, FencingToken.migration])

const seconds = (took: Duration.Duration) => Duration.toSeconds(took)

/** Statements that run outside of a transaction. */
const operations: Record<string, Effect.Effect<unknown, unknown, SqlClient | MysqlClient>> = {
  "Outbox.read": Outbox.read({ fromSlot: 0, toSlot: 1_023, limit: 10 }),
  "Outbox.remove": Outbox.remove(["1"]),
  "Outbox.backlog": Outbox.backlog,
  "Inbox.purge": Inbox.purge({ olderThan: "1 day" }),
  "CommitOracle.purge": CommitOracle.purge({ olderThan: "1 day" }),
  "Inbox.migration": Inbox.migration,
  "Outbox.migration": Outbox.migration,
  "AdvisoryLock.withLock": AdvisoryLock.withLock("a", { timeout: "1 minute" })(Effect.void),
  "FencingToken.issue": Effect.scoped(
    Effect.flatMap(AdvisoryLock.acquire("a", { timeout: "1 minute" }), FencingToken.issue)
  ),
  "Transaction.run": Transaction.run(balances)
}

/** A client in a scope of its own, through a proxy; `close` closes its pool. */
const closable = Effect.gen(function*() {
  const proxy = yield* TcpProxy.make((yield* MysqlServer.MysqlServer).url)
  const scope = yield* Scope.fork(yield* Effect.scope, ExecutionStrategy.sequential)
  const client = yield* Scope.extend(anotherClient({ host: "127.0.0.1", port: proxy.port, maxConnections: 2 }), scope)
  return { proxy, client, close: Scope.close(scope, Exit.void) }
})

const provided = (client: MysqlClient) => <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  effect.pipe(Effect.provideService(SqlClient, client), Effect.provideService(MysqlClient, client))

layer(MysqlServer.layer, { excludeTestServices: true, timeout: "2 minutes" })("A server that does not answer", (it) => {
  for (const [what, operation] of Object.entries(operations)) {
    it.effect(`L4: ${what} is interrupted within a second, and its pool is closed within another`, () =>
      inDatabase(Effect.gen(function*() {
        yield* tables
        const { client, close, proxy } = yield* closable
        // its connections are there
        yield* provided(client)(operation)
        yield* proxy.stall("replies")
        const { accepted, requestBytes } = yield* proxy.counters
        const fiber = yield* Effect.fork(provided(client)(operation))
        // a lock has a new connection, on which the server speaks first
        yield* Effect.repeat(proxy.counters, {
          until: (now) => now.requestBytes > requestBytes || now.accepted > accepted
        })
        const [interrupted] = yield* Effect.timed(Fiber.interrupt(fiber))
        expect(seconds(interrupted)).toBeLessThan(1)
        const [closed] = yield* Effect.timed(close)
        expect(seconds(closed)).toBeLessThan(1)
        yield* proxy.cut
        yield* proxy.resume()
      })))
  }

  it.effect("L4: a plain statement without an answer does not hold up the closing of its pool", () =>
    inDatabase(Effect.gen(function*() {
      yield* tables
      const { client, close, proxy } = yield* closable
      yield* provided(client)(Transaction.run(balances))
      yield* proxy.stall("replies")
      const { requestBytes } = yield* proxy.counters
      const plain = yield* Effect.forkDaemon(Effect.exit(MysqlError.refail(client`SELECT SLEEP(0)`)))
      yield* Effect.repeat(proxy.counters, { until: (now) => now.requestBytes > requestBytes })
      const [closed] = yield* Effect.timed(close)
      expect(seconds(closed)).toBeLessThan(1)
      expect(tag(yield* Fiber.join(plain))).toBe("ConnectionLost")
      yield* proxy.resume()
      yield* Effect.repeat(proxy.counters, { until: ({ open }) => open === 0 })
    })))

  it.effect("L4: an advisory lock is not waited for longer than a moment beyond its timeout", () =>
    inDatabase(Effect.gen(function*() {
      const [took, exit] = yield* throughProxy((proxy) =>
        Effect.gen(function*() {
          const asked = yield* proxy.observe("GET_LOCK")
          const fiber = yield* Effect.fork(Effect.timed(Effect.exit(
            AdvisoryLock.withLock("a", { timeout: 100 })(Effect.void)
          )))
          yield* Effect.zipRight(asked, proxy.stall())
          return yield* Fiber.join(fiber)
        })
      )
      // the one that had its answer before has nothing to wait for
      if (Exit.isFailure(exit)) expect(tag(exit)).toBe("ConnectionLost")
      expect(seconds(took)).toBeLessThan(10)
    })))
})

layer(MysqlServer.layer, { excludeTestServices: true })("A statement outside of a transaction", (it) => {
  /** It waits for the table that another session has locked. */
  const waits = (
    then: (fiber: Fiber.RuntimeFiber<Exit.Exit<unknown, unknown>>) => Effect.Effect<unknown, unknown, SqlClient>
  ) =>
    inDatabase(Effect.gen(function*() {
      yield* tables
      const other = yield* anotherClient({ maxConnections: 1 })
      const holder = yield* other.reserve
      yield* holder.executeUnprepared("LOCK TABLES safesync_outbox WRITE", [], undefined)
      const fiber = yield* Effect.fork(Effect.exit(Outbox.remove(["1"])))
      yield* Effect.repeat(waiting, { until: (n) => n === 1 })
      yield* then(fiber)
      expect(yield* waiting).toBe(0)
      yield* holder.executeUnprepared("UNLOCK TABLES", [], undefined)
    }))

  const waiting = Effect.flatMap(SqlClient, (sql) =>
    Effect.map(
      sql<{ n: number }>`SELECT COUNT(*) AS n FROM information_schema.PROCESSLIST
        WHERE DB = DATABASE() AND STATE = 'Waiting for table metadata lock'`,
      ([row]) => Number(row!.n)
    ))

  it.effect("L4: it is ended on the server with its fiber, and its connection goes back to the pool", () =>
    waits((fiber) =>
      Effect.gen(function*() {
        const [took] = yield* Effect.timed(Fiber.interrupt(fiber))
        expect(Duration.toMillis(took)).toBeLessThan(250)
      })
    ))

  it.effect("L4: it is ended after a minute, which is ConnectionLost", () =>
    waits((fiber) =>
      Effect.gen(function*() {
        yield* TestClock.adjust("59 seconds")
        expect(yield* waiting).toBe(1)
        yield* TestClock.adjust("1 second")
        expect(tag(yield* Fiber.join(fiber))).toBe("ConnectionLost")
      })
    ).pipe(Effect.provide(TestContext.TestContext)))
})

/** The exit of an effect within 25 seconds, from the time on at which its statement is on the server. */
const within = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.timeoutTo(Effect.exit(effect), {
    duration: "25 seconds",
    onSuccess: (exit): unknown => Exit.isSuccess(exit) ? exit.value : tag(exit),
    onTimeout: () => "no answer"
  })

layer(MysqlServer.layer, { excludeTestServices: true, timeout: "2 minutes" })(
  "A connection that has died without a word",
  (it) => {
    it.effect("L6: it is noticed by asking the server, and one that works for long is left alone", () =>
      inDatabase(
        Effect.gen(function*() {
          yield* tables
          const sql = yield* SqlClient
          yield* sql`CREATE TABLE many (id INT PRIMARY KEY AUTO_INCREMENT, filler VARCHAR(200))`
          yield* sql`INSERT INTO many (filler) WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 900)
          SELECT REPEAT('x', 100) FROM n`
          const lost = <A, E>(
            silence: (proxy: TcpProxy.TcpProxy) => Effect.Effect<unknown>,
            run: (effect: Effect.Effect<unknown, unknown, SqlClient>) => Effect.Effect<A, E, SqlClient | MysqlClient>
          ) =>
            throughProxy((proxy) =>
              Effect.gen(function*() {
                yield* Transaction.run(balances)
                yield* silence(proxy)
                const got = yield* within(
                  run(
                    Effect.flatMap(SqlClient, (sql) => sql`UPDATE account SET balance = balance WHERE id = 9 /* it */`)
                  )
                )
                yield* proxy.cut
                return got
              })
            )
          const vanished = (proxy: TcpProxy.TcpProxy) =>
            proxy.observe((piece) => {
              if (!Buffer.from(piece).includes("/* it */")) return false
              Effect.runSync(proxy.stall())
              return true
            })
          const hung = (proxy: TcpProxy.TcpProxy) => proxy.loseReplies("/* it */", "hang")
          const held = yield* Effect.fork(Effect.scoped(Effect.gen(function*() {
            const other = yield* anotherClient({ maxConnections: 1 })
            const holder = yield* other.reserve
            yield* holder.executeUnprepared("BEGIN; SELECT * FROM account WHERE id = 1 FOR UPDATE", [], undefined)
            yield* Effect.never
          })))
          yield* Effect.repeat(
            sql<
              { n: number }
            >`SELECT COUNT(*) AS n FROM performance_schema.data_locks WHERE OBJECT_SCHEMA = DATABASE()`,
            { until: ([row]) => Number(row!.n) > 0 }
          )
          const found = yield* Effect.all({
            transaction: lost(vanished, Transaction.run),
            plain: lost(vanished, MysqlError.refail),
            answer: lost(hung, Transaction.run),
            plainAnswer: lost(hung, MysqlError.refail),
            commit: throughProxy((proxy) =>
              Effect.gen(function*() {
                yield* proxy.loseReplies("COMMIT", "hang")
                return yield* within(Transaction.run(add(9, 1)))
              })
            ),
            sleeps: within(Transaction.run(Effect.as(sql`SELECT SLEEP(20)`, "slept"))),
            plainSleeps: within(Effect.as(sql`SELECT SLEEP(20)`, "slept")),
            waits: within(
              Transaction.run(sql`UPDATE account SET balance = 1 WHERE id = 1`, { lockWaitTimeout: "18 seconds" })
            ),
            reads: within(Transaction.run(
              sql`SELECT * FROM many`.stream.pipe(
                Stream.rechunk(100),
                Stream.mapEffect((row) => Effect.as(Effect.sleep(20), row), { concurrency: 1 }),
                Stream.runCount
              )
            ))
          }, { concurrency: "unbounded" })
          yield* Fiber.interrupt(held)
          expect(found).toEqual({
            transaction: "ConnectionLost",
            plain: "ConnectionLost",
            answer: "ConnectionLost",
            plainAnswer: "ConnectionLost",
            commit: "CommitOutcomeUnknown",
            sleeps: "slept",
            plainSleeps: "slept",
            waits: "LockWaitTimeout",
            reads: 900
          })
        }),
        { maxConnections: 20 }
      ))

    it.effect("an idle connection of the pool is asked by the kernel every ten seconds whether it is still there", () =>
      inDatabase(Effect.gen(function*() {
        yield* Transaction.run(Effect.flatMap(SqlClient, (sql) => sql`SELECT 1`))
        const { config } = yield* MysqlClient
        // the timer of an idle socket: 02 is the one of keep-alive, and its time is in hundredths of a second
        const timers = readFileSync("/proc/self/net/tcp", "utf8").split("\n").map((line) => line.trim().split(/\s+/))
          .filter(([, , remote]) => remote?.endsWith(`:${config.port!.toString(16).toUpperCase().padStart(4, "0")}`))
          .map((fields) => fields[5]!.split(":")).filter(([kind]) => kind === "02").map(([, when]) =>
            parseInt(when!, 16) / 100
          )
        expect(timers.length).toBeGreaterThan(0)
        expect(Math.max(...timers)).toBeLessThanOrEqual(10)
      })))
  }
)
