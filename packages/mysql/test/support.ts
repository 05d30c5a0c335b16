import * as Reactivity from "@effect/experimental/Reactivity"
import * as Mysql2 from "@effect/sql-mysql2/MysqlClient"
import type { MysqlClient } from "@effect/sql-mysql2/MysqlClient"
import type { SqlClient } from "@effect/sql/SqlClient"
import { SqlClient as Sql, TransactionConnection } from "@effect/sql/SqlClient"
import * as Transaction from "@safesync/mysql/Transaction"
import * as MysqlServer from "@safesync/testkit/MysqlServer"
import * as TcpProxy from "@safesync/testkit/TcpProxy"
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import type { Scope } from "effect/Scope"
import * as Mysql from "mysql2/promise"

/** A fresh database for one test, and at its end the question whether anything leaked. */
export const inDatabase = <A, E>(
  effect: Effect.Effect<A, E, MysqlClient | SqlClient | MysqlServer.MysqlServer | Scope>,
  options: MysqlServer.DatabaseOptions = {}
) =>
  Effect.scoped(effect).pipe(
    Effect.tap(() => MysqlServer.assertClean({ within: "20 seconds" })),
    Effect.provide(MysqlServer.database(options))
  )

/** Accounts 1 to 3, each with 0 and version 0. */
export const accounts = Effect.gen(function*() {
  const sql = yield* Sql
  yield* sql`CREATE TABLE account (id INT PRIMARY KEY, balance INT NOT NULL, version INT NOT NULL DEFAULT 0)`
  yield* sql`INSERT INTO account (id, balance) VALUES (1, 0), (2, 0), (3, 0)`
})

export const balances = Effect.flatMap(Sql, (sql) =>
  Effect.map(
    sql<{ balance: number }>`SELECT balance FROM account ORDER BY id`,
    (rows) => rows.map((row) => row.balance)
  ))

export const add = (id: number, amount: number) =>
  Effect.flatMap(Sql, (sql) => sql`UPDATE account SET balance = balance + ${amount} WHERE id = ${id}`)

export const connectionId = Effect.flatMap(
  Sql,
  (sql) => Effect.map(sql<{ id: number }>`SELECT CONNECTION_ID() AS id`, ([row]) => row!.id)
)

/** How many connections of this database wait for a lock or sleep in a statement, by the server's own word. */
export const waiting = Effect.flatMap(Sql, (sql) =>
  Effect.map(
    sql<{ n: number }>`SELECT COUNT(*) AS n FROM performance_schema.threads t
      WHERE t.PROCESSLIST_DB = DATABASE() AND (t.PROCESSLIST_STATE IN ('User lock', 'User sleep')
        OR t.THREAD_ID IN (SELECT REQUESTING_THREAD_ID FROM performance_schema.data_lock_waits))`,
    ([row]) => row!.n
  ))

export const untilLockWait = Effect.repeat(waiting, { until: (n) => n > 0 })

/** Ends a connection on the server, over one that no transaction of the fiber's reaches, and waits until it is gone. */
export const kill = (id: number) =>
  Effect.flatMap(MysqlServer.MysqlServer, ({ url }) =>
    Effect.promise(async () => {
      const connection = await Mysql.createConnection(Redacted.value(url))
      await connection.query(`KILL ${id}`)
      for (let left = 1; left > 0;) {
        const [rows] = await connection.query(
          "SELECT COUNT(*) AS n FROM information_schema.processlist WHERE id = ?",
          id
        )
        left = (rows as Array<{ n: number }>)[0]!.n
      }
      await connection.end()
    }))

export const failure = <A, E>(exit: Exit.Exit<A, E>): E | undefined =>
  exit._tag === "Failure" ? Option.getOrUndefined(Cause.failureOption(exit.cause)) : undefined

export const defect = <A, E>(exit: Exit.Exit<A, E>): unknown =>
  exit._tag === "Failure" ? Option.getOrUndefined(Cause.dieOption(exit.cause)) : undefined

export const tag = <A, E>(exit: Exit.Exit<A, E>): unknown => (failure(exit) as { _tag?: string } | undefined)?._tag

/** Runs an effect outside of the transaction that is open in this fiber. */
export const outside = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.mapInputContext(
    effect,
    (context: Context.Context<R>) =>
      Context.omit(TransactionConnection as never, Transaction.Transaction as never)(context) as never
  )

/** A client of the test's database with a pool of its own, which no transaction of the fiber's reaches. */
export const anotherClient = (options: Partial<Mysql2.MysqlClientConfig> = {}) =>
  Effect.flatMap(
    Mysql2.MysqlClient,
    ({ config }) => Effect.provide(Mysql2.make({ ...config, ...options }), Reactivity.layer)
  )

/** Runs an effect with a client whose connections go through a proxy; what is around it stays without. */
export const throughProxy = <A, E, R>(use: (proxy: TcpProxy.TcpProxy) => Effect.Effect<A, E, R>) =>
  Effect.gen(function*() {
    const { url } = yield* MysqlServer.MysqlServer
    const proxy = yield* TcpProxy.make(url)
    const client = yield* anotherClient({ host: "127.0.0.1", port: proxy.port, maxConnections: 2 })
    return yield* use(proxy).pipe(
      Effect.provideService(Mysql2.MysqlClient, client),
      Effect.provideService(Sql, client)
    )
  })

/**
 * A transaction that has done `first` and holds what it took by that until it is let go; then it does `last`, and commits. `got` is
 * what `first` gave. `letGo` does not wait for its end, `release` does.
 */
export const holding = <A, E, R, E2 = never, R2 = never>(
  first: Effect.Effect<A, E, R>,
  last: Effect.Effect<unknown, E2, R2> = Effect.void
) =>
  Effect.gen(function*() {
    const held = yield* Deferred.make<A>()
    const free = yield* Deferred.make<void>()
    const fiber = yield* Effect.fork(Transaction.run(
      Effect.zipRight(
        Effect.flatMap(first, (got) => Deferred.succeed(held, got)),
        Effect.zipRight(Deferred.await(free), last)
      )
    ))
    const got = yield* Effect.raceFirst(Deferred.await(held), Effect.zipRight(Fiber.join(fiber), Effect.never))
    const letGo = Deferred.succeed(free, undefined)
    return { got, letGo, release: Effect.zipRight(letGo, Fiber.join(fiber)) }
  })

/** Opens a transaction around an effect: ours, or that of @effect/sql. */
export interface Transacted {
  <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, unknown, R | MysqlClient | SqlClient>
}

/** Two fibers that each hold one of the accounts 1 and 2 before `then` runs, which gets the row that the other one holds. */
export const crosswise = <A, E, R>(transacted: Transacted, then: (other: number) => Effect.Effect<A, E, R>) =>
  Effect.gen(function*() {
    const latches = [yield* Deferred.make<void>(), yield* Deferred.make<void>()] as const
    const one = (mine: 0 | 1, theirs: 0 | 1) =>
      Effect.exit(transacted(Effect.gen(function*() {
        yield* add(mine + 1, 1)
        yield* Deferred.succeed(latches[mine], undefined)
        yield* Deferred.await(latches[theirs])
        return yield* then(theirs + 1)
      })))
    return yield* Effect.all([one(0, 1), one(1, 0)], { concurrency: 2 })
  })
