/**
 * Every error of the table is provoked on a real server. Not to be provoked:
 *
 * - 1180, 3101, 3100: said by Group Replication's members; 1216, 1217: replaced by 1451 and 1452 without names since 8.0;
 *   1586: the format of 1062's text, never an errno of a current server; 1761, 1762: need a foreign key to a key that is
 *   not unique, which 8.4 refuses; 1036, 1874: said of tables of other engines and of DDL under `innodb_force_recovery`;
 *   1129, 1130, 3159: need another host than this one or a server without plain connections; 1053, 1152, 1158 to 1161,
 *   1184, 2006, 2013, 2055, 3168, 3169, 4081, 4082: the server's last words on a socket that it closes, which a driver
 *   may or may not read before it is told that the connection is lost.
 */
import * as MysqlClient from "@effect/sql-mysql2/MysqlClient"
import { SqlClient, TransactionConnection } from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import { expect, layer } from "@effect/vitest"
import * as MysqlError from "@safesync/mysql/MysqlError"
import * as RowLock from "@safesync/mysql/RowLock"
import * as Transaction from "@safesync/mysql/Transaction"
import * as MysqlServer from "@safesync/testkit/MysqlServer"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import { expectTold, secret, statement, tables, type Told, whileLocked } from "./errors.js"
import { accounts, add, anotherClient, connectionId, crosswise, inDatabase, untilLockWait } from "./support.js"

/** What one statement of a transaction fails with. */
const statements: Record<string, readonly [Effect.Effect<unknown, SqlError, SqlClient>, Told]> = {
  "1062 of the primary key": [
    statement((sql) => sql`INSERT INTO customer VALUES (1, ${`new ${secret}`})`),
    {
      tag: "DuplicateKey",
      errno: 1062,
      sqlState: "23000",
      code: "ER_DUP_ENTRY",
      key: "PRIMARY",
      statement: "VALUES (1, ?)"
    }
  ],
  "1062 of a unique index": [
    statement((sql) => sql`INSERT INTO customer VALUES (3, ${secret})`),
    { tag: "DuplicateKey", errno: 1062, key: "the_name", detail: undefined, statement: "VALUES (3, ?)" }
  ],
  "1451": [
    statement((sql) => sql`DELETE FROM customer WHERE name = ${secret}`),
    {
      tag: "ForeignKeyViolation",
      errno: 1451,
      sqlState: "23000",
      constraint: "the_customer",
      statement: "WHERE name = ?"
    }
  ],
  "1452": [
    statement((sql) => sql`INSERT INTO invoice VALUES (2, ${`no ${secret}`}, 1)`),
    { tag: "ForeignKeyViolation", errno: 1452, sqlState: "23000", constraint: "the_customer", statement: "(2, ?, 1)" }
  ],
  "3819": [
    statement((sql) => sql`INSERT INTO customer VALUES (3, ${`bad ${secret}`})`),
    { tag: "CheckViolation", errno: 3819, sqlState: "HY000", constraint: "the_check", statement: "VALUES (3, ?)" }
  ],
  "1054": [
    statement((sql) => sql`UPDATE customer SET nothing = ${secret}`),
    { tag: "StatementFailed", errno: 1054, sqlState: "42S22", detail: expect.stringContaining("nothing") }
  ],
  "1064, whose text would quote the statement": [
    statement((sql) => sql`SELEC ${sql.literal(`'x'`)} FROM customer WHERE name = ${secret}`),
    { tag: "StatementFailed", errno: 1064, sqlState: "42000", detail: undefined, statement: "SELEC 'x'" }
  ],
  "1264": [
    statement((sql) => sql`UPDATE invoice SET amount = 300 WHERE customer = ${secret}`),
    { tag: "StatementFailed", errno: 1264, sqlState: "22003", detail: expect.stringContaining("'amount' at row 1") }
  ],
  "1366, whose text would quote the value": [
    statement((sql) => sql`UPDATE invoice SET amount = ${secret}`),
    { tag: "StatementFailed", errno: 1366, detail: undefined }
  ],
  "1406": [
    statement((sql) => sql`INSERT INTO customer VALUES (3, ${secret.repeat(5)})`),
    { tag: "StatementFailed", errno: 1406, sqlState: "22001", detail: expect.stringContaining("'name' at row 1") }
  ],
  "1644, whose text is the caller's": [
    statement((sql) => sql`CALL refuse(${secret})`),
    { tag: "StatementFailed", errno: 1644, sqlState: "45000", detail: undefined, statement: "CALL refuse(?)" }
  ],
  "a value that cannot be bound": [
    statement((sql) => sql`SELECT ${secret}, ${undefined as never}`),
    { tag: "StatementFailed", code: "UNKNOWN", detail: expect.stringContaining("undefined"), statement: "SELECT ?, ?" }
  ],
  "a value that cannot be written": [
    statement((sql) => sql`SELECT ${{ [secret]: 1n } as never}`),
    { tag: "StatementFailed", code: "UNKNOWN", detail: undefined, statement: "SELECT ?" }
  ]
}

