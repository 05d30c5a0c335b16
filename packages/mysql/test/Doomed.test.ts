import { SqlClient } from "@effect/sql/SqlClient"
import { expect, layer } from "@effect/vitest"
import * as MysqlError from "@safesync/mysql/MysqlError"
import * as Transaction from "@safesync/mysql/Transaction"
import * as MysqlServer from "@safesync/testkit/MysqlServer"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Stream from "effect/Stream"
import { accounts, add, balances, crosswise, failure, inDatabase, tag } from "./support.js"

layer(MysqlServer.layer, { excludeTestServices: true })("a transaction that is over", (it) => {
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

  it.effect("L7: so does one whose answer is a result set, and DDL that commits and then fails, whatever its error is called", () =>
    inDatabase(Effect.gen(function*() {
      yield* accounts
      const sql = yield* SqlClient
      const ends = yield* Effect.forEach([
        sql`ANALYZE TABLE account`,
        sql.unsafe("CHECK TABLE account; SELECT 1").unprepared,
        Stream.runDrain(sql`OPTIMIZE TABLE account`.stream),
        sql`ALTER TABLE account ADD UNIQUE KEY balance (balance)`,
        sql`ALTER TABLE account ADD CHECK (balance < 0)`,
        sql`ALTER TABLE account ADD FOREIGN KEY (balance) REFERENCES account (id)`,
        sql`CREATE TABLE account (id INT PRIMARY KEY)`
      ], (statement) =>
        Effect.gen(function*() {
          const exit = yield* Effect.exit(Transaction.run(Effect.gen(function*() {
            yield* add(1, 1)
            const first = yield* Effect.exit(MysqlError.refail(statement))
            expect(failure(yield* Effect.exit(MysqlError.refail(add(1, 100))))).toMatchObject({
              _tag: "TransactionAborted",
              reason: "implicit-commit"
            })
            return yield* Effect.fail(tag(first) ?? "succeeded")
          })))
          return failure(exit)
        }))
      expect(ends).toEqual([
        "succeeded",
        "succeeded",
        "succeeded",
        "DuplicateKey",
        "CheckViolation",
        "ForeignKeyViolation",
        "StatementFailed"
      ])
      expect(yield* balances).toEqual([ends.length, 0, 0])
    })))
})

const deadlock = <A, E, R>(then: (other: number) => Effect.Effect<A, E, R>) => crosswise(Transaction.run(), then)
