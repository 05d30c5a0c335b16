import { NodeRuntime } from "@effect/platform-node"
import { SqlClient } from "@effect/sql"
import { MysqlClient } from "@effect/sql-mysql2"
import { ConsumerGroup, Redis, StreamConsumer } from "@safesync/redis-streams"
import { Disposition, Worker } from "@safesync/worker"
import { Config, Effect, Layer, Schedule, Schema } from "effect"

const Payment = Schema.Struct({ account: Schema.Int, pence: Schema.Int })

const credit = ({ account, pence }: typeof Payment.Type) => // runs inside a transaction, exactly once for each message
  Effect.flatMap(SqlClient.SqlClient, (sql) => sql`UPDATE account SET pence = pence + ${pence} WHERE id = ${account}`)

const program = Effect.gen(function*() {
  const group = yield* ConsumerGroup.make({ stream: "payments", group: "billing", schema: Payment, startId: "0", minIdle: "1 minute" })
  yield* ConsumerGroup.create(group)
  const messages = StreamConsumer.stream(group, {
    consumer: "billing-1",
    reclaim: { every: Schedule.spaced("1 second") } // looks for retries, and for what the dead have left
  })
  yield* Worker.run(messages, credit, {
    concurrency: 8,
    inbox: "message-id",
    // five times, then to the dead letters; but as long as it takes while the database is away
    onFailure: (cause) => Disposition.retry(Disposition.isOutage(cause) ? Schedule.spaced("5 seconds") : Schedule.recurs(5))
  })
})

const Live = Layer.merge(MysqlClient.layerConfig({ url: Config.redacted("MYSQL_URL") }), Redis.layerConfig({ url: Config.redacted("REDIS_URL") }))
NodeRuntime.runMain(Effect.provide(program, Live))
