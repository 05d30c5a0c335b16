import { SqlClient } from "@effect/sql/SqlClient"
import { expect, layer } from "@effect/vitest"
import * as AdvisoryLock from "@safesync/mysql/AdvisoryLock"
import * as IdempotentInsert from "@safesync/mysql/IdempotentInsert"
import * as Inbox from "@safesync/mysql/Inbox"
import * as MysqlMetrics from "@safesync/mysql/MysqlMetrics"
import * as Occ from "@safesync/mysql/Occ"
import * as Transaction from "@safesync/mysql/Transaction"
import * as MysqlServer from "@safesync/testkit/MysqlServer"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import { inDatabase, outside, tag, throughProxy, untilLockWait } from "./support.js"

/** How many writes of a table ended so, and how often their latency was observed. */
const written = (table: string, op_type: string) => ({
  success: MysqlMetrics.writes.unsafeValue(MysqlMetrics.labels({ table, op_type, status: "success" })).count,
  error: MysqlMetrics.writes.unsafeValue(MysqlMetrics.labels({ table, op_type, status: "error" })).count,
  observed: latency(table, op_type).count
})

const latency = (table: string, op_type: string) =>
  MysqlMetrics.writeLatency.unsafeValue(MysqlMetrics.labels({ table, op_type }))

const transactions = (outcome: keyof typeof MysqlMetrics.outcomeLabels) =>
  MysqlMetrics.transactions.unsafeValue(MysqlMetrics.outcomeLabels[outcome]).count

const table = (name: string) =>
  Effect.tap(SqlClient, (sql) => sql`CREATE TABLE ${sql(name)} (id INT PRIMARY KEY, n INT NOT NULL DEFAULT 0)`)