layer(MysqlServer.layer, { excludeTestServices: true })("MysqlError", (it) => {
  for (const [name, [provoked, told]] of Object.entries(statements)) {
    it.effect(`L6: ${name}`, () =>
      inDatabase(Effect.gen(function*() {
        yield* tables
        expectTold(yield* Effect.exit(Transaction.run(provoked)), told)
      })))
  }

  it.effect("L6: 1213", () =>
    inDatabase(Effect.gen(function*() {
      yield* accounts
      const exits = yield* crosswise(
        Transaction.run(),
        (other) =>
          Effect.flatMap(
            SqlClient,
            (sql) => sql`UPDATE account SET balance = ${1} WHERE id = ${other} OR ${secret} = 'x'`
          )
      )
      expectTold(exits.find(Exit.isFailure)!, {
        tag: "Deadlock",
        errno: 1213,
        sqlState: "40001",
        code: "ER_LOCK_DEADLOCK",
        statement: "WHERE id = ? OR ? = 'x'"
      })
    })))

  it.effect("L6: 1614, and the connection of the XA branch is of use again", () =>
    inDatabase(Effect.gen(function*() {
      yield* accounts
      const sql = yield* SqlClient
      let branches = 0
      const ends = yield* crosswise(
        (body) =>
          Effect.scoped(Effect.gen(function*() {
            const connection = yield* sql.reserve
            const xa = (what: string) =>
              connection.executeUnprepared(`XA ${what} 'safesync-1614-${branch}'`, [], undefined)
            const branch = ++branches
            yield* xa("START")
            const exit = yield* Effect.exit(Effect.provideService(body, TransactionConnection, [connection, 0]))
            const ended = yield* Effect.exit(MysqlError.refail(xa("END")))
            yield* xa("ROLLBACK")
            yield* ended
            return yield* exit
          })),
        (other) => add(other, 1)
      )
      expectTold(ends.find(Exit.isFailure)!, { tag: "Deadlock", errno: 1614, sqlState: "XA102" })
    })))

  it.effect("L6: 1205", () =>
    inDatabase(Effect.gen(function*() {
      yield* tables
      const exit = yield* whileLocked(
        Transaction.run(statement((sql) => sql`UPDATE customer SET id = 9 WHERE name = ${secret}`), {
          lockWaitTimeout: "1 second"
        })
      )
      expectTold(exit, { tag: "LockWaitTimeout", errno: 1205, sqlState: "HY000", statement: "WHERE name = ?" })
    })))

  it.effect("L6: 3572", () =>
    inDatabase(Effect.gen(function*() {
      yield* tables
      const exit = yield* whileLocked(
        Transaction.run(statement((sql) => sql`SELECT * FROM customer WHERE name = ${secret} FOR UPDATE NOWAIT`))
      )
      expectTold(exit, { tag: "LockNotAvailable", errno: 3572, sqlState: "HY000", statement: "WHERE name = ?" })
    })))

  it.effect("L6, L11: 3024, which is LockWaitTimeout where a lock was what the statement waited for", () =>
    inDatabase(Effect.gen(function*() {
      yield* tables
      const bounded = statement((sql) =>
        sql`SELECT /*+ MAX_EXECUTION_TIME(50) */ * FROM customer WHERE name = ${secret} FOR UPDATE`
      )
      expectTold(yield* whileLocked(Transaction.run(bounded)), {
        tag: "StatementTimeout",
        errno: 3024,
        sqlState: "HY000",
        statement: "WHERE name = ?"
      })
      const lock = RowLock.forUpdate({ table: "customer", where: { name: secret }, wait: "50 millis" })
      expectTold(yield* whileLocked(Transaction.run(lock)), { tag: "LockWaitTimeout", errno: 3024 })
    })))

  it.effect("L6: 1317, and the transaction stays open", () =>
    inDatabase(Effect.gen(function*() {
      yield* tables
      const other = yield* anotherClient()
      const id = yield* Deferred.make<number>()
      const fiber = yield* Effect.fork(Transaction.run(Effect.gen(function*() {
        yield* Deferred.succeed(id, yield* connectionId)
        const killed = yield* Effect.exit(MysqlError.refail(
          statement((sql) => sql`SELECT * FROM customer WHERE name = ${secret} AND SLEEP(30)`)
        ))
        return { killed, alive: yield* connectionId }
      })))
      yield* untilLockWait
      yield* other`KILL QUERY ${other.literal(String(yield* Deferred.await(id)))}`
      const { alive, killed } = yield* Fiber.join(fiber)
      expectTold(killed, {
        tag: "StatementInterrupted",
        errno: 1317,
        sqlState: "70100",
        statement: "WHERE name = ? AND SLEEP(30)"
      })
      expect(alive).toBe(yield* Deferred.await(id))
    })))

  it.effect("L6: 1792", () =>
    inDatabase(Effect.gen(function*() {
      yield* tables
      const write = statement((sql) => sql`UPDATE customer SET id = 9 WHERE name = ${secret}`)
      const exit = yield* Effect.exit(Transaction.run(write, { accessMode: "read-only" }))
      expectTold(exit, { tag: "ReadOnlyServer", errno: 1792, sqlState: "25006", statement: "WHERE name = ?" })
    })))

  it.effect("L6: 3989, a schema that takes no writes", () =>
    inDatabase(Effect.gen(function*() {
      yield* tables
      const sql = yield* SqlClient
      const { config } = yield* MysqlClient.MysqlClient
      const readOnly = (on: number) =>
        sql`ALTER DATABASE ${sql(config.database!)} READ ONLY = ${sql.literal(`${on}`)}`.unprepared
      yield* readOnly(1)
      const exit = yield* Effect.exit(
        Transaction.run(statement((sql) => sql`UPDATE customer SET id = 9 WHERE name = ${secret}`))
      )
      yield* readOnly(0)
      expectTold(exit, { tag: "ReadOnlyServer", errno: 3989, sqlState: "HY000" })
    })))

  it.effect("a value that cannot be bound leaves the transaction open, and nobody waits for it", () =>
    inDatabase(Effect.gen(function*() {
      yield* accounts
      const sql = yield* SqlClient
      yield* Transaction.run(Effect.gen(function*() {
        const both = yield* Effect.all([sql`SELECT SLEEP(0.01)`, Effect.exit(sql`SELECT ${undefined as never}`)], {
          concurrency: 2
        })
        expect(Exit.isFailure(both[1])).toBe(true)
        yield* add(1, 1)
      }))
      expect(yield* sql`SELECT balance FROM account WHERE id = 1`).toEqual([{ balance: 1 }])
    })))
})
