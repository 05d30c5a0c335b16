/**
 * The hand-written loop through @effect/sql: `sql.withTransaction`, in as many fibers.
 *
 * @since 0.1.0
 */
import * as MysqlClient from "@effect/sql-mysql2/MysqlClient"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import type { Contender } from "../Benchmark.js"
import * as Driver from "../Driver.js"
import type { Message } from "../Message.js"
import * as Tables from "./Tables.js"

/**
 * @since 0.1.0
 * @category contenders
 */
export const withTransaction = (concurrency: number): Contender => ({
  name: "sql.withTransaction",
  notQuick: true,
  start: (place) =>
    Effect.gen(function*() {
      const pool = yield* Driver.mysql(place, 1)
      const client = yield* Driver.redis(place)
      const blocking = yield* Driver.redis(place)
      const services = yield* Layer.build(
        MysqlClient.layer({ url: Redacted.make(place.mysqlUrl), maxConnections: concurrency })
      )
      yield* Tables.create(pool)
      return {
        prepare: (job) => Driver.fill(client, job),
        run: ({ count, name }) =>
          Effect.gen(function*() {
            const sql = yield* MysqlClient.MysqlClient
            const next = Driver.reader(blocking, name, count)
            const take = Driver.promise(next)
            const handle = (id: string, { account, pence }: Message) =>
              Effect.zipRight(
                sql.withTransaction(Effect.zipRight(
                  sql`UPDATE account SET balance = balance + ${pence} WHERE id = ${account}`,
                  sql`INSERT INTO handled (message_id) VALUES (${`${name}/${id}`})`
                )),
                Driver.promise(() => client.xack(name, Driver.group, id))
              )
            const loop: Effect.Effect<void, unknown> = Effect.flatMap(
              take,
              (entry) =>
                entry === undefined
                  ? Effect.void
                  : Effect.zipRight(handle(entry[0], JSON.parse(entry[1]) as Message), loop)
            )
            yield* Effect.all(Array.from({ length: concurrency }, () => loop), {
              concurrency: "unbounded",
              discard: true
            })
            return []
          }).pipe(Effect.provide(services)),
        verify: (jobs) => Tables.verify(pool, client, jobs, "handled")
      }
    })
})
