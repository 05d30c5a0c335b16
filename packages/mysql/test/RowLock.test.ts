import { SqlClient } from "@effect/sql/SqlClient"
import { expect, layer } from "@effect/vitest"
import * as RowLock from "@safesync/mysql/RowLock"
import * as Transaction from "@safesync/mysql/Transaction"
import * as MysqlServer from "@safesync/testkit/MysqlServer"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import { accounts, add, balances, defect, inDatabase, tag } from "./support.js"

/** A transaction that runs `lock` and holds what it got until `release` is called. */
const holding = <A, E, R>(lock: Effect.Effect<A, E, R>) =>
  Effect.gen(function*() {
    const held = yield* Deferred.make<void>()
    const release = yield* Deferred.make<void>()
    const fiber = yield* Effect.fork(
      Transaction.run(
        Effect.zipRight(Effect.zipRight(lock, Deferred.succeed(held, undefined)), Deferred.await(release))
      )
    )
    yield* Deferred.await(held)
    return { release: Effect.zipRight(Deferred.succeed(release, undefined), Fiber.join(fiber)) }
  })

layer(MysqlServer.layer, { excludeTestServices: true })("RowLock", (it) => {
  it.effect("L9: read, compute, write under the lock loses no update", () =>
    inDatabase(Effect.gen(function*() {
      yield* accounts
      const sql = yield* SqlClient
      const increment = Transaction.run(Effect.gen(function*() {
        const row = Option.getOrThrow(yield* RowLock.forUpdate({ table: "account", where: { id: 1 } }))
        yield* sql`UPDATE account SET balance = ${Number(row["balance"]) + 1} WHERE id = 1`
      }))
      yield* Effect.all(Array.from({ length: 80 }, () => increment), { concurrency: 8 })
      expect(yield* balances).toEqual([80, 0, 0])
    })))

  it.effect("L9: returns the row as it is under the lock, none where there is none; null means IS NULL", () =>
    inDatabase(Effect.gen(function*() {
      yield* accounts
      const sql = yield* SqlClient
      yield* sql`CREATE TABLE ${sql("order")} (${sql("group")} INT PRIMARY KEY, ${sql("key")} INT NULL)`
      yield* sql`INSERT INTO ${sql("order")} VALUES (1, NULL), (2, 2)`
      yield* Transaction.run(Effect.gen(function*() {
        expect(yield* RowLock.forUpdate({ table: "account", where: { id: 9 } })).toEqual(Option.none())
        const row = yield* RowLock.forUpdate({ table: "order", where: { key: null } })
        expect(Option.map(row, (_) => _["group"])).toEqual(Option.some(1))
      }))
    })))

  it.effect("L9, L11: nowait, skip locked, and a wait bounded below one second", () =>
    inDatabase(Effect.gen(function*() {
      yield* accounts
      const holder = yield* holding(RowLock.forUpdate({ table: "account", where: { id: 1 } }))
      const lock = (wait: RowLock.Wait) =>
        Transaction.run(RowLock.forUpdate({ table: "account", where: { id: 1 }, wait }))
      expect(tag(yield* Effect.exit(lock("nowait")))).toBe("LockNotAvailable")
      expect(yield* lock("skip-locked")).toEqual(Option.none())
      const bounded = yield* Effect.exit(lock("200 millis"))
      expect(tag(bounded)).toBe("LockWaitTimeout")
      yield* holder.release
      expect(Option.isSome(yield* lock("wait"))).toBe(true)
    })))

  it.effect("L9: shared locks go together, an exclusive one does not", () =>
    inDatabase(Effect.gen(function*() {
      yield* accounts
      const holder = yield* holding(RowLock.forShare({ table: "account", where: { id: 1 } }))
      const options = { table: "account", where: { id: 1 }, wait: "nowait" } as const
      expect(Option.isSome(yield* Transaction.run(RowLock.forShare(options)))).toBe(true)
      expect(tag(yield* Effect.exit(Transaction.run(RowLock.forUpdate(options))))).toBe("LockNotAvailable")
      yield* holder.release
    })))

  it.effect("L9: several rows are locked in the key's order: crosswise callers do not deadlock", () =>
    inDatabase(Effect.gen(function*() {
      yield* accounts
      const transfer = (values: ReadonlyArray<number>) =>
        Transaction.run(Effect.gen(function*() {
          const rows = yield* RowLock.forUpdateMany({ table: "account", key: "id", values })
          expect(rows.map((row) => row["id"])).toEqual([1, 2, 3])
          yield* Effect.forEach(values, (id) => add(id, 1))
        }))
      yield* Effect.all(
        Array.from({ length: 30 }, (_, i) => transfer(i % 2 === 0 ? [1, 2, 3] : [3, 2, 1])),
        { concurrency: 6 }
      )
      expect(yield* balances).toEqual([30, 30, 30])
    })))

  it.effect("an empty condition is refused", () =>
    inDatabase(Effect.gen(function*() {
      const where = {} as { id: number }
      expect(String(defect(
        yield* Effect.exit(
          Transaction.run(Effect.suspend(() => RowLock.forUpdate({ table: "account", where })))
        )
      ))).toMatch(/every row/)
    })))
})
