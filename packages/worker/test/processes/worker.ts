/** A worker as a program of its own: what a service's main file would be. */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as MysqlClient from "@effect/sql-mysql2/MysqlClient"
import { SqlClient } from "@effect/sql/SqlClient"
import * as ConsumerGroup from "@safesync/redis-streams/ConsumerGroup"
import * as Reclaim from "@safesync/redis-streams/Reclaim"
import * as Redis from "@safesync/redis-streams/Redis"
import * as StreamConsumer from "@safesync/redis-streams/StreamConsumer"
import * as Disposition from "@safesync/worker/Disposition"
import * as Worker from "@safesync/worker/Worker"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"

process.on("disconnect", () => process.exit(1))

const settings = JSON.parse(process.env["SETTINGS"]!) as {
  readonly mysql: string
  readonly redis: string
  readonly stream: string
  readonly minIdle: number
  readonly drainTimeout: number
}

const Job = Schema.Struct({ number: Schema.Number, millis: Schema.Number })

const program = Effect.gen(function*() {
  const group = yield* ConsumerGroup.make({
    stream: settings.stream,
    group: "jobs",
    schema: Job,
    startId: "0",
    minIdle: settings.minIdle
  })
  const sql = yield* SqlClient
  const consumer = `worker-${process.pid}`
  const worker = yield* Worker.make(
    Stream.merge(
      StreamConsumer.stream(group, { consumer }),
      Reclaim.stream(group, { consumer, every: Schedule.spaced("100 millis") })
    ),
    ({ millis, number }) =>
      Effect.zipRight(sql`INSERT INTO done (number, pid) VALUES (${number}, ${process.pid})`, Effect.sleep(millis)),
    // without the inbox a message that is handled twice is seen
    { concurrency: 8, inbox: "off", onFailure: () => Disposition.stop, drainTimeout: settings.drainTimeout }
  )
  yield* Effect.onInterrupt(worker.await, () => Effect.sync(() => process.send!("draining")))
})

NodeRuntime.runMain(program.pipe(
  Effect.scoped,
  Effect.provide(Layer.merge(
    MysqlClient.layer({ url: Redacted.make(settings.mysql), maxConnections: 8 }),
    Redis.layer({ url: Redacted.make(settings.redis) })
  ))
))
