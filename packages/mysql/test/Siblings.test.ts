import { SqlClient } from "@effect/sql/SqlClient"
import { expect, layer } from "@effect/vitest"
import * as Transaction from "@safesync/mysql/Transaction"
import * as MysqlServer from "@safesync/testkit/MysqlServer"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Logger from "effect/Logger"
import {
  accounts,
  add,
  balances,
  connectionId,
  defect,
  failure,
  holding,
  inDatabase,
  kill,
  outside,
  tag,
  throughProxy,
  untilLockWait,
  waiting
} from "./support.js"

const sleep = Effect.flatMap(SqlClient, (sql) => sql`SELECT SLEEP(30)`)

/** Forks an effect inside a transaction and waits until it waits on the server. */
const left = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.tap(Effect.forkDaemon(Effect.exit(effect)), () => outside(untilLockWait))

layer(MysqlServer.layer, { excludeTestServices: true })("What other fibers run when the body has ended", (it) => {
  it.effect("L7: a deadlock of it, while COMMIT waits for it: nothing is committed, and the caller is told so", () =>
    inDatabase(Effect.gen(function*() {
      yield* accounts
      const sql = yield* SqlClient
      // the heavier one of two transactions in a deadlock survives
      const heavy = yield* holding(
        Effect.zipRight(
          add(2, 1),
          sql`INSERT INTO account (id, balance) VALUES (11, 0), (12, 0), (13, 0), (14, 0)`
        ),
        add(1, 1)
      )
      const exit = yield* Effect.exit(Transaction.run(Effect.gen(function*() {
        yield* add(1, 10)
        yield* left(add(2, 10))
        yield* heavy.letGo
      })))
      expect(failure(exit)).toMatchObject({ _tag: "TransactionAborted", reason: "deadlock" })
      yield* heavy.release
      expect((yield* balances).slice(0, 3)).toEqual([1, 1, 0])
    })))

  it.effect("COMMIT waits for it, and takes it along; what comes after the body's end is refused", () =>
    inDatabase(Effect.gen(function*() {
      yield* accounts
      const holder = yield* holding(add(2, 1), outside(untilLockWait))
      const [sibling, late] = yield* Transaction.run(Effect.gen(function*() {
        yield* add(1, 1)
        const fibers = [yield* left(Effect.zipRight(add(2, 10), add(3, 1))), yield* left(add(3, 10))] as const
        yield* holder.letGo
        return fibers
      }))
      yield* holder.release
      expect(String(defect(yield* Fiber.join(sibling)))).toMatch(/scope is closed/)
      expect(tag(yield* Fiber.join(late))).toBe(undefined)
      expect(yield* balances).toEqual([1, 11, 10])
    })))

  it.effect("L4: who is interrupted while COMMIT waits for it rolls back at once", () =>
    inDatabase(Effect.gen(function*() {
      yield* accounts
      const ended = yield* Deferred.make<void>()
      const fiber = yield* Effect.fork(Transaction.run(Effect.zipRight(
        add(1, 1),
        Effect.zipRight(left(sleep), Deferred.succeed(ended, undefined))
      )))
      yield* Deferred.await(ended)
      const [took, exit] = yield* Effect.timed(Fiber.interrupt(fiber))
      expect(Exit.isInterrupted(exit)).toBe(true)
      expect(Duration.lessThan(took, Duration.millis(250))).toBe(true)
      expect(yield* waiting).toBe(0)
      expect(yield* balances).toEqual([0, 0, 0])
    })))

  it.effect("ROLLBACK does not wait for it", () =>
    inDatabase(Effect.gen(function*() {
      yield* accounts
      const [took, exit] = yield* Effect.timed(Effect.exit(Transaction.run(Effect.zipRight(
        add(1, 1),
        Effect.zipRight(left(sleep), Effect.fail("mine" as const))
      ))))
      expect(failure(exit)).toBe("mine")
      expect(Duration.lessThan(took, Duration.seconds(5))).toBe(true)
      expect(yield* waiting).toBe(0)
      expect(yield* balances).toEqual([0, 0, 0])
    })))

  it.effect("nor does going back to a savepoint, and the transaction goes on", () =>
    inDatabase(Effect.gen(function*() {
      yield* accounts
      yield* Transaction.run(Effect.gen(function*() {
        const exit = yield* Effect.exit(Transaction.savepoint(Effect.zipRight(
          add(1, 1),
          Effect.zipRight(left(sleep), Effect.fail("mine" as const))
        )))
        expect(failure(exit)).toBe("mine")
        yield* add(2, 2)
      }))
      expect(yield* balances).toEqual([0, 2, 0])
    })))

  it.effect("L4: a kill that cannot be sent is logged, and the connection is discarded", () =>
    inDatabase(Effect.gen(function*() {
      yield* accounts
      const logged: Array<string> = []
      const logger = Logger.make(({ message }) => void logged.push(String(message)))
      yield* throughProxy((proxy) =>
        Effect.gen(function*() {
          const asked = yield* proxy.observe("SELECT SLEEP")
          const id = yield* Deferred.make<number>()
          const fiber = yield* Effect.fork(
            Transaction.run(Effect.zipRight(Effect.flatMap(connectionId, (_) => Deferred.succeed(id, _)), sleep))
          )
          yield* asked
          yield* proxy.refuse
          yield* Fiber.interrupt(fiber)
          yield* proxy.accept
          // unless the server has noticed by itself
          yield* Effect.catchAllCause(kill(yield* Deferred.await(id)), () => Effect.void)
        })
      ).pipe(Effect.provide(Logger.replace(Logger.defaultLogger, logger)))
      expect(logged).toContainEqual(expect.stringMatching(/KILL QUERY could not be sent: connection \d+ is discarded/))
    })))
})

