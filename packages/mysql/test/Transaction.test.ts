import * as MysqlClient from "@effect/sql-mysql2/MysqlClient"
import { SqlClient } from "@effect/sql/SqlClient"
import { expect, layer } from "@effect/vitest"
import * as MysqlError from "@safesync/mysql/MysqlError"
import * as Transaction from "@safesync/mysql/Transaction"
import * as MysqlServer from "@safesync/testkit/MysqlServer"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
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
  crosswise,
  defect,
  failure,
  holding,
  inDatabase,
  kill,
  tag,
  untilLockWait,
  waiting
} from "./support.js"

const timesOut = (millis: number) => Duration.millis(millis)

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

  const waits = {
    "a row lock": add(1, 1),
    "GET_LOCK": Effect.flatMap(SqlClient, (sql) => sql`SELECT GET_LOCK(CONCAT(DATABASE(), '.x'), 30)`),
    "SELECT SLEEP": Effect.flatMap(SqlClient, (sql) => sql`SELECT SLEEP(30)`)
  }
  for (const [what, wait] of Object.entries(waits)) {
    it.effect(`L4: interrupting a wait for ${what} ends it on the server within 250 ms`, () =>
      inDatabase(Effect.gen(function*() {
        yield* accounts
        const sql = yield* SqlClient
        const held = yield* Deferred.make<void>()
        const holder = yield* Effect.fork(Transaction.run(Effect.gen(function*() {
          yield* add(1, 0)
          yield* sql`SELECT GET_LOCK(CONCAT(DATABASE(), '.x'), 0)`
          yield* Deferred.succeed(held, undefined)
          yield* Effect.never
        })))
        yield* Deferred.await(held)
        for (let round = 0; round < 5; round++) {
          const fiber = yield* Effect.fork(Transaction.run(wait))
          yield* untilLockWait
          const [took] = yield* Effect.timed(Fiber.interrupt(fiber))
          expect(Duration.lessThan(took, timesOut(250))).toBe(true)
          expect(yield* waiting).toBe(0)
        }
        yield* Fiber.interrupt(holder)
        yield* Transaction.run(add(1, 1))
        expect(yield* balances).toEqual([1, 0, 0])
      })))
  }

  it.effect("L4: a wait for a connection of an exhausted pool is interrupted at once, and the connection goes back", () =>
    inDatabase(
      Effect.gen(function*() {
        yield* accounts
        const holder = yield* holding(Effect.void)
        for (let round = 0; round < 3; round++) {
          const [took, result] = yield* Effect.timed(
            Transaction.run(add(1, 1)).pipe(Effect.timeoutOption(Duration.millis(50)))
          )
          expect(result._tag).toBe("None")
          expect(Duration.lessThan(took, timesOut(300))).toBe(true)
        }
        yield* holder.release
        yield* Transaction.run(add(1, 1))
        expect(yield* balances).toEqual([1, 0, 0])
      }),
      { maxConnections: 1 }
    ))

  it.effect("L4: a kill that comes late does not hit the next statement", () =>
    inDatabase(Effect.gen(function*() {
      yield* accounts
      const sql = yield* SqlClient
      const rounds = Transaction.run(Effect.gen(function*() {
        for (let round = 0; round < 10; round++) {
          yield* sql`SELECT SLEEP(0.001)`.pipe(Effect.timeoutOption(Duration.millis(1)))
          yield* add(1, 1)
        }
      }))
      const exits = yield* Effect.replicateEffect(Effect.exit(rounds), 20)
      // A server that is too busy to answer the kill in time costs the connection, and nothing else.
      expect(exits.filter(Exit.isFailure).map(tag).filter((_) => _ !== "TransactionAborted")).toEqual([])
      expect(yield* balances).toEqual([10 * exits.filter(Exit.isSuccess).length, 0, 0])
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
      }),
      { maxConnections: 1 }
    ))

  it.effect("L7: after a deadlock nothing more is sent, and success of the body is not committed", () =>
    inDatabase(Effect.gen(function*() {
      yield* accounts
      const exits = yield* deadlock((other) =>
        Effect.gen(function*() {
          const second = yield* Effect.exit(MysqlError.refail(add(other, 1)))
          const third = yield* Effect.exit(MysqlError.refail(add(3, 100)))
          return { second: tag(second), third: tag(third) }
        })
      )
      const victim = exits.find((exit) => Exit.isFailure(exit))!
      expect(failure(victim)).toMatchObject({ _tag: "TransactionAborted", reason: "deadlock" })
      // the survivor wrote its third statement, the victim did not
      expect((yield* balances)[2]).toBe(100)
    })))

  it.effect("L7: a deadlock that the body does not catch comes out as Deadlock, through a nested transaction too", () =>
    inDatabase(Effect.gen(function*() {
      yield* accounts
      const sql = yield* SqlClient
      const exits = yield* deadlock((other) => sql.withTransaction(add(other, 1)))
      expect(exits.map(tag).sort()).toEqual(["Deadlock", undefined])
    })))

  it.effect("L7: an implicit commit dooms the transaction", () =>
    inDatabase(Effect.gen(function*() {
      yield* accounts
      const sql = yield* SqlClient
      const exit = yield* Effect.exit(Transaction.run(Effect.gen(function*() {
        yield* add(1, 1)
        yield* sql`CREATE TABLE other (id INT)`
        yield* add(1, 100).pipe(Effect.ignore)
      })))
      expect(failure(exit)).toMatchObject({ _tag: "TransactionAborted", reason: "implicit-commit" })
      expect(yield* balances).toEqual([1, 0, 0])
    })))

  it.effect("L7: so does a statement that ends the transaction and begins another", () =>
    inDatabase(Effect.gen(function*() {
      yield* accounts
      const sql = yield* SqlClient
      for (const statement of ["BEGIN", "START TRANSACTION", "COMMIT AND CHAIN"]) {
        const exit = yield* Effect.exit(Transaction.run(Effect.gen(function*() {
          yield* add(1, 1)
          yield* sql.unsafe(statement).unprepared
          yield* add(1, 100).pipe(Effect.ignore)
        })))
        expect(failure(exit)).toMatchObject({ _tag: "TransactionAborted", reason: "implicit-commit" })
      }
      expect(yield* balances).toEqual([3, 0, 0])
    })))

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

/** Two transactions that lock rows 1 and 2 crosswise; `then` gets the row that the other one holds. */
const deadlock = <A, E, R>(then: (other: number) => Effect.Effect<A, E, R>) => crosswise(Transaction.run(), then)
