/**
 * BullMQ in place of the stream, mysql2 as in the hand-written loop.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import type { Contender } from "../Benchmark.js"
import * as Bull from "../Bull.js"
import * as Driver from "../Driver.js"
import * as Tables from "./Tables.js"

/**
 * @since 0.1.0
 * @category contenders
 */
export const bullmq = (concurrency: number): Contender => ({
  name: "BullMQ + mysql2",
  start: (place) =>
    Effect.gen(function*() {
      const pool = yield* Driver.mysql(place, concurrency)
      yield* Tables.create(pool)
      return {
        prepare: (job) => Bull.fill(place, job),
        run: (job) =>
          Effect.as(
            Bull.work(place, job, concurrency, async ({ account, number, pence }) => {
              const connection = await pool.getConnection()
              try {
                await connection.beginTransaction()
                await connection.execute(Tables.update, [pence, account])
                await connection.execute(Tables.insert, [`${job.name}/${number}`])
                await connection.commit()
              } catch (error) {
                await connection.rollback()
                throw error
              } finally {
                connection.release()
              }
            }),
            []
          ),
        verify: (jobs) =>
          Effect.zipWith(Tables.applied(pool, jobs, "handled"), Bull.settled(place, jobs), (a, b) => [...a, ...b])
      }
    })
})
