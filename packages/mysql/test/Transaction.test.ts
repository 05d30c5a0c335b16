import * as MysqlClient from "@effect/sql-mysql2/MysqlClient"
import { SqlClient } from "@effect/sql/SqlClient"
import { expect, layer } from "@effect/vitest"
import * as MysqlError from "@safesync/mysql/MysqlError"
import * as Transaction from "@safesync/mysql/Transaction"
import * as MysqlServer from "@safesync/testkit/MysqlServer"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Scope from "effect/Scope"
import {
  accounts,
  add,
  anotherClient,
  balances,
  connectionId,
  defect,
  failure,
  inDatabase,
  kill,
  tag
} from "./support.js"

layer(MysqlServer.layer, { excludeTestServices: true })("Transaction", (it) => {
  it.effect("L1: success commits, failure and defect roll back, plain sql runs on the transaction's connection", () =>
    inDatabase(Effect.gen(function*() {
      yield* accounts
      const [inside, tx] = yield* Transaction.run(
        Effect.zipRight(add(1, 10), Effect.all([connectionId, Transaction.Transaction]))
      )
      expect(inside).toBe(tx.connectionId)
      const failed = yield* Effect.exit(Transaction.run(Effect.zipRight(add(1, 5), Effect.fail("no" as const))))
      expect(failure(failed)).toBe("no")
      const died = yield* Effect.exit(Transaction.run(Effect.zipRight(add(1, 5), Effect.die("bug"))))
      expect(defect(died)).toBe("bug")
      expect(yield* balances).toEqual([10, 0, 0])
    })))

  it.effect("L1: interruption rolls back", () =>
    inDatabase(Effect.gen(function*() {
      yield* accounts
      const written = yield* Deferred.make<void>()
      const fiber = yield* Effect.fork(
        Transaction.run(Effect.zipRight(add(1, 5), Effect.zipRight(Deferred.succeed(written, undefined), Effect.never)))
      )
      yield* Deferred.await(written)
      yield* Fiber.interrupt(fiber)
      expect(yield* balances).toEqual([0, 0, 0])
    })))

  it.effect("L1: the Scope form commits or rolls back by its scope's Exit", () =>
    inDatabase(Effect.gen(function*() {
      yield* accounts
      yield* Effect.scoped(Effect.flatMap(Transaction.make(), (tx) => Transaction.provide(add(1, 1), tx)))
      yield* Effect.scoped(Effect.gen(function*() {
        const tx = yield* Transaction.make()
        yield* add(1, 100).pipe(Transaction.provide(tx))
        return yield* Effect.fail("no")
      })).pipe(Effect.ignore)
      expect(yield* balances).toEqual([1, 0, 0])
    })))

  it.effect("L1: a Scope of the body closes before COMMIT, and its defect rolls back", () =>
    inDatabase(Effect.gen(function*() {
      yield* accounts
      yield* Transaction.run(Effect.zipRight(add(1, 1), Effect.addFinalizer(() => Effect.orDie(add(2, 2)))))
      const died = yield* Effect.exit(
        Transaction.run(Effect.zipRight(add(1, 1), Effect.addFinalizer(() => Effect.die("late"))))
      )
      expect(defect(died)).toBe("late")
      expect(yield* balances).toEqual([1, 2, 0])
    })))

  it.effect("L2: a failed ROLLBACK does not hide the body's failure, and the connection is discarded", () =>
    inDatabase(
      Effect.gen(function*() {
        yield* accounts
        const killed = yield* Deferred.make<number>()
        const exit = yield* Effect.exit(Transaction.run(Effect.gen(function*() {
          yield* add(1, 5)
          yield* Deferred.succeed(killed, yield* connectionId)
          yield* kill(yield* connectionId)
          return yield* Effect.fail("mine" as const)
        })))
        expect(failure(exit)).toBe("mine")
        expect(yield* balances).toEqual([0, 0, 0])
        expect(yield* Transaction.run(connectionId)).not.toBe(yield* Deferred.await(killed))
      }),
      { maxConnections: 1 }
    ))

  it.effect("L3: a connection that died before COMMIT is TransactionAborted, and nothing is written", () =>
    inDatabase(Effect.gen(function*() {
      yield* accounts
      const exit = yield* Effect.exit(Transaction.run(Effect.gen(function*() {
        yield* add(1, 5)
        yield* kill(yield* connectionId)
        // "ConnectionLost" from the statement itself, or a refusal where the loss was noticed before it
        expect(["ConnectionLost", "TransactionAborted"]).toContain(
          tag(yield* Effect.exit(MysqlError.refail(add(2, 5))))
        )
      })))
      expect(failure(exit)).toMatchObject({ _tag: "TransactionAborted", reason: "connection-lost" })
      expect(yield* balances).toEqual([0, 0, 0])
    })))

  it.effect("L5: session variables are as before when the connection is used again", () =>
    inDatabase(
      Effect.gen(function*() {
        const sql = yield* SqlClient
        const variables = sql<{ wait: number; mode: string }>`
          SELECT @@innodb_lock_wait_timeout AS wait, @@transaction_isolation AS mode`
        const before = yield* variables
        const [during] = yield* Transaction.run(variables, {
          lockWaitTimeout: "3 seconds",
          isolation: "read-committed"
        })
        expect(during!.wait).toBe(3)
        expect(yield* variables).toEqual(before)
        for (
          const statement of ["SET SESSION innodb_lock_wait_timeout = 7", "DO 0;/* */SET innodb_lock_wait_timeout = 7"]
        ) {
          yield* Transaction.run(sql.unsafe(statement).unprepared)
          expect(yield* variables).toEqual(before)
        }
        yield* sql.unsafe("SET SESSION innodb_lock_wait_timeout = 7").unprepared
        for (const body of [variables, Effect.zipRight(variables, Effect.fail("no"))]) {
          yield* Effect.exit(Transaction.run(body, { lockWaitTimeout: "3 seconds" }))
          expect((yield* variables)[0]!.wait).toBe(7)
        }
      }),
      { maxConnections: 1 }
    ))

  it.effect("L8: a fiber that outlives its transaction gets a defect that says so", () =>
    inDatabase(Effect.gen(function*() {
      yield* accounts
      const ended = yield* Deferred.make<void>()
      const daemon = yield* Transaction.run(
        Effect.forkDaemon(Effect.exit(Effect.zipRight(Deferred.await(ended), add(1, 1))))
      )
      yield* Deferred.succeed(ended, undefined)
      expect(String(defect(yield* Fiber.join(daemon)))).toMatch(/transaction whose scope is closed/)
      expect(yield* balances).toEqual([0, 0, 0])
    })))

  it.effect("L8: but it may open a transaction of its own", () =>
    inDatabase(Effect.gen(function*() {
      yield* accounts
      const ended = yield* Deferred.make<void>()
      const daemon = yield* Transaction.run(Effect.zipRight(
        add(1, 1),
        Effect.forkDaemon(
          Effect.zipRight(Deferred.await(ended), Transaction.run(Effect.zipRight(add(1, 10), balances)))
        )
      ))
      yield* Deferred.succeed(ended, undefined)
      expect(yield* Fiber.join(daemon)).toEqual([11, 0, 0])
      expect(yield* balances).toEqual([11, 0, 0])
    })))

  it.effect("L8: a transaction inside another is a defect that names savepoint, inside sql.withTransaction one that names run", () =>
    inDatabase(Effect.gen(function*() {
      yield* accounts
      const sql = yield* SqlClient
      const ours = yield* Effect.exit(Transaction.run(Transaction.run(add(1, 1))))
      expect(String(defect(ours))).toMatch(/Transaction\.savepoint/)
      const theirs = yield* Effect.exit(sql.withTransaction(Transaction.run(add(1, 1))))
      expect(String(defect(theirs))).toMatch(/sql\.withTransaction/)
    })))

  it.effect("savepoint: undoes its part and the transaction goes on; sql.withTransaction inside is one too", () =>
    inDatabase(Effect.gen(function*() {
      yield* accounts
      const sql = yield* SqlClient
      yield* Transaction.run(Effect.gen(function*() {
        yield* add(1, 1)
        yield* Transaction.savepoint(Effect.zipRight(add(2, 10), Effect.fail("undo"))).pipe(Effect.ignore)
        yield* Transaction.savepoint(add(2, 2))
        yield* sql.withTransaction(Effect.zipRight(add(3, 10), Effect.fail("undo"))).pipe(Effect.ignore)
        yield* sql.withTransaction(add(3, 3))
      }))
      expect(yield* balances).toEqual([1, 2, 3])
    })))

  it.effect("afterCommit: what a savepoint undoes is not done, whoever sets the savepoint", () =>
    inDatabase(Effect.gen(function*() {
      yield* accounts
      const sql = yield* SqlClient
      const told: Array<string> = []
      const tell = (what: string) => Transaction.afterCommit(Effect.sync(() => void told.push(what)))
      const fails = (what: string) => Effect.zipRight(tell(what), Effect.fail("no"))
      yield* Transaction.run(Effect.all([
        tell("before"),
        Effect.ignore(Transaction.savepoint(fails("savepoint"))),
        Effect.ignore(sql.withTransaction(fails("withTransaction"))),
        sql.withTransaction(Effect.zipRight(tell("nested"), Effect.ignore(sql.withTransaction(fails("twice"))))),
        tell("after")
      ], { discard: true }))
      expect(told).toEqual(["before", "nested", "after"])
    })))

  it.effect("afterCommit: runs after COMMIT, outside of the transaction, and only then", () =>
    inDatabase(Effect.gen(function*() {
      yield* accounts
      const seen: Array<unknown> = []
      const note = (what: string) =>
        Effect.flatMap(Effect.orDie(balances), (now) => Effect.sync(() => seen.push([what, now[0]])))
      yield* Transaction.run(Effect.gen(function*() {
        yield* Transaction.afterCommit(note("committed"))
        yield* Transaction.savepoint(Effect.zipRight(Transaction.afterCommit(note("undone")), Effect.fail("no"))).pipe(
          Effect.ignore
        )
        yield* add(1, 1)
      }))
      yield* Transaction.run(Effect.zipRight(Transaction.afterCommit(note("rolled back")), Effect.fail("no"))).pipe(
        Effect.ignore
      )
      expect(seen).toEqual([["committed", 1]])
    })))

  it.effect("a full or absent server is BeginFailed", () =>
    inDatabase(Effect.gen(function*() {
      const scope = yield* Scope.make()
      const other = yield* Scope.extend(
        anotherClient({ poolConfig: { waitForConnections: false }, maxConnections: 1 }),
        scope
      )
      const held = yield* Deferred.make<void>()
      const run = <A, E>(effect: Effect.Effect<A, E>) =>
        Transaction.run(effect).pipe(Effect.provideService(MysqlClient.MysqlClient, other))
      const holder = yield* Effect.fork(run(Effect.zipRight(Deferred.succeed(held, undefined), Effect.never)))
      yield* Deferred.await(held)
      expect(tag(yield* Effect.exit(run(Effect.void)))).toBe("BeginFailed")
      yield* Fiber.interrupt(holder)
      yield* Scope.close(scope, Exit.void)
      expect(tag(yield* Effect.exit(run(Effect.void)))).toBe("BeginFailed")
    })))
})
