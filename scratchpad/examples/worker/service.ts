import { SqlClient } from "@effect/sql"
import { MysqlClient } from "@effect/sql-mysql2"
import { ConsumerGroup, Redis, StreamConsumer } from "@safesync/redis-streams"
import { Disposition, Worker, WorkerStatus } from "@safesync/worker"
import { Config, Context, Effect, Layer, Schedule, Schema, Stream } from "effect"

export const Payment = Schema.Struct({ account: Schema.Int, pence: Schema.Int })

/** Runs inside a transaction, exactly once for each message. */
const credit = ({ account, pence }: typeof Payment.Type) =>
  Effect.flatMap(SqlClient.SqlClient, (sql) => sql`UPDATE account SET pence = pence + ${pence} WHERE id = ${account}`)

export const group = ConsumerGroup.make({ stream: "payments", group: "billing", schema: Payment, startId: "0", minIdle: "30 seconds" })

/** New entries, those to be retried, and what dead processes have left behind; it goes on when Redis is back. */
export const deliveries = Stream.unwrap(Effect.gen(function*() {
  const consumer = yield* Config.string("CONSUMER")
  const billing = yield* group
  yield* ConsumerGroup.create(billing)
  const reconnect = Schedule.exponential("100 millis").pipe(Schedule.union(Schedule.spaced("5 seconds")))
  const reclaim = { every: Schedule.jittered(Schedule.spaced("10 seconds")) }
  return StreamConsumer.stream(billing, { consumer, reclaim, reconnect })
}))

export class Billing extends Context.Tag("Billing")<Billing, Worker.Worker<unknown>>() {}

export const BillingLive = Worker.layer(Billing, deliveries, credit, {
  name: "billing",
  concurrency: 8,
  inbox: "message-id",
  transaction: { isolation: "read-committed", retry: Schedule.jittered(Schedule.recurs(5)), controlTimeout: "10 seconds" },
  lease: "25 seconds", // a handler that hangs gives its slot back; a host of MySQL that vanishes is noticed before
  onFailure: (cause) =>
    Disposition.isOutage(cause)
      ? Disposition.retry(Schedule.spaced("10 seconds")) // the database is away: no message is given up for that
      : Disposition.retry(Schedule.intersect(Schedule.exponential("1 second"), Schedule.recurs(5))),
  drainTimeout: "15 seconds" // less than what the platform gives a process between SIGTERM and SIGKILL
})

/** The answer to liveness and readiness probes: `live`, `ready`, and the reasons why it is not. */
export const health = Effect.flatMap(Billing, (worker) => Effect.map(worker.status, (status) => WorkerStatus.health(status)))

export const ServersLive = Layer.merge(
  // eight for the worker, the rest for a relay, reports and upkeep; `?connectTimeout=5000` in the URL bounds a new connection
  MysqlClient.layerConfig({ url: Config.redacted("MYSQL_URL"), maxConnections: Config.succeed(10) }),
  Redis.layerConfig({ url: Config.redacted("REDIS_URL") })
)
