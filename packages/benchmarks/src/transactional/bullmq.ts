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
  notQuick: true,
  start: (place) =>
    Effect.gen(function*() {
      const pool = yield* Driver.mysql(place, concurrency)
      yield* Tables.create(pool)
      const workers = yield* Bull.workers(place, concurrency, async ({ account, number, pence }, { name }) => {
        const connection = await pool.getConnection()
        try {
          await connection.beginTransaction()
          await connection.execute(Tables.update, [pence, account])
          await connection.execute(Tables.insert, [`${name}/${number}`])
          await connection.commit()
        } catch (error) {
          await connection.rollback()
          throw error
        } finally {
          connection.release()
        }
      })
      return {
        prepare: (job) => Effect.zipRight(Bull.fill(place, job), workers.connect(job)),
        run: (job) => Effect.as(workers.work(job), []),
        verify: (jobs) =>
          Effect.zipWith(Tables.applied(pool, jobs, "handled"), Bull.settled(place, jobs), (a, b) => [...a, ...b])
      }
    })
})
