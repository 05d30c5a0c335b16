import { SqlClient } from "@effect/sql/SqlClient"
import { expect, layer } from "@effect/vitest"
import * as Transaction from "@safesync/mysql/Transaction"
import * as MysqlServer from "@safesync/testkit/MysqlServer"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import { accounts, add, balances, connectionId, failure, inDatabase, tag } from "./support.js"

const audited = Effect.gen(function*() {
  yield* accounts
  const sql = yield* SqlClient
  yield* sql`CREATE TABLE audit (id INT PRIMARY KEY AUTO_INCREMENT, note VARCHAR(40) NOT NULL)`
})

const note = (text: string) => Effect.flatMap(SqlClient, (sql) => sql`INSERT INTO audit (note) VALUES (${text})`)

const notes = Effect.flatMap(
  SqlClient,
  (sql) => Effect.map(sql<{ note: string }>`SELECT note FROM audit ORDER BY id`, (rows) => rows.map(({ note }) => note))
)

layer(MysqlServer.layer, { excludeTestServices: true })("Transaction.independent", (it) => {
  it.effect("outlives the rollback of the transaction that it stands in, a savepoint and sql.withTransaction included", () =>
    inDatabase(Effect.gen(function*() {
      yield* audited
      const sql = yield* SqlClient
      const failing = (name: string) =>
        Effect.zipRight(
          Effect.zipRight(add(1, 100), note(`${name}, rolled back`)),
          Effect.zipRight(Transaction.independent(note(name)), Effect.fail("refused"))
        )
      yield* Effect.exit(Transaction.run(failing("run")))
      yield* Effect.exit(sql.withTransaction(failing("withTransaction")))
      yield* Transaction.run(Effect.zipRight(add(2, 1), Effect.ignore(Transaction.savepoint(failing("savepoint")))))
      yield* Transaction.independent(note("none around it"))
      expect(yield* notes).toEqual(["run", "withTransaction", "savepoint", "none around it"])
      expect(yield* balances).toEqual([0, 1, 0])
    })))

  it.effect("is a transaction of its own: connection, rollback, afterCommit, and what it sees", () =>
    inDatabase(Effect.gen(function*() {
      yield* audited
      const after: Array<string> = []
      const told = (what: string) => Transaction.afterCommit(Effect.sync(() => after.push(what)))
      const ids = yield* Transaction.run(Effect.gen(function*() {
        yield* add(1, 5)
        yield* told("outer")
        const outer = yield* connectionId
        const inner = yield* Effect.gen(function*() {
          expect(yield* balances).toEqual([0, 0, 0])
          yield* Effect.zipRight(note("inner"), told("inner"))
          // Deeper still.
          yield* Transaction.independent(note("innermost"))
          return yield* connectionId
        }).pipe(Transaction.independent())
        expect(after).toEqual(["inner"])
        const undone = Transaction.independent(Effect.zipRight(note("undone"), Effect.fail("no")))
        expect(yield* Effect.exit(undone)).toEqual(Exit.fail("no"))
        // The outer one goes on on its own connection.
        expect(yield* connectionId).toBe(outer)
        return [outer, inner]
      }))
      expect(ids[0]).not.toBe(ids[1])
      expect(after).toEqual(["inner", "outer"])
      expect(yield* notes).toEqual(["inner", "innermost"])
      expect(yield* balances).toEqual([5, 0, 0])
    })))

  it.effect("does not wait for ever for a connection that nobody can give back", () =>
    inDatabase(
      Effect.gen(function*() {
        yield* audited
        const inner = Transaction.independent(note("inner"), { controlTimeout: "1 second" })
        const error = yield* Transaction.run(Effect.gen(function*() {
          yield* add(1, 1)
          const error = yield* Effect.flip(inner)
          yield* add(1, 1)
          return error
        }))
        expect(error).toMatchObject({ _tag: "BeginFailed", cause: { _tag: "ConnectionLost" } })
        expect(String(error)).toContain("none of the pool's came free within 1000 ms")
        expect(yield* balances).toEqual([2, 0, 0])
        // One that comes late goes back.
        yield* inner
        expect(yield* notes).toEqual(["inner"])
      }),
      { maxConnections: 1 }
    ))

  it.effect("waits in vain for a row that the transaction around it has locked", () =>
    inDatabase(Effect.gen(function*() {
      yield* audited
      const exit = yield* Effect.exit(Transaction.run(Effect.zipRight(
        add(1, 1),
        Transaction.independent(add(1, 1), { lockWaitTimeout: "1 second" })
      )))
      expect(tag(exit)).toBe("LockWaitTimeout")
      expect(Option.isSome(Option.fromNullable(failure(exit)))).toBe(true)
      expect(yield* balances).toEqual([0, 0, 0])
    })))
})
