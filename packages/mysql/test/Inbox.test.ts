import { SqlClient } from "@effect/sql/SqlClient"
import { expect, layer } from "@effect/vitest"
import * as CommitOracle from "@safesync/mysql/CommitOracle"
import * as Inbox from "@safesync/mysql/Inbox"
import * as Transaction from "@safesync/mysql/Transaction"
import * as MysqlServer from "@safesync/testkit/MysqlServer"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import { accounts, add, balances, defect, inDatabase } from "./support.js"

const prepared = Effect.zipRight(Inbox.migration, Effect.zipRight(Inbox.migration, accounts))

layer(MysqlServer.layer, { excludeTestServices: true })("Inbox", (it) => {
  it.effect("L23: a message is applied once for each group, however many bring it at a time", () =>
    inDatabase(Effect.gen(function*() {
      yield* prepared
      const handle = (id: string, group: string) => Transaction.run(Inbox.once(id, group)(Effect.as(add(1, 1), "done")))
      const results = yield* Effect.all(Array.from({ length: 24 }, () => handle("m", "g")), { concurrency: 8 })
      expect(results.filter(Option.isSome)).toEqual([Option.some("done")])
      yield* handle("m", "another group")
      yield* handle("M", "g")
      yield* handle("m ", "g")
      yield* handle("x".repeat(300) + "1", "g")
      yield* handle("x".repeat(300) + "2", "g")
      // Halves of two surrogate pairs: UTF-8 has the same bytes for both.
      for (const half of ["\ud83c", "\ud83d", "\ud83c"]) yield* handle(`m${half}`, "g")
      expect(yield* balances).toEqual([8, 0, 0])
    })))

  it.effect("L23: a message whose transaction rolled back is not remembered", () =>
    inDatabase(Effect.gen(function*() {
      yield* prepared
      yield* Transaction.run(Inbox.once("m", "g")(Effect.zipRight(add(1, 1), Effect.fail("no")))).pipe(Effect.ignore)
      yield* Transaction.run(Inbox.once("m", "g")(add(1, 1)))
      expect(yield* balances).toEqual([1, 0, 0])
    })))

  it.effect("L23: onceMany remembers many messages in one statement, and tells which of them are new", () =>
    inDatabase(Effect.gen(function*() {
      yield* prepared
      const sql = yield* SqlClient
      const ids = Array.from({ length: 64 }, (_, i) => `m${i}`)
      const inserts = Effect.map(
        sql<{ Value: string }>`SHOW SESSION STATUS LIKE 'Com_insert'`,
        ([row]) => Number(row!.Value)
      )
      const [before, fresh, after] = yield* Transaction.run(
        Effect.all([inserts, Inbox.onceMany([...ids, ...ids], "g"), inserts])
      )
      expect(after - before).toBe(1)
      expect(fresh.toSorted()).toEqual(ids.toSorted())
      const more = Array.from({ length: 64 }, (_, i) => `m${i * 3}`)
      const news = more.filter((id) => !ids.includes(id))
      const [begin, some, end] = yield* Transaction.run(Effect.all([inserts, Inbox.onceMany(more, "g"), inserts]))
      expect(end - begin).toBe(1)
      expect(some.toSorted()).toEqual(news.toSorted())
      expect(yield* Transaction.run(Inbox.onceMany([...ids, ...more], "g"))).toEqual([])
      expect(yield* Transaction.run(Inbox.onceMany(["m1", "M1", "m1 "], "g"))).toEqual(["M1", "m1 "])
      expect(yield* Transaction.run(Inbox.onceMany([], "g"))).toEqual([])
    })))

  it.effect("L23: onceMany takes more ids than a prepared statement has places, new and known", () =>
    inDatabase(Effect.gen(function*() {
      yield* prepared
      const ids = Array.from({ length: 66_000 }, (_, i) => `m${i}`)
      expect(yield* Transaction.run(Inbox.onceMany(ids, "g"))).toHaveLength(66_000)
      expect(yield* Transaction.run(Inbox.onceMany([...ids, "n"], "g"))).toEqual(["n"])
    })))

  it.effect("batches of many sizes leave no prepared statement each, new and known", () =>
    inDatabase(
      Effect.gen(function*() {
        yield* prepared
        const sql = yield* SqlClient
        const count = Effect.map(
          sql<{ n: number }>`SELECT COUNT(*) AS n FROM performance_schema.prepared_statements_instances
            WHERE OWNER_THREAD_ID = PS_CURRENT_THREAD_ID()`.unprepared,
          ([row]) => row!.n
        )
        const batch = (size: number) => Array.from({ length: size }, (_, i) => `m${i}`)
        const [before, after] = yield* Transaction.run(Effect.gen(function*() {
          // Behind the first statement, with which BEGIN travels.
          const before = yield* count
          for (let size = 1; size <= 40; size++) yield* Inbox.onceMany(batch(size), "g")
          return [before, yield* count] as const
        }))
        expect(after - before).toBeLessThan(5)
      }),
      { maxConnections: 1 }
    ))

  it.effect("L23: within one transaction too a message is new once, and what a savepoint undoes is forgotten", () =>
    inDatabase(Effect.gen(function*() {
      yield* Effect.zipRight(prepared, CommitOracle.migration)
      const body = Effect.gen(function*() {
        expect(yield* Inbox.onceMany(["a", "b"], "g")).toEqual(["a", "b"])
        expect(yield* Inbox.onceMany(["b", "c"], "g")).toEqual(["c"])
        expect(yield* Inbox.once("c", "g")(Effect.void)).toEqual(Option.none())
        const undone = Effect.zipRight(Inbox.onceMany(["d"], "g"), Effect.fail("no"))
        yield* Effect.ignore(Transaction.savepoint(undone))
        expect(yield* Inbox.onceMany(["d", "e"], "g")).toEqual(["d", "e"])
      })
      yield* Transaction.run(body, { commitOracle: Schedule.recurs(1) })
    })))

  it.effect("L23: batches that overlap wait for each other and apply each message once, also after a rollback", () =>
    inDatabase(Effect.gen(function*() {
      yield* prepared
      const handle = (from: number, fails: boolean) =>
        Inbox.onceMany(Array.from({ length: 20 }, (_, i) => `m${String(from + i).padStart(3, "0")}`), "g").pipe(
          Effect.tap((fresh) => add(1, fresh.length)),
          Effect.zipRight(fails ? Effect.fail("no") : Effect.void),
          Transaction.run({ isolation: "read-committed" }),
          // when a batch is rolled back for which several others wait, InnoDB may choose a victim among them
          Effect.retry({
            while: (error) => typeof error === "object" && error._tag === "Deadlock",
            schedule: Schedule.jittered(Schedule.spaced("5 millis"))
          })
        )
      // each id is in up to four batches, and every third batch is rolled back
      const results = yield* Effect.all(
        Array.from({ length: 24 }, (_, i) => Effect.exit(handle(i * 5, i % 3 === 1))),
        { concurrency: 8 }
      )
      const failures = results.filter((exit) => exit._tag === "Failure")
      expect(failures.length).toBe(8)
      const sql = yield* SqlClient
      const [row] = yield* sql<{ n: number }>`SELECT COUNT(*) AS n FROM safesync_inbox`
      expect(yield* balances).toEqual([Number(row!.n), 0, 0])
      expect(Number(row!.n)).toBeGreaterThan(100)
    })))

  it.effect("a purge in batches of nothing is refused, it would not end", () =>
    inDatabase(Effect.gen(function*() {
      yield* prepared
      for (const batchSize of [0, -1, 0.5, NaN]) {
        const exit = yield* Effect.exit(Inbox.purge({ olderThan: 0, batchSize }))
        expect(String(defect(exit))).toContain("at least one")
      }
    })))

  it.effect(
    "purge ends with what was old when it began, although there are more rows after each batch",
    () =>
      inDatabase(Effect.gen(function*() {
        yield* prepared
        const sql = yield* SqlClient
        let written = 0
        const write = Effect.suspend(() =>
          sql`INSERT INTO safesync_inbox (consumer_group, message_id) VALUES ${
            sql.literal(Array.from({ length: 20 }, () => `('g', 'm${written++}')`).join(", "))
          }`
        )
        yield* write
        const writer = yield* Effect.fork(Effect.forever(write))
        const purged = yield* Inbox.purge({ olderThan: 0, batchSize: 1 })
        yield* Fiber.interrupt(writer)
        expect(purged).toBeGreaterThanOrEqual(20)
        expect(purged).toBeLessThan(written)
      })),
    20_000
  )

  it.effect("purge forgets old messages in batches, and only those", () =>
    inDatabase(Effect.gen(function*() {
      yield* prepared
      const sql = yield* SqlClient
      yield* sql`INSERT INTO safesync_inbox (consumer_group, message_id, processed_at)
        SELECT 'g', CONCAT('old', seq.n), NOW() - INTERVAL 2 DAY
        FROM (WITH RECURSIVE s (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < 25) SELECT n FROM s) seq`
      yield* Transaction.run(Inbox.once("new", "g")(Effect.void))
      expect(yield* Inbox.purge({ olderThan: Infinity })).toBe(0)
      expect(yield* Inbox.purge({ olderThan: "1 day", batchSize: 10 })).toBe(25)
      expect(yield* sql`SELECT CAST(message_id AS CHAR) AS id FROM safesync_inbox`).toEqual([{ id: "new" }])
    })))
})
