import { SqlClient } from "@effect/sql/SqlClient"
import { expect, layer } from "@effect/vitest"
import * as Transaction from "@safesync/mysql/Transaction"
import * as MysqlServer from "@safesync/testkit/MysqlServer"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import { accounts, add, balances, holding, inDatabase, tag, untilLockWait, waiting } from "./support.js"

layer(MysqlServer.layer, { excludeTestServices: true })("interruption", (it) => {
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
          expect(Duration.lessThan(took, Duration.millis(250))).toBe(true)
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
          expect(Duration.lessThan(took, Duration.millis(300))).toBe(true)
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
})
