/**
 * What one would write: mysql2 with promises and prepared statements, one reader, `concurrency` loops, an ack each.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import type { Redis } from "ioredis"
import type { Contender, Job } from "../Benchmark.js"
import * as Driver from "../Driver.js"
import type { Message } from "../Message.js"
import * as Tables from "./Tables.js"

/**
 * @since 0.1.0
 * @category contenders
 */
export const handWritten = (concurrency: number): Contender => ({
  name: "hand-written",
  start: (place) =>
    Effect.gen(function*() {
      const pool = yield* Driver.mysql(place, concurrency)
      const client = yield* Driver.redis(place)
      const blocking = yield* Driver.redis(place)
      yield* Tables.create(pool)
      return {
        prepare: (job) => Driver.fill(client, job),
        run: (job) =>
          loops(client, blocking, job, concurrency, async (id, { account, pence }) => {
            const connection = await pool.getConnection()
            try {
              await connection.beginTransaction()
              await connection.execute(Tables.update, [pence, account])
              await connection.execute(Tables.insert, [id])
              await connection.commit()
            } catch (error) {
              await connection.rollback()
              throw error
            } finally {
              connection.release()
            }
          }),
        verify: (jobs) => Tables.verify(pool, client, jobs, "handled")
      }
    })
})

/**
 * The same with what pays most when it is done by hand: mysql2's callbacks in place of its promises, and BEGIN in one packet with
 * the first statement. No `ROLLBACK` is ever answered for; it is a bound on what is possible, not what one would write.
 *
 * @since 0.1.0
 * @category contenders
 */
export const handTuned = (concurrency: number): Contender => ({
  name: "hand-tuned (callbacks, BEGIN packed)",
  notQuick: true,
  start: (place) =>
    Effect.gen(function*() {
      const pool = yield* Driver.mysqlCallbacks(place, concurrency)
      const client = yield* Driver.redis(place)
      const blocking = yield* Driver.redis(place)
      yield* Tables.create(pool.promise())
      const transaction = (id: string, { account, pence }: Message) =>
        new Promise<void>((resolve, reject) => {
          pool.getConnection((error, connection) => {
            if (error !== null) return reject(error)
            const fail = (error: unknown) => {
              connection.query("ROLLBACK", () => connection.release())
              reject(error)
            }
            const begin = `START TRANSACTION; UPDATE account SET balance = balance + ${pence} WHERE id = ${account}`
            connection.query(begin, (error) => {
              if (error !== null) return fail(error)
              connection.execute(Tables.insert, [id], (error) => {
                if (error !== null) return fail(error)
                connection.query("COMMIT", (error) => {
                  if (error !== null) return fail(error)
                  connection.release()
                  resolve()
                })
              })
            })
          })
        })
      return {
        prepare: (job) => Driver.fill(client, job),
        run: (job) => loops(client, blocking, job, concurrency, transaction),
        verify: (jobs) => Tables.verify(pool.promise(), client, jobs, "handled")
      }
    })
})

// internal

const loops = (
  client: Redis,
  blocking: Redis,
  { count, name }: Job,
  concurrency: number,
  handle: (id: string, message: Message) => Promise<void>
): Effect.Effect<ReadonlyArray<number>, unknown> =>
  Driver.promise(async () => {
    const next = Driver.reader(blocking, name, count)
    await Driver.atOnce(concurrency, async () => {
      for (let entry = await next(); entry !== undefined; entry = await next()) {
        const [id, data] = entry
        await handle(`${name}/${id}`, JSON.parse(data) as Message)
        await client.xack(name, Driver.group, id)
      }
    })
    return []
  })
