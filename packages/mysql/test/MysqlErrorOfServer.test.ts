/** Errors that need a server of their own: its accounts, its limits, its being read-only. */
import * as Reactivity from "@effect/experimental/Reactivity"
import * as MysqlClient from "@effect/sql-mysql2/MysqlClient"
import { SqlClient, TransactionConnection } from "@effect/sql/SqlClient"
import { expect, layer } from "@effect/vitest"
import * as LockDiagnosis from "@safesync/mysql/LockDiagnosis"
import * as MysqlError from "@safesync/mysql/MysqlError"
import * as RowLock from "@safesync/mysql/RowLock"
import * as Transaction from "@safesync/mysql/Transaction"
import * as MysqlServer from "@safesync/testkit/MysqlServer"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Redacted from "effect/Redacted"
import { randomBytes } from "node:crypto"
import { expectTold, secret, statement, tables, type Told, whileLocked } from "./errors.js"
import { anotherClient, failure, inDatabase, outside } from "./support.js"

/** A server that was started without such a limit counts no user's connections. */
const counting = MysqlServer.layerOwn({ args: ["--max-user-connections=100"] })

layer(counting, { excludeTestServices: true, timeout: "3 minutes" })(
  "MysqlError, what needs a root",
  (it) => {
    /** Clients of the test's database as a user who has no right to be let in where nobody else is. */
    const user = (options: string, rights = "SELECT, INSERT, UPDATE, DELETE ON *.*") =>
      Effect.gen(function*() {
        const sql = yield* SqlClient
        const name = `u${randomBytes(6).toString("hex")}`
        yield* Effect.acquireRelease(
          sql`CREATE USER ${sql.literal(`${name}@'%' ${options}`)}`,
          () => Effect.orDie(sql`DROP USER IF EXISTS ${sql.literal(`${name}@'%'`)}`)
        )
        yield* sql`GRANT ${sql.literal(`${rights} TO ${name}@'%'`)}`
        return (more: NonNullable<Parameters<typeof anotherClient>[0]> = {}) =>
          anotherClient({ username: name, password: Redacted.make(""), ...more })
      })

    const setGlobal = (variable: string, value: number) =>
      Effect.flatMap(SqlClient, (sql) => sql`SET GLOBAL ${sql.literal(`${variable} = ${value}`)}`.unprepared)

    const logins: Record<string, readonly [string, NonNullable<Parameters<typeof anotherClient>[0]>, Told]> = {
      "1045, a wrong password": ["IDENTIFIED BY 'right'", { password: Redacted.make(secret) }, {
        tag: "ConnectionLost",
        errno: 1045,
        sqlState: "28000",
        code: "ER_ACCESS_DENIED_ERROR"
      }],
      "1049, an unknown database": ["", { database: "no_such_database" }, {
        tag: "ConnectionLost",
        errno: 1049,
        sqlState: "42000"
      }],
      "3118, a locked account": ["ACCOUNT LOCK", {}, { tag: "ConnectionLost", errno: 3118 }],
      "1862, an expired password": ["PASSWORD EXPIRE", {}, { tag: "ConnectionLost", errno: 1862 }]
    }
    for (const [name, [options, more, told]] of Object.entries(logins)) {
      it.effect(`L6: ${name}`, () =>
        inDatabase(Effect.gen(function*() {
          const client = yield* user(options)
          expectTold(yield* Effect.exit(MysqlError.refail(client(more))), told)
        })))
    }

    const full: Record<string, readonly [options: string, variable: string, value: number, before: number, Told]> = {
      "1226, the account has no connection left": ["WITH MAX_USER_CONNECTIONS 1", "max_connections", 100, 100, {
        tag: "ConnectionLost",
        errno: 1226,
        sqlState: "42000"
      }],
      "1203, no user has a connection left": ["", "max_user_connections", 1, 100, {
        tag: "ConnectionLost",
        errno: 1203,
        sqlState: "42000"
      }],
      "1040, the server has no connection left": ["", "max_connections", 2, 100, {
        tag: "ConnectionLost",
        errno: 1040
      }],
      "3032, the server is offline": ["", "offline_mode", 1, 0, {
        tag: "ConnectionLost",
        errno: 3032,
        sqlState: "HY000"
      }]
    }
    for (const [name, [options, variable, value, before, told]] of Object.entries(full)) {
      it.effect(`L6: ${name}: BeginFailed says so`, () =>
        inDatabase(
          Effect.gen(function*() {
            const client = yield* (yield* user(options))({
              maxConnections: 2,
              poolConfig: { maxIdle: 0, idleTimeout: 1 }
            })
            const refused = yield* Deferred.make<Exit.Exit<void, unknown>>()
            const second = Transaction.run(Effect.void)
            yield* Effect.zipRight(outside(setGlobal(variable, value)), Effect.exit(outside(second))).pipe(
              Effect.tap((exit) => Deferred.succeed(refused, exit)),
              Effect.ensuring(outside(Effect.orDie(setGlobal(variable, before)))),
              Transaction.run(),
              Effect.ignore,
              Effect.provideService(MysqlClient.MysqlClient, client)
            )
            const exit = yield* Deferred.await(refused)
            expect(failure(exit)).toMatchObject({ _tag: "BeginFailed" })
            expectTold(Exit.mapError(exit, (error) => (error as { cause: unknown }).cause), told)
          }),
          { maxConnections: 1 }
        ))
    }

    it.effect("L6: 1451 and 1452 of an account that may not know the other table", () =>
      inDatabase(Effect.gen(function*() {
        yield* tables
        const { config } = yield* MysqlClient.MysqlClient
        const customers = yield* (yield* user("", `SELECT, DELETE ON ${config.database}.customer`))()
        const invoices = yield* (yield* user("", `SELECT, INSERT ON ${config.database}.invoice`))()
        expectTold(yield* Effect.exit(MysqlError.refail(customers`DELETE FROM customer WHERE name = ${secret}`)), {
          tag: "ForeignKeyViolation",
          errno: 1451,
          constraint: undefined as never
        })
        expectTold(
          yield* Effect.exit(MysqlError.refail(invoices`INSERT INTO invoice VALUES (2, ${`no ${secret}`}, 1)`)),
          {
            tag: "ForeignKeyViolation",
            errno: 1452,
            constraint: undefined as never
          }
        )
      })))

    const write = statement((sql) => sql`UPDATE customer SET id = 9 WHERE name = ${`no ${secret}`}`)

    it.effect("L6: 1290 is ReadOnlyServer where the option is read-only, and a mistake where it is another", () =>
      inDatabase(Effect.gen(function*() {
        yield* tables
        const sql = yield* SqlClient
        yield* setGlobal("super_read_only", 1)
        const exit = yield* Effect.exit(Transaction.run(write))
        yield* setGlobal("super_read_only", 0)
        yield* setGlobal("read_only", 0)
        expectTold(exit, {
          tag: "ReadOnlyServer",
          errno: 1290,
          sqlState: "HY000",
          statement: "WHERE name = ?",
          detail: expect.stringContaining("--super-read-only")
        })
        expectTold(yield* Effect.exit(MysqlError.refail(sql`SELECT ${secret} INTO OUTFILE '/nowhere'`)), {
          tag: "StatementFailed",
          errno: 1290,
          detail: expect.stringContaining("--secure-file-priv")
        })
      })))

    it.effect("L6: 1223", () =>
      inDatabase(Effect.gen(function*() {
        yield* tables
        const sql = yield* SqlClient
        const exit = yield* Effect.exit(Effect.scoped(Effect.gen(function*() {
          const connection = yield* sql.reserve
          yield* connection.executeUnprepared("FLUSH TABLES WITH READ LOCK", [], undefined)
          const exit = yield* Effect.exit(
            MysqlError.refail(Effect.provideService(write, TransactionConnection, [connection, 0]))
          )
          yield* connection.executeUnprepared("UNLOCK TABLES", [], undefined)
          return yield* exit
        })))
        expectTold(exit, { tag: "StatementFailed", errno: 1223, sqlState: "HY000" })
      })))

    it.effect("who may not ask about locks is told so, and a lock wait that timed out says what it said without", () =>
      inDatabase(Effect.gen(function*() {
        yield* tables
        const { config } = yield* MysqlClient.MysqlClient
        const poor = yield* (yield* user("", `SELECT, UPDATE ON ${config.database}.customer`))()
        const as = Effect.provideService(MysqlClient.MysqlClient, poor)
        const lock = RowLock.forUpdate({ table: "customer", where: { id: 1 }, wait: "300 millis" })
        const exit = yield* whileLocked(as(Transaction.run(lock, { blockerDetails: true })))
        expect(failure(exit)).toMatchObject({ _tag: "LockWaitTimeout", blockers: undefined })
        expect(yield* Effect.flip(as(LockDiagnosis.waits({ timeout: "30 seconds" })))).toMatchObject({
          _tag: "StatementFailed",
          errno: 1142
        })
        expect(yield* Effect.flip(as(LockDiagnosis.lastDeadlock({ timeout: "30 seconds" })))).toMatchObject({
          errno: 1227
        })
      })))

    it.effect("L6: 1461", () =>
      inDatabase(Effect.gen(function*() {
        yield* tables
        yield* setGlobal("max_prepared_stmt_count", 0)
        const exit = yield* Effect.exit(Transaction.run(write))
        yield* setGlobal("max_prepared_stmt_count", 16_382)
        expectTold(exit, {
          tag: "StatementFailed",
          errno: 1461,
          detail: expect.stringContaining("max_prepared_stmt_count")
        })
      })))
  }
)

layer(MysqlServer.layerOwn({ args: ["--innodb-read-only=ON"] }), { excludeTestServices: true, timeout: "3 minutes" })(
  "MysqlError, a server that was started read-only",
  (it) => {
    it.effect("L6: 1836 and 1015", () =>
      Effect.gen(function*() {
        const { url } = yield* MysqlServer.MysqlServer
        const sql = yield* Effect.provide(MysqlClient.make({ url }), Reactivity.layer)
        expectTold(yield* Effect.exit(MysqlError.refail(sql`CREATE DATABASE d`)), {
          tag: "ReadOnlyServer",
          errno: 1836
        })
        expectTold(
          yield* Effect.exit(MysqlError.refail(sql`INSERT INTO sys.sys_config (variable) VALUES (${secret})`)),
          { tag: "ReadOnlyServer", errno: 1015 }
        )
      }).pipe(Effect.scoped))
  }
)
