import { SqlClient } from "@effect/sql"
import { Outbox, Transaction } from "@safesync/mysql"
import { ConsumerGroup, StreamConsumer } from "@safesync/redis-streams"
import { Disposition, OutboxRelay, Worker } from "@safesync/worker"
import { Effect, Schedule, Schema, Stream } from "effect"

const Ordered = Schema.Struct({ order: Schema.Int, article: Schema.Int })

/** The first service: an order, and the news of it, in one transaction. */
export const placeOrder = (order: number, article: number) =>
  Effect.gen(function*() {
    const sql = yield* SqlClient.SqlClient
    yield* sql`INSERT INTO orders (id, article) VALUES (${order}, ${article})`
    yield* Outbox.append({ stream: "ordered", schema: Ordered, value: { order, article }, key: String(article) })
  }).pipe(Transaction.run({ isolation: "read-committed" }))

/** Beside it, in each of its processes. Published at least once, under the same message id. */
export const relay = OutboxRelay.run({ poll: Schedule.spaced("1 second") }).pipe(
  Effect.tapError((error) => Effect.logWarning("The relay starts again", error)),
  Effect.retry(Schedule.exponential("100 millis").pipe(Schedule.union(Schedule.spaced("10 seconds"))))
)

/** The second service: the inbox knows the message id, so its stock is taken once. */
export const stock = Stream.unwrap(Effect.gen(function*() {
  const group = yield* ConsumerGroup.make({ stream: "ordered", group: "stock", schema: Ordered, startId: "0", minIdle: "30 seconds" })
  yield* ConsumerGroup.create(group)
  return StreamConsumer.stream(group, { consumer: "stock-1" })
}))

export const takeFromStock = Worker.run(
  stock,
  ({ article }) => Effect.flatMap(SqlClient.SqlClient, (sql) => sql`UPDATE stock SET pieces = pieces - 1 WHERE article = ${article}`),
  {
    concurrency: 8,
    inbox: "message-id",
    key: ({ article }) => String(article),
    onFailure: (cause) =>
      Disposition.retry(
        Disposition.isOutage(cause)
          ? Schedule.spaced("10 seconds")
          : Schedule.intersect(Schedule.spaced("1 second"), Schedule.recurs(5))
      )
  }
)
