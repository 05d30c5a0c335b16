import { SqlClient } from "@effect/sql/SqlClient"
import { expect, layer } from "@effect/vitest"
import * as AdvisoryLock from "@safesync/mysql/AdvisoryLock"
import * as Transaction from "@safesync/mysql/Transaction"
import * as MysqlServer from "@safesync/testkit/MysqlServer"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { accounts, add, balances, connectionId, holding, inDatabase, kill, outside, tag } from "./support.js"

const lock = (name: string, timeout: number, namespace?: string) =>
  AdvisoryLock.acquireInTransaction(name, { timeout, namespace })

const whileHeld = <A, E, R>(name: string, then: Effect.Effect<A, E, R>) =>
  Effect.flatMap(holding(lock(name, 1000)), ({ release }) => Effect.zipLeft(then, release))

layer(MysqlServer.layer, { excludeTestServices: true })("AdvisoryLock", (it) => {
  it.effect("L10: whoever gets the lock next sees what its holder committed", () =>
    inDatabase(Effect.gen(function*() {
      yield* accounts
      const sql = yield* SqlClient
      // read-modify-write of a row that nothing else protects, not even a row lock
      const increment = Transaction.run(
        Effect.gen(function*() {
          yield* lock("counter", 5_000)
          const [row] = yield* sql<{ balance: number }>`SELECT balance FROM account WHERE id = 1`
          yield* sql`UPDATE account SET balance = ${row!.balance + 1} WHERE id = 1`
        }),
        { isolation: "read-committed" }
      )
      yield* Effect.all(Array.from({ length: 80 }, () => increment), { concurrency: 8 })
      expect(yield* balances).toEqual([80, 0, 0])
    })))

  it.effect("L10: it is released after COMMIT and after ROLLBACK, and the connection goes back without it", () =>
    inDatabase(
      Effect.gen(function*() {
        const sql = yield* SqlClient
        const held = sql<{ n: number }>`SELECT COUNT(*) AS n FROM performance_schema.metadata_locks
          WHERE object_type = 'USER LEVEL LOCK'
            AND owner_thread_id = (SELECT thread_id FROM performance_schema.threads WHERE processlist_id = CONNECTION_ID())`
        for (const end of [Effect.void, Effect.fail("no")]) {
          yield* Transaction.run(Effect.gen(function*() {
            yield* lock("x", 0)
            yield* lock("x", 0)
            expect((yield* held)[0]!.n).toBe(1)
            yield* end
          })).pipe(Effect.ignore)
          expect((yield* held)[0]!.n).toBe(0)
        }
      }),
      { maxConnections: 1 }
    ))

  it.effect("L10: long names work, names that differ only in case and other namespaces are other locks", () =>
    inDatabase(whileHeld(
      "Name",
      Effect.gen(function*() {
        yield* Transaction.run(lock("name", 0))
        yield* Transaction.run(lock("Name", 0, "another application"))
        yield* Transaction.run(Effect.zipRight(lock("x".repeat(500) + "1", 0), lock("x".repeat(500) + "2", 0)))
        expect(tag(yield* Effect.exit(Transaction.run(lock("Name", 0))))).toBe("AdvisoryLockTimeout")
      })
    )))

  it.effect("L11: a timeout below one second", () =>
    inDatabase(whileHeld(
      "x",
      Effect.gen(function*() {
        const exit = yield* Effect.exit(Transaction.run(lock("x", 150)))
        expect(tag(exit)).toBe("AdvisoryLockTimeout")
        const whole = yield* Effect.exit(Transaction.run(lock("x", 1_000)))
        expect(tag(whole)).toBe("AdvisoryLockTimeout")
      })
    )))

  it.effect("L11: a deadlock among advisory locks has a tag of its own, and the transaction stays open", () =>
    inDatabase(Effect.gen(function*() {
      yield* accounts
      const first = yield* Deferred.make<void>()
      const second = yield* Deferred.make<void>()
      const one = (mine: string, theirs: string, latch: Deferred.Deferred<void>, wait: Deferred.Deferred<void>) =>
        Transaction.run(Effect.gen(function*() {
          yield* lock(mine, 0)
          yield* Deferred.succeed(latch, undefined)
          yield* Deferred.await(wait)
          const got = yield* Effect.exit(lock(theirs, 20_000))
          yield* add(1, 1)
          return got
        }))
      const exits = yield* Effect.all([one("a", "b", first, second), one("b", "a", second, first)], { concurrency: 2 })
      expect(exits.filter(Exit.isSuccess).length).toBe(1)
      expect(exits.map(tag)).toContain("AdvisoryLockDeadlock")
      expect(yield* balances).toEqual([2, 0, 0])
    })))

  it.effect("L10: a lock that died with its transaction's connection has nothing committed under it", () =>
    inDatabase(Effect.gen(function*() {
      yield* accounts
      const exit = yield* Effect.exit(Transaction.run(Effect.gen(function*() {
        yield* lock("x", 0)
        yield* add(1, 1)
        yield* kill(yield* connectionId)
        // it is free, and whoever has it now sees nothing of the transaction
        yield* outside(Transaction.run(lock("x", 1_000)))
      })))
      expect(tag(exit)).toBe("TransactionAborted")
      expect(yield* balances).toEqual([0, 0, 0])
    })))

  it.effect("an answer of GET_LOCK that is none is not told as a timeout", () =>
    Effect.gen(function*() {
      const session = { database: "d", lock: () => Effect.succeed([{ granted: null }]) }
      const exit = yield* Effect.exit(Effect.provideService(lock("x", 0), Transaction.Transaction, {
        session,
        atEnd: [],
        onEnd: []
      } as never))
      expect(tag(exit)).toBe("StatementFailed")
    }))
})
