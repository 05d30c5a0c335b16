/**
 * `Worker.run` with the inbox, and `Worker.runBatch`.
 *
 * @since 0.1.0
 */
import * as MysqlClient from "@effect/sql-mysql2/MysqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import * as Inbox from "@safesync/mysql/Inbox"
import * as ConsumerGroup from "@safesync/redis-streams/ConsumerGroup"
import type { Delivery } from "@safesync/redis-streams/Delivery"
import * as Redis from "@safesync/redis-streams/Redis"
import type { InvalidOptions, RedisError } from "@safesync/redis-streams/RedisError"
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
  contender(
    concurrency,
    ({ count, name }) =>
      Effect.flatMap(group(name), (group) =>
        work(Stream.take(StreamConsumer.stream(group, { consumer: "safesync" }), count), concurrency))
  )

/**
 * Whatever comes to a stream, until it is interrupted: one of the processes that share it.
 *
 * @since 0.1.0
 * @category steps
 */
export const share = (
  stream: string,
  consumer: string,
  concurrency: number
): Effect.Effect<void, unknown, Redis.Redis | MysqlClient.MysqlClient> =>
  Effect.flatMap(group(stream), (group) => work(StreamConsumer.stream(group, { consumer }), concurrency))

/**
 * A hundred messages a transaction, a statement for each of them. In the order of the accounts, so that batches that run at
 * the same time do not deadlock.
 *
 * @since 0.1.0
 * @category contenders
 */
export const runBatch = (concurrency: number): Omit<Contender, "name"> =>
  inBatches(concurrency, (sql, deliveries) =>
    Effect.forEach(
      Array.from(deliveries).sort((a, b) => a.value.account - b.value.account),
      ({ value: { account, pence } }) => sql`UPDATE account SET balance = balance + ${pence} WHERE id = ${account}`,
      { discard: true }
    ))

/**
 * A hundred messages a transaction, one statement for all of them.
 *
 * @since 0.1.0
 * @category contenders
 */
export const runBatchSetBased: Omit<Contender, "name"> = inBatches(1, (sql, deliveries) => {
  const credits = JSON.stringify(Array.from(deliveries, ({ value: { account, pence } }) => [account, pence]))
  return sql.unsafe(Tables.updateMany, [credits])
})

// internal

function work(
  deliveries: Stream.Stream<Delivery<Message>, RedisError | InvalidOptions, Redis.Redis>,
  concurrency: number
) {
  return Effect.flatMap(MysqlClient.MysqlClient, (sql) =>
    Worker.run(
      deliveries,
      ({ account, pence }) => sql`UPDATE account SET balance = balance + ${pence} WHERE id = ${account}`,
      { concurrency, inbox: "message-id", onFailure: () => Disposition.stop }
    ))
}

function group(stream: string) {
  return ConsumerGroup.make({ stream, group: Driver.group, schema: Message, startId: "0", minIdle: "1 minute" })
}

function inBatches(
  concurrency: number,
  apply: (
    sql: MysqlClient.MysqlClient,
    deliveries: Iterable<Delivery<Message>>
  ) => Effect.Effect<unknown, SqlError, MysqlClient.MysqlClient>
): Omit<Contender, "name"> {
  const size = 100
  return {
    batch: size,
    ...contender(concurrency, ({ count, name }, sql) =>
      Effect.flatMap(group(name), (group) =>
        Worker.runBatch(
          Stream.take(StreamConsumer.stream(group, { consumer: "safesync", batchSize: size }), count),
          (deliveries) => apply(sql, deliveries),
          { size, concurrency, within: "50 millis", inbox: "message-id", onFailure: () => Disposition.stop }
        )))
  }
}

function contender(
  connections: number,
  work: (
    job: Job,
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
          prepare: (job) => Driver.fill(client, job),
          run: (job) =>
            Effect.flatMap(MysqlClient.MysqlClient, (sql) => work(job, sql)).pipe(
              Effect.as([]),
              Effect.provide(services)
            ),
          verify: (jobs) => Tables.verify(pool, client, jobs, "safesync_inbox")
        }
      })
  }
}
