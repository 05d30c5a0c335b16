/**
 * What a MySQL server of our own says about itself, asked over a connection that is not the pool's, and the question whether the
 * pool is whole.
 *
 * @since 0.1.0
 */
import * as Reactivity from "@effect/experimental/Reactivity"
import * as MysqlClient from "@effect/sql-mysql2/MysqlClient"
import * as SqlClient from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import type * as MysqlError from "@safesync/mysql/MysqlError"
import * as Transaction from "@safesync/mysql/Transaction"
import * as MysqlServer from "@safesync/testkit/MysqlServer"
import type { ConfigError } from "effect/ConfigError"
import * as Deferred from "effect/Deferred"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type { Scope } from "effect/Scope"

/**
 * A second client on the database of the first one, with a pool of its own.
 *
 * @since 0.1.0
 * @category constructors
 */
export const secondClient = (
  options: Partial<MysqlClient.MysqlClientConfig> = {}
): Effect.Effect<MysqlClient.MysqlClient, SqlError, MysqlClient.MysqlClient | Scope> =>
  Effect.flatMap(
    MysqlClient.MysqlClient,
    ({ config }) => Effect.provide(MysqlClient.make({ ...config, maxConnections: 1, ...options }), Reactivity.layer)
  )

/**
 * Runs an effect with this client in place of the one of the context.
 *
 * @since 0.1.0
 * @category combinators
 */
export const using = (client: MysqlClient.MysqlClient) =>
  Effect.provide(
    Layer.merge(Layer.succeed(MysqlClient.MysqlClient, client), Layer.succeed(SqlClient.SqlClient, client))
  )

/**
 * Asks until the answer is `true`, or until `within` is over: then the last answer is given.
 *
 * @since 0.1.0
 * @category combinators
 */
export const within = <A, E, R>(
  duration: Duration.DurationInput,
  ask: Effect.Effect<A, E, R>,
  until: (answer: A) => boolean
): Effect.Effect<A, E, R> => {
  let last: A | undefined
  const again: Effect.Effect<A, E, R> = Effect.flatMap(ask, (answer) => {
    last = answer
    return until(answer) ? Effect.succeed(answer) : Effect.delay(again, "10 millis")
  })
  return Effect.flatMap(
    Effect.timeoutOption(again, duration),
    Option.match({ onSome: Effect.succeed, onNone: () => last === undefined ? ask : Effect.succeed(last) })
  )
}

/**
 * One sentence for each thing that is left on the server when nobody should be doing anything: a connection that is busy, a
 * transaction of InnoDB, a lock, a temporary table. What is just being ended may take the server a moment: it is asked again
 * for a second.
 *
 * @since 0.1.0
 * @category probes
 */
export const leftovers = (
  observer: MysqlClient.MysqlClient
): Effect.Effect<ReadonlyArray<string>, SqlError | MysqlError.MysqlError> =>
  within(
    "1 second",
    Effect.map(
      observer<{ what: string }>`
        SELECT CONCAT('connection ', ID, ' is busy: ', COMMAND, ', ', COALESCE(STATE, ''), ', ', LEFT(COALESCE(INFO, ''), 80)) AS what
        FROM performance_schema.processlist
        WHERE ID <> CONNECTION_ID() AND COMMAND NOT IN ('Sleep', 'Daemon')
        UNION ALL
        SELECT CONCAT('connection ', PROCESSLIST_ID, ' has a transaction') FROM performance_schema.events_transactions_current
        JOIN performance_schema.threads USING (THREAD_ID) WHERE STATE = 'ACTIVE' AND PROCESSLIST_ID <> CONNECTION_ID()
        UNION ALL
        SELECT CONCAT('somebody holds or waits for the lock ', OBJECT_NAME) FROM performance_schema.metadata_locks
        WHERE OBJECT_TYPE = 'USER LEVEL LOCK'
        UNION ALL
        SELECT CONCAT('there is a temporary table: ', NAME) FROM information_schema.innodb_temp_table_info`,
      (rows) => rows.map(({ what }) => what)
    ),
    (found) => found.length === 0
  )

/**
 * Takes all connections of the client's pool at a time, looks at each session, and gives them back. One sentence for each
 * thing that is not as in a fresh session, or for a pool that does not serve as many as it should.
 *
 * @since 0.1.0
 * @category probes
 */
export const poolIsWhole = (
  size: number
): Effect.Effect<ReadonlyArray<string>, never, MysqlClient.MysqlClient | SqlClient.SqlClient> =>
  Effect.gen(function*() {
    const all = yield* Deferred.make<void>()
    const ids = new Set<number>()
    const strange: Array<string> = []
    const one = Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      const [session] = yield* sql<Record<string, unknown>>`
        SELECT CONNECTION_ID() AS id, DATABASE() = ${(yield* MysqlClient.MysqlClient).config.database!} AS home,
          @@SESSION.innodb_lock_wait_timeout = @@GLOBAL.innodb_lock_wait_timeout AS lock_wait,
          @@SESSION.transaction_isolation = @@GLOBAL.transaction_isolation AS isolation,
          @@SESSION.transaction_read_only = @@GLOBAL.transaction_read_only AS access_mode,
          @@SESSION.autocommit AS autocommit, @@SESSION.sort_buffer_size = @@GLOBAL.sort_buffer_size AS sort_buffer,
          @chaos IS NULL AS user_variable`
      const { id, ...settings } = session!
      ids.add(Number(id))
      for (const [name, asFresh] of Object.entries(settings)) {
        if (Number(asFresh) !== 1) strange.push(`connection ${Number(id)} came out of the pool with another ${name}`)
      }
      if (ids.size === size) yield* Deferred.succeed(all, undefined)
      yield* Deferred.await(all)
    }).pipe(Transaction.run())
    const served = yield* Effect.all(Array.from({ length: size }, () => one), { concurrency: size, discard: true })
      .pipe(
        Effect.timeoutOption("10 seconds"),
        Effect.exit
      )
    if (served._tag === "Failure") strange.push(`the pool does not serve: ${String(served.cause)}`)
    else if (Option.isNone(served.value)) strange.push(`the pool serves ${ids.size} of its ${size} connections`)
    return strange
  })

/**
 * How long each COMMIT waits for company before the server syncs its binary log, in microseconds: for so long it is on its way. It
 * is in the log by then, and is committed even when nobody waits for it any more.
 *
 * @since 0.1.0
 * @category faults
 */
export const commitDelay = (micros: number): Effect.Effect<void, SqlError, SqlClient.SqlClient> =>
  Effect.flatMap(
    SqlClient.SqlClient,
    (sql) => Effect.asVoid(sql`SET GLOBAL binlog_group_commit_sync_delay = ${sql.literal(String(micros))}`)
  )

/**
 * A server of our own, and a client with a pool of this size on a fresh database.
 *
 * @since 0.1.0
 * @category layers
 */
export const ownServer = (
  poolSize: number,
  args: ReadonlyArray<string> = []
): Layer.Layer<MysqlServer.MysqlServer | MysqlClient.MysqlClient | SqlClient.SqlClient, Error> =>
  Layer.provideMerge(MysqlServer.database({ maxConnections: poolSize }), MysqlServer.layerOwn({ args })).pipe(
    Layer.mapError((error: SqlError | ConfigError | Error) => error instanceof Error ? error : new Error(String(error)))
  )
