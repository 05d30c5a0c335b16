import { MysqlClient } from "@effect/sql-mysql2/MysqlClient"
import { SqlClient } from "@effect/sql/SqlClient"
import { expect, layer } from "@effect/vitest"
import * as CommitOracle from "@safesync/mysql/CommitOracle"
import * as Inbox from "@safesync/mysql/Inbox"
import * as Transaction from "@safesync/mysql/Transaction"
import * as MysqlServer from "@safesync/testkit/MysqlServer"
import type * as TcpProxy from "@safesync/testkit/TcpProxy"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import { accounts, add, balances, failure, inDatabase, tag, throughProxy } from "./support.js"

const commitOracle = Schedule.intersect(Schedule.spaced("20 millis"), Schedule.recurs(500))

const prepared = Effect.all([CommitOracle.migration, CommitOracle.migration, Inbox.migration, accounts])

/** Pairs of a way to lose COMMIT and whether it reached the server. */
const losses = [
  ["the reply is lost", (proxy: TcpProxy.TcpProxy) => proxy.loseReplies("COMMIT"), true],
  ["no reply comes", (proxy: TcpProxy.TcpProxy) => proxy.loseReplies("COMMIT", "hang"), true],
  ["the request is lost", (proxy: TcpProxy.TcpProxy) => proxy.loseRequest("COMMIT"), false]
] as const

const markers = Effect.flatMap(
  SqlClient,
  (sql) =>
    Effect.map(
      sql<{ n: number }>`SELECT COUNT(*) AS n FROM safesync_commit WHERE committed = 1`,
      ([row]) => Number(row!.n)
    )
)

layer(MysqlServer.layer, { excludeTestServices: true })("CommitOracle", (it) => {
  for (const [what, lose, arrives] of losses) {
    it.effect(`L3: COMMIT, and ${what}: the oracle says ${arrives ? "committed" : "CommitFailed"}`, () =>
      inDatabase(Effect.gen(function*() {
        yield* prepared
        let told = 0
        const exit = yield* throughProxy((proxy) =>
          Effect.zipRight(
            lose(proxy),
            Effect.exit(
              Effect.zipRight(
                Transaction.afterCommit(Effect.sync(() => void told++)),
                Effect.as(add(1, 10), "value")
              ).pipe(Transaction.run({ commitOracle, controlTimeout: "500 millis" }))
            )
          )
        )
        if (arrives) expect(exit).toMatchObject({ _tag: "Success", value: "value" })
        else expect(tag(exit)).toBe("CommitFailed")
        expect(told).toBe(arrives ? 1 : 0)
        expect(yield* markers).toBe(arrives ? 1 : 0)
        expect(yield* balances).toEqual([arrives ? 10 : 0, 0, 0])
      })))

    it.effect(`L3: with the inbox its row is the marker: ${what}`, () =>
      inDatabase(Effect.gen(function*() {
        yield* prepared
        const once = Transaction.run(Inbox.once("m", "g")(add(1, 10)), { commitOracle, controlTimeout: "500 millis" })
        const exit = yield* throughProxy((proxy) => Effect.zipRight(lose(proxy), Effect.exit(once)))
        expect(tag(exit)).toBe(arrives ? undefined : "CommitFailed")
        expect(yield* markers).toBe(0)
        expect(yield* balances).toEqual([arrives ? 10 : 0, 0, 0])
        expect(Option.isNone(yield* once)).toBe(arrives)
        expect(yield* balances).toEqual([10, 0, 0])
      })))
  }

  it.effect("L3: a COMMIT that is still on its way when the oracle is asked does not come true afterwards", () =>
    inDatabase(Effect.gen(function*() {
      yield* prepared
      const direct = yield* MysqlClient
      const exit = yield* throughProxy((proxy) =>
        Effect.gen(function*() {
          const proxied = yield* MysqlClient
          // the pool goes through the proxy, what is asked about it does not
          const client = Object.assign(Object.create(proxied) as typeof proxied, { config: direct.config })
          const exit = yield* Effect.zipRight(add(1, 10), proxy.stall("requests")).pipe(
            Transaction.run({ commitOracle, controlTimeout: "1 second" }),
            Effect.provideService(MysqlClient, client),
            Effect.exit
          )
          yield* proxy.resume("requests")
          return exit
        })
      )
      expect(tag(exit)).toBe("CommitFailed")
      // waits for the late session, should it be there
      yield* add(1, 1)
      expect(yield* balances).toEqual([1, 0, 0])
    })))

  it.effect("L3: another run of the same message is not taken for this one", () =>
    inDatabase(Effect.gen(function*() {
      yield* prepared
      const direct = yield* Effect.context<MysqlClient | SqlClient>()
      const other = Effect.provide(Transaction.run(Inbox.once("m", "g")(add(2, 1)), { commitOracle }), direct)
      const exit = yield* throughProxy((proxy) =>
        Effect.gen(function*() {
          const arrived = yield* proxy.observe("COMMIT")
          const lost = yield* proxy.loseRequest("COMMIT")
          // while the oracle cannot reach the server, another consumer handles the message
          yield* Effect.fork(Effect.zipRight(Effect.race(arrived, lost), Effect.zipRight(other, proxy.accept)))
          return yield* Inbox.once("m", "g")(Effect.zipRight(add(1, 10), proxy.refuse)).pipe(
            Transaction.run({ commitOracle }),
            Effect.exit
          )
        })
      )
      expect(tag(exit)).toBe("CommitFailed")
      expect(yield* balances).toEqual([0, 1, 0])
    })))

  it.effect("L3: a savepoint that is undone takes the inbox's row with it, and the marker is another one then", () =>
    inDatabase(Effect.gen(function*() {
      yield* prepared
      const sql = yield* SqlClient
      const undone = Inbox.once("m", "g")(Effect.fail("undo" as const))
      const exit = yield* throughProxy((proxy) =>
        Effect.zipRight(
          proxy.loseReplies("COMMIT"),
          Effect.exit(
            Effect.ignore(Transaction.savepoint(undone)).pipe(
              Effect.zipRight(Effect.ignore(sql.withTransaction(undone))),
              Effect.zipRight(add(1, 10)),
              Transaction.run({ commitOracle })
            )
          )
        )
      )
      expect(tag(exit)).toBe(undefined)
      expect(yield* markers).toBe(1)
      expect(yield* balances).toEqual([10, 0, 0])
    })))

  it.effect("L3: when the server cannot be asked until the schedule ends, the outcome stays unknown", () =>
    inDatabase(Effect.gen(function*() {
      yield* prepared
      const exit = yield* throughProxy((proxy) =>
        Effect.gen(function*() {
          yield* proxy.loseReplies("COMMIT")
          const exit = yield* Effect.zipRight(add(1, 10), proxy.refuse).pipe(
            Transaction.run({ commitOracle: Schedule.recurs(2) }),
            Effect.exit
          )
          yield* proxy.accept
          return exit
        })
      )
      expect(failure(exit)).toMatchObject({ _tag: "CommitOutcomeUnknown" })
      expect(yield* balances).toEqual([10, 0, 0])
    })))

  it.effect("L3: without its table COMMIT fails and nothing is written; a read-only transaction needs none", () =>
    inDatabase(Effect.gen(function*() {
      yield* accounts
      const exit = yield* Effect.exit(Transaction.run(add(1, 10), { commitOracle }))
      expect(failure(exit)).toMatchObject({ _tag: "CommitFailed", cause: { errno: 1146 } })
      expect(yield* Transaction.run(balances, { commitOracle, accessMode: "read-only" })).toEqual([0, 0, 0])
    })))

  it.effect("purge forgets old markers, and only those", () =>
    inDatabase(Effect.gen(function*() {
      yield* prepared
      const sql = yield* SqlClient
      yield* sql`INSERT INTO safesync_commit (marker, committed, written_at) VALUES
        (x'00', 1, NOW() - INTERVAL 2 HOUR), (x'01', 0, NOW() - INTERVAL 2 HOUR), (x'02', 1, NOW() - INTERVAL 2 HOUR)`
      yield* Transaction.run(add(1, 1), { commitOracle })
      expect(yield* CommitOracle.purge({ olderThan: "1 hour", batchSize: 2 })).toBe(3)
      expect(yield* markers).toBe(1)
    })))
})

