/**
 * Batches as one would write them: 100 read at a time, one transaction for them, one ack.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import type { PoolConnection } from "mysql2/promise"
import type { Contender } from "../Benchmark.js"
import * as Driver from "../Driver.js"
import type { Message } from "../Message.js"
import * as Tables from "./Tables.js"

/**
 * @since 0.1.0
 * @category contenders
 */
export const aStatementEach: Omit<Contender, "name"> = contender(async (connection, messages) => {
  for (const { account, pence } of messages) await connection.execute(Tables.update, [pence, account])
})

/**
 * @since 0.1.0
 * @category contenders
 */
export const setBased: Omit<Contender, "name"> = contender(async (connection, messages) => {
  const credits = JSON.stringify(messages.map(({ account, pence }) => [account, pence]))
  await connection.execute(Tables.updateMany, [credits])
})

// internal

function contender(
  apply: (connection: PoolConnection, messages: ReadonlyArray<Message>) => Promise<void>
): Omit<Contender, "name"> {
  const batchSize = 100
  return {
    batch: batchSize,
    start: (place) =>
      Effect.gen(function*() {
        const pool = yield* Driver.mysql(place, 1)
        const client = yield* Driver.redis(place)
        const blocking = yield* Driver.redis(place)
        yield* Tables.create(pool)
        return {
          prepare: (job) => Driver.fill(client, job),
          run: ({ count, name }) =>
            Driver.promise(async () => {
              for (let left = count; left > 0;) {
                const entries = await Driver.read(blocking, name, batchSize, 5_000)
                const ids = entries.map(([id]) => id)
                const connection = await pool.getConnection()
                try {
                  await connection.beginTransaction()
                  await connection.query("INSERT INTO handled (message_id) VALUES ?", [
                    ids.map((id) => [`${name}/${id}`])
                  ])
                  await apply(connection, entries.map(([, data]) => JSON.parse(data) as Message))
                  await connection.commit()
                } catch (error) {
                  await connection.rollback()
                  throw error
                } finally {
                  connection.release()
                }
                await client.xack(name, Driver.group, ...ids)
                left -= entries.length
              }
              return []
            }),
          verify: (jobs) => Tables.verify(pool, client, jobs, "handled")
        }
      })
  }
}
