/**
 * `Worker.run` with the inbox, and `Worker.runBatch`.
 *
 * @since 0.1.0
 */
import * as MysqlClient from "@effect/sql-mysql2/MysqlClient"
import * as Inbox from "@safesync/mysql/Inbox"
import * as ConsumerGroup from "@safesync/redis-streams/ConsumerGroup"
import type { Delivery } from "@safesync/redis-streams/Delivery"
import * as Redis from "@safesync/redis-streams/Redis"
import * as StreamConsumer from "@safesync/redis-streams/StreamConsumer"
import * as Disposition from "@safesync/worker/Disposition"
import * as Worker from "@safesync/worker/Worker"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Stream from "effect/Stream"
import type { Contender, Job } from "../Benchmark.js"
import * as Driver from "../Driver.js"
import { Message } from "../Message.js"
import * as Tables from "./Tables.js"

/**
 * @since 0.1.0
 * @category contenders
 */
export const run = (concurrency: number): Omit<Contender, "name"> =>
  contender(concurrency, (source, sql) =>
    Worker.run(
      source(64),
      ({ account, pence }) => sql`UPDATE account SET balance = balance + ${pence} WHERE id = ${account}`,
      { concurrency, inbox: "message-id", onFailure: () => Disposition.stop }
    ))

/**
 * A hundred messages a transaction, a statement for each of them.
 *
 * @since 0.1.0
 * @category contenders
 */
export const runBatch: Omit<Contender, "name"> = contender(1, (source, sql) =>
  Worker.runBatch(
    source(batchSize),
    Effect.forEach(
      ({ value: { account, pence } }) => sql`UPDATE account SET balance = balance + ${pence} WHERE id = ${account}`,
      { discard: true }
    ),
    batch
  ))

/**
 * A hundred messages a transaction, one statement for all of them.
 *
 * @since 0.1.0
 * @category contenders
 */
export const runBatchSetBased: Omit<Contender, "name"> = contender(1, (source, sql) =>
  Worker.runBatch(
    source(batchSize),
    (deliveries) => {
      const credits = JSON.stringify(deliveries.map(({ value: { account, pence } }) => [account, pence]))
      return sql`
        UPDATE account JOIN (
          SELECT id, SUM(pence) AS pence
          FROM JSON_TABLE(${credits}, '$[*]' COLUMNS (id INT PATH '$[0]', pence INT PATH '$[1]')) AS credit
          GROUP BY id
        ) AS credited USING (id)
        SET balance = balance + credited.pence`
    },
    batch
  ))

// internal

const batchSize = 100

const batch = {
  size: batchSize,
  within: "50 millis",
  inbox: "message-id",
  onFailure: () => Disposition.stop
} as const

type Source = (batchSize: number) => Stream.Stream<Delivery<Message>, unknown, Redis.Redis>

function contender(
  connections: number,
  work: (
    source: Source,
    sql: MysqlClient.MysqlClient
  ) => Effect.Effect<void, unknown, Redis.Redis | MysqlClient.MysqlClient>
): Omit<Contender, "name"> {
  return {
    start: (place) =>
      Effect.gen(function*() {
        const pool = yield* Driver.mysql(place, 1)
        const client = yield* Driver.redis(place)
        const services = yield* Layer.build(Layer.merge(
          MysqlClient.layer({ url: Redacted.make(place.mysqlUrl), maxConnections: connections }),
          Redis.layer({ url: Redacted.make(place.redisUrl) })
        ))
        yield* Tables.create(pool)
        yield* Effect.provide(Inbox.migration, services)
        return {
          prepare: (job: Job) => Driver.fill(client, job),
          run: ({ count, name }: Job) =>
            Effect.gen(function*() {
              const sql = yield* MysqlClient.MysqlClient
              const group = yield* ConsumerGroup.make({
                stream: name,
                group: Driver.group,
                schema: Message,
                startId: "0",
                minIdle: "1 minute"
              })
              const source: Source = (batchSize) =>
                Stream.take(StreamConsumer.stream(group, { consumer: "safesync", batchSize }), count)
              yield* work(source, sql)
              return []
            }).pipe(Effect.provide(services)),
          verify: (jobs: ReadonlyArray<Job>) => Tables.verify(pool, client, jobs, "safesync_inbox")
        }
      })
  }
}