layer(MysqlServer.layerOwn(), { excludeTestServices: true, timeout: "3 minutes" })(
  "CommitOracle, COMMIT held up",
  (it) => {
    for (const inbox of [true, false]) {
      it.effect(`L3: a COMMIT that hangs on the server is settled before it is answered for${inbox ? ", by the inbox" : ""}`, () =>
        inDatabase(Effect.gen(function*() {
          yield* prepared
          const direct = yield* Effect.context<MysqlClient | SqlClient>()
          const sql = yield* SqlClient
          const body = inbox ? Effect.asVoid(Inbox.once("m", "g")(add(1, 10))) : Effect.asVoid(add(1, 10))
          const held = (atLeast: number) =>
            Effect.provide(
              Effect.repeat(
                sql<{ n: number }>`SELECT COUNT(*) AS n FROM performance_schema.threads
                WHERE PROCESSLIST_STATE IN ('Waiting for commit lock', 'Waiting for global read lock')`,
                { until: ([row]) => row!.n >= atLeast }
              ),
              direct
            )
          const asked = Effect.provide(
            Effect.repeat(
              sql<{ n: number }>`SELECT SUM(SUM_ERRORS) AS n FROM performance_schema.events_statements_summary_by_digest
                WHERE DIGEST_TEXT LIKE '%safesync_inbox%FOR SHARE%NOWAIT%'`,
              { until: ([row]) => Number(row!.n) >= 5 }
            ),
            direct
          )
          const exit = yield* throughProxy((proxy) =>
            Effect.gen(function*() {
              const holder = yield* Effect.provide(sql.reserve, direct)
              const fiber = yield* Effect.fork(
                Effect.zipRight(body, holder.executeUnprepared("FLUSH TABLES WITH READ LOCK", [], undefined)).pipe(
                  Transaction.run({ commitOracle }),
                  Effect.exit
                )
              )
              yield* held(1)
              yield* proxy.cut
              // a row of the oracle's own waits, as COMMIT does, until writing is allowed; the inbox's row is asked for again
              yield* inbox ? asked : held(2)
              yield* holder.executeUnprepared("UNLOCK TABLES", [], undefined)
              return yield* Fiber.join(fiber)
            })
          )
          const committed = tag(exit) === undefined
          if (!committed) expect(tag(exit)).toBe("CommitFailed")
          yield* Transaction.run(add(2, 1))
          expect(yield* balances).toEqual([committed ? 10 : 0, 1, 0])
          // the session that was at work on its COMMIT has not been killed
          if (inbox) expect(committed).toBe(true)
        })))
    }
  }
)
