/**
 * A worker of the crash matrix, as a process. It ends by SIGTERM, and at once when the scenario is no longer there.
 *
 * @since 0.1.0
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as MysqlClient from "@effect/sql-mysql2/MysqlClient"
import { SqlClient } from "@effect/sql/SqlClient"
import * as Redis from "@safesync/redis-streams/Redis"
import * as StreamConsumer from "@safesync/redis-streams/StreamConsumer"
import * as Disposition from "@safesync/worker/Disposition"
import * as Worker from "@safesync/worker/Worker"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as LogLevel from "effect/LogLevel"
import * as Redacted from "effect/Redacted"
import * as Schedule from "effect/Schedule"
import { consumerGroup, type Payment, readSettings } from "./WorkerCrashProcess.js"

process.on("disconnect", () => process.exit(1))
if (!process.connected) process.exit(1)

const concurrency = 4

const { consumer, mysql, redis, stream } = readSettings()

/** Its statements carry a word each by which the proxy tells them. */
const book = ({ account, number, pence }: Payment) =>
  Effect.gen(function*() {
    const sql = yield* SqlClient
    yield* sql`UPDATE account SET balance = balance + ${pence}, note = ${"point:first"} WHERE id = ${account}`
    yield* sql`INSERT INTO ledger (number, account, pence, note) VALUES (${number}, ${account}, ${pence}, ${"point:second"})`
  })

const reconnect = Schedule.spaced("50 millis")

const program = Effect.gen(function*() {
  const group = yield* consumerGroup(stream)
  process.send!("ready")
  yield* Worker.run(
    StreamConsumer.stream(group, {
      consumer,
      reconnect,
      batchSize: 8,
      block: "500 millis",
      reclaim: { every: Schedule.spaced("100 millis") }
    }),
    book,
    {
      concurrency,
      inbox: "message-id",
      transaction: {
        isolation: "read-committed",
        controlTimeout: "2 seconds",
        retry: Schedule.intersect(Schedule.jittered(Schedule.spaced("5 millis")), Schedule.recurs(50))
      },
      onFailure: () => Disposition.retry(Schedule.spaced("100 millis"))
    }
  )
})

NodeRuntime.runMain(
  program.pipe(
    Effect.scoped,
    Effect.provide(Layer.merge(
      MysqlClient.layer({ url: Redacted.make(mysql), maxConnections: concurrency }),
      Redis.layer({ url: Redacted.make(redis), commandTimeout: "1 second" })
    )),
    Logger.withMinimumLogLevel(LogLevel.None)
  ),
  { disableErrorReporting: true, disablePrettyLogger: true }
)