layer(MysqlServer.layer, { excludeTestServices: true })("MysqlMetrics", (it) => {
  it.effect("what a transaction wrote counts as a success when it is committed, and not before", () =>
    inDatabase(Effect.gen(function*() {
      const sql = yield* table("m_commit")
      const before = yield* Transaction.run(Effect.gen(function*() {
        yield* sql`INSERT INTO m_commit (id) VALUES (1), (2)`
        yield* sql`UPDATE m_commit SET n = 1`
        yield* sql`UPDATE m_commit AS m SET m.n = 2`
        return written("m_commit", "update")
      }))
      expect(before).toEqual({ success: 0, error: 0, observed: 0 })
      expect(written("m_commit", "insert")).toEqual({ success: 1, error: 0, observed: 1 })
      expect(written("m_commit", "update")).toEqual({ success: 2, error: 0, observed: 2 })
    })))

  it.effect("a write that was rolled back is an error: it did not happen", () =>
    inDatabase(Effect.gen(function*() {
      const sql = yield* table("m_rollback")
      const rolledBack = transactions("rolled_back")
      yield* Effect.exit(Transaction.run(Effect.zipRight(
        sql`REPLACE m_rollback VALUES (1, 1)`,
        Effect.fail("no")
      )))
      expect(written("m_rollback", "replace")).toEqual({ success: 0, error: 1, observed: 1 })
      expect(transactions("rolled_back") - rolledBack).toBe(1)
    })))

  it.effect("what a savepoint undoes is an error, what stands before and after it is committed", () =>
    inDatabase(Effect.gen(function*() {
      const sql = yield* table("m_savepoint")
      const insert = (id: number) => sql`INSERT INTO m_savepoint (id) VALUES (${id})`
      yield* Transaction.run(Effect.gen(function*() {
        yield* insert(1)
        yield* Effect.exit(Transaction.savepoint(Effect.zipRight(insert(2), Effect.fail("no"))))
        yield* insert(3)
        yield* Effect.exit(sql.withTransaction(Effect.zipRight(insert(4), Effect.fail("no"))))
      }))
      expect(written("m_savepoint", "insert")).toEqual({ success: 2, error: 2, observed: 4 })
    })))

  it.effect("a statement that fails is counted, with the time that it waited for its lock", () =>
    inDatabase(Effect.gen(function*() {
      const sql = yield* table("m_failed")
      yield* sql`INSERT INTO m_failed (id) VALUES (1)`
      const duplicate = yield* Effect.exit(Transaction.run(sql`INSERT INTO m_failed (id) VALUES (1)`))
      expect(tag(duplicate)).toBe("DuplicateKey")
      expect(written("m_failed", "insert")).toEqual({ success: 0, error: 1, observed: 1 })
      yield* Transaction.run(Effect.gen(function*() {
        yield* sql`SELECT * FROM m_failed FOR UPDATE`
        const waited = yield* Effect.exit(outside(
          Transaction.run(sql`UPDATE m_failed SET n = 1`, { lockWaitTimeout: "1 second" })
        ))
        expect(tag(waited)).toBe("LockWaitTimeout")
      }))
      expect(written("m_failed", "update")).toEqual({ success: 0, error: 1, observed: 1 })
      expect(latency("m_failed", "update").sum).toBeGreaterThan(0.9)
    })))

  it.effect("a statement that is interrupted is counted", () =>
    inDatabase(Effect.gen(function*() {
      const sql = yield* table("m_interrupted")
      yield* sql`INSERT INTO m_interrupted (id) VALUES (1)`
      yield* Transaction.run(Effect.gen(function*() {
        yield* sql`SELECT * FROM m_interrupted FOR UPDATE`
        const waiting = yield* Effect.fork(outside(Transaction.run(sql`DELETE FROM m_interrupted`)))
        yield* outside(untilLockWait)
        yield* Fiber.interrupt(waiting)
      }))
      expect(written("m_interrupted", "delete")).toEqual({ success: 0, error: 1, observed: 1 })
    })))

  it.effect("the latency of a write includes COMMIT", () =>
    inDatabase(Effect.gen(function*() {
      const sql = yield* table("m_latency")
      yield* throughProxy((proxy) =>
        Transaction.run(Effect.flatMap(SqlClient, (sql) =>
          Effect.zipRight(sql`INSERT INTO m_latency (id) VALUES (1)`, proxy.delay("60 millis"))))
      )
      expect(latency("m_latency", "insert").count).toBe(1)
      expect(latency("m_latency", "insert").sum).toBeGreaterThan(0.119)
      const [row] = yield* sql<{ n: number }>`SELECT COUNT(*) AS n FROM m_latency`
      expect(row!.n).toBe(1)
    })))

  it.effect("L3: a COMMIT without an answer makes its writes errors, and counts as unknown", () =>
    inDatabase(Effect.gen(function*() {
      yield* table("m_unknown")
      const unknown = transactions("commit_unknown")
      const exit = yield* throughProxy((proxy) =>
        Effect.zipRight(
          proxy.loseReplies("COMMIT"),
          Effect.exit(Transaction.run(Effect.flatMap(SqlClient, (sql) => sql`INSERT INTO m_unknown (id) VALUES (1)`)))
        )
      )
      expect(tag(exit)).toBe("CommitOutcomeUnknown")
      expect(transactions("commit_unknown") - unknown).toBe(1)
      expect(written("m_unknown", "insert")).toEqual({ success: 0, error: 1, observed: 1 })
    })))

  it.effect("L7: what the server committed by itself was committed, though the transaction is aborted", () =>
    inDatabase(Effect.gen(function*() {
      const sql = yield* table("m_implicit")
      const exit = yield* Effect.exit(Transaction.run(Effect.gen(function*() {
        yield* sql`INSERT INTO m_implicit (id) VALUES (1)`
        yield* sql`CREATE TABLE m_implicit_2 (id INT PRIMARY KEY)`
      })))
      expect(tag(exit)).toBe("TransactionAborted")
      expect(written("m_implicit", "insert")).toEqual({ success: 1, error: 0, observed: 1 })
    })))

  it.effect("a duplicate that is expected is no error, the inbox's counts when it is committed, and its own write never", () =>
    inDatabase(Effect.gen(function*() {
      yield* table("m_absorbed")
      yield* Inbox.migration
      const insert = IdempotentInsert.insert({ table: "m_absorbed", values: { id: 1 }, key: "PRIMARY" })
      const write = Transaction.run(Effect.all([
        insert,
        insert,
        Inbox.once("a", "g")(Effect.void),
        Inbox.onceMany(["a", "b"], "g")
      ]))
      const duplicates = () => MysqlMetrics.inboxDuplicates.unsafeValue([]).count
      const before = duplicates()
      yield* write
      expect(written("m_absorbed", "insert")).toEqual({ success: 2, error: 0, observed: 2 })
      // Writes of this package for itself are none of the application's.
      expect(written(Inbox.table, "insert")).toEqual({ success: 0, error: 0, observed: 0 })
      expect(duplicates() - before).toBe(1)
      yield* Effect.exit(Transaction.run(Effect.zipRight(Inbox.once("a", "g")(Effect.void), Effect.fail("no"))))
      expect(duplicates() - before).toBe(1)
      const wrong = IdempotentInsert.insert({ table: "m_absorbed", values: { id: 1 }, key: "another" })
      expect(tag(yield* Effect.exit(Transaction.run(wrong)))).toBe("DuplicateKey")
      expect(written("m_absorbed", "insert")).toEqual({ success: 2, error: 1, observed: 3 })
    })))

  it.effect("a deadlock is counted once, for its victim", () =>
    inDatabase(Effect.gen(function*() {
      const sql = yield* table("m_deadlock")
      yield* sql`INSERT INTO m_deadlock (id) VALUES (1), (2)`
      const before = MysqlMetrics.deadlocks.unsafeValue(MysqlMetrics.deadlockLabels.row).count
      const latches = [yield* Deferred.make<void>(), yield* Deferred.make<void>()]
      const cross = (mine: number) =>
        Transaction.run(Effect.gen(function*() {
          yield* sql`UPDATE m_deadlock SET n = n + 1 WHERE id = ${mine}`
          yield* Deferred.succeed(latches[mine - 1]!, undefined)
          yield* Deferred.await(latches[2 - mine]!)
          yield* sql`UPDATE m_deadlock SET n = n + 1 WHERE id = ${3 - mine}`
        }))
      const exits = yield* Effect.all([Effect.exit(cross(1)), Effect.exit(cross(2))], { concurrency: 2 })
      expect(exits.map(tag).filter((_) => _ === "Deadlock").length).toBe(1)
      expect(MysqlMetrics.deadlocks.unsafeValue(MysqlMetrics.deadlockLabels.row).count - before).toBe(1)
      // the victim's first write was undone, its second one failed
      expect(written("m_deadlock", "update")).toEqual({ success: 2, error: 2, observed: 4 })
    })))

  it.effect("a write on the connection that holds an advisory lock is its own commit", () =>
    inDatabase(Effect.gen(function*() {
      yield* table("m_held")
      yield* Effect.scoped(Effect.gen(function*() {
        const { session } = yield* AdvisoryLock.acquire("m_held", { timeout: 0 })
        yield* session.write("INSERT INTO m_held (id) VALUES (1)", [])
        expect(written("m_held", "insert")).toEqual({ success: 1, error: 0, observed: 1 })
      }))
    })))

  it.effect("optimistic updates are counted, and those that lost", () =>
    inDatabase(Effect.gen(function*() {
      const sql = yield* SqlClient
      yield* sql`CREATE TABLE m_occ (id INT PRIMARY KEY, n INT NOT NULL, version INT NOT NULL)`
      yield* sql`INSERT INTO m_occ VALUES (1, 0, 0)`
      const update = (expected: number) =>
        Effect.exit(Transaction.run(Occ.update({
          table: "m_occ",
          key: { id: 1 },
          version: { column: "version", expected },
          set: { n: 1 }
        })))
      yield* update(0)
      expect(tag(yield* update(0))).toBe("VersionConflict")
      const labels = MysqlMetrics.labels({ table: "m_occ" })
      expect(MysqlMetrics.occAttempts.unsafeValue(labels).count).toBe(2)
      expect(MysqlMetrics.occConflicts.unsafeValue(labels).count).toBe(1)
    })))

  it.effect("the tables that have a label of their own are bounded in number", () =>
    Effect.sync(() => {
      const labels = new Set(Array.from({ length: 1_000 }, (_, i) => MysqlMetrics.tableLabel(`t_${i}`)))
      expect(labels.size).toBeLessThanOrEqual(201)
      expect(labels.has("other")).toBe(true)
      expect(MysqlMetrics.tableLabel("shop.t_1")).toBe("t_1")
    }))
})
