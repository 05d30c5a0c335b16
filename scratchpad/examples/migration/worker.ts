import { NodeRuntime } from "@effect/platform-node"
import { SqlClient } from "@effect/sql"
import { MysqlClient } from "@effect/sql-mysql2"
import { Inbox } from "@safesync/mysql"
import { Prometheus } from "@safesync/opentelemetry"
import { Redis, StreamConsumer } from "@safesync/redis-streams"
import { Disposition, Worker } from "@safesync/worker"
import { Config, Effect, Layer, Schedule } from "effect"
import { jobs } from "./queue.js"

/** `consumer.run(handler=…, engine=…)` and, beside it, the process with `run_claim_stale(…)`: here they are one. */
const program = Effect.gen(function*() {
  const sql = yield* SqlClient.SqlClient
  yield* Inbox.migration
  const group = yield* jobs
  const consumer = yield* Config.string("CONSUMER")
  const source = StreamConsumer.stream(group, {
    consumer,
    reclaim: { every: Schedule.spaced("5 seconds") } // claim_interval_ms
  })
  yield* Worker.run(source, ({ number }) => sql`INSERT INTO done (number) VALUES (${number})`, {
    concurrency: 1, // as there; more is one number away
    inbox: "message-id", // a message that comes again is recognised: the handler need not be idempotent
    onFailure: () => Disposition.stop // as there: the exception ends the process, and the message stays pending
  })
})

// `install_termination_handlers(consumer.stop)`: runMain interrupts on SIGTERM and SIGINT, and the worker drains.
// The metrics have the names and labels that they had.
NodeRuntime.runMain(program.pipe(
  Effect.provide(MysqlClient.layerConfig({ url: Config.redacted("MYSQL_URL") })),
  Effect.provide(Redis.layerConfig({ url: Config.redacted("REDIS_URL") })),
  Effect.provide(Layer.unwrapEffect(Effect.map(Config.integer("METRICS_PORT"), (port) => Prometheus.layer({ port }))))
))
