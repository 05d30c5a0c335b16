/**
 * 16 writers that take the next operation whenever they have done one.
 *
 * @since 0.1.0
 */
import * as MysqlClient from "@effect/sql-mysql2/MysqlClient"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import type { Pool, PoolConnection } from "mysql2/promise"
import type { Contender, Job, Running } from "../Benchmark.js"
import * as Driver from "../Driver.js"

/**
 * @since 0.1.0
 * @category constants
 */
export const writers = 16

/**
 * @since 0.1.0
 * @category constructors
 */
export const byHand =
  (rows: number, write: (connection: PoolConnection, id: number) => Promise<void>): Contender["start"] => (place) =>
    Effect.gen(function*() {
      const pool = yield* Driver.mysql(place, writers)
      yield* table(pool, rows)
      return running(pool, ({ count }) =>
        Driver.promise(async () => {
          const millis: Array<number> = []
          let left = count
          await Driver.atOnce(writers, async () => {
            while (left > 0) {
              const id = rowOf(left--, rows)
              const start = performance.now()
              const connection = await pool.getConnection()
              try {
                await write(connection, id)
              } finally {
                connection.release()
              }
              millis.push(performance.now() - start)
            }
          })
          return millis
        }))
    })

/**
 * @since 0.1.0
 * @category constructors
 */
export const inEffect = (
  rows: number,
  write: (sql: MysqlClient.MysqlClient, id: number) => Effect.Effect<unknown, unknown, MysqlClient.MysqlClient>
): Contender["start"] =>
(place) =>
  Effect.gen(function*() {
    const pool = yield* Driver.mysql(place, 1)
    yield* table(pool, rows)
    const services = yield* Layer.build(
      MysqlClient.layer({ url: Redacted.make(place.mysqlUrl), maxConnections: writers })
    )
    return running(pool, ({ count }) =>
      Effect.gen(function*() {
        const sql = yield* MysqlClient.MysqlClient
        const millis: Array<number> = []
        let left = count
        const loop: Effect.Effect<void, unknown, MysqlClient.MysqlClient> = Effect.suspend(() => {
          if (left <= 0) return Effect.void
          const id = rowOf(left--, rows)
          const start = performance.now()
          return Effect.flatMap(write(sql, id), () => {
            millis.push(performance.now() - start)
            return loop
          })
        })
        yield* Effect.all(Array.from({ length: writers }, () => loop), { concurrency: "unbounded", discard: true })
        return millis
      }).pipe(Effect.provide(services)))
  })

// internal

/** Neighbours are far apart: what 1,000 rows are for is that two writers seldom meet. */
const rowOf = (operation: number, rows: number): number => (operation * 7_919) % rows + 1

const table = (pool: Pool, rows: number): Effect.Effect<void, unknown> =>
  Driver.promise(async () => {
    await pool.query(
      "CREATE TABLE counter (id INT PRIMARY KEY, value BIGINT NOT NULL, version INT NOT NULL) ENGINE = InnoDB"
    )
    await pool.query("INSERT INTO counter (id, value, version) VALUES ?", [
      Array.from({ length: rows }, (_, at) => [at + 1, 0, 0])
    ])
  })

const running = (
  pool: Pool,
  run: (job: Job) => Effect.Effect<ReadonlyArray<number>, unknown>
): Running => ({
  prepare: () => Effect.void,
  run,
  verify: (jobs) =>
    Driver.promise(async () => {
      const expected = jobs.reduce((sum, { count }) => sum + count, 0)
      const [[row]] = (await pool.query("SELECT CAST(SUM(value) AS SIGNED) AS value FROM counter")) as unknown as [
        [{ value: number }]
      ]
      const [open] = (await pool.query(
        // Those of this database's connections: others may use the server too.
        `SELECT 1 FROM performance_schema.metadata_locks
           JOIN performance_schema.threads ON THREAD_ID = OWNER_THREAD_ID
           WHERE OBJECT_TYPE = 'USER LEVEL LOCK' AND PROCESSLIST_DB = DATABASE()`
      )) as unknown as [ReadonlyArray<unknown>]
      return [
        ...(Number(row.value) === expected ? [] : [`the rows add up to ${row.value} in place of ${expected}`]),
        ...(open.length === 0 ? [] : [`${open.length} advisory locks are still held`])
      ]
    })
})