layer(MysqlServer.layer, { excludeTestServices: true })("Savepoints in trouble", (it) => {
  for (const point of ["SAVEPOINT safesync", "RELEASE SAVEPOINT", "ROLLBACK TO"]) {
    it.effect(`no answer to ${point} is waited for within the bound`, () =>
      inDatabase(Effect.gen(function*() {
        yield* accounts
        const fails = point === "ROLLBACK TO"
        const [took, exit] = yield* throughProxy((proxy) =>
          Effect.zipRight(
            proxy.loseReplies(point, "hang"),
            Transaction.run(
              Transaction.savepoint(Effect.zipRight(add(1, 1), fails ? Effect.fail("mine" as const) : Effect.void)),
              { controlTimeout: "1 second" }
            ).pipe(Effect.exit, Effect.timed)
          )
        )
        expect(fails ? failure(exit) : tag(exit)).toBe(fails ? "mine" : "ConnectionLost")
        expect(Duration.lessThan(took, Duration.seconds(20))).toBe(true)
        expect(yield* balances).toEqual([0, 0, 0])
      })))
  }

  for (const who of ["ours", "that of sql.withTransaction"] as const) {
    it.effect(`L7: one that cannot be gone back to dooms the transaction: ${who}`, () =>
      inDatabase(Effect.gen(function*() {
        yield* accounts
        const sql = yield* SqlClient
        const name = who === "ours" ? "safesync_1" : "effect_sql_1"
        const savepoint = <A, E>(effect: Effect.Effect<A, E>): Effect.Effect<A, unknown, Transaction.Transaction> =>
          who === "ours" ? Transaction.savepoint(effect) : sql.withTransaction(effect)
        const exit = yield* Effect.exit(Transaction.run(Effect.gen(function*() {
          const part = yield* Effect.exit(savepoint(Effect.gen(function*() {
            yield* sql`UPDATE account SET balance = 10 WHERE id = 1`
            yield* sql.unsafe(`RELEASE SAVEPOINT ${name}`).unprepared
            return yield* Effect.fail("mine" as const)
          })))
          expect(failure(part)).toBe("mine")
        })))
        expect(failure(exit)).toMatchObject({
          _tag: "TransactionAborted",
          reason: "savepoint-lost",
          cause: { _tag: "StatementFailed", errno: 1305 }
        })
        expect(yield* balances).toEqual([0, 0, 0])
      })))
  }
})
