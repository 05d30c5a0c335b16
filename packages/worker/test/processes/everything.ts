/** A worker with a relay, gauges and upkeep as one process, as the guide has it. */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as MysqlClient from "@effect/sql-mysql2/MysqlClient"
import { SqlClient } from "@effect/sql/SqlClient"
import * as Inbox from "@safesync/mysql/Inbox"
import * as Outbox from "@safesync/mysql/Outbox"
import * as ConsumerGroup from "@safesync/redis-streams/ConsumerGroup"
import * as Redis from "@safesync/redis-streams/Redis"
import * as StreamConsumer from "@safesync/redis-streams/StreamConsumer"
import * as Disposition from "@safesync/worker/Disposition"
import * as OutboxRelay from "@safesync/worker/OutboxRelay"
import * as Worker from "@safesync/worker/Worker"
import * as Context from "effect/Context"
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
  readonly drainTimeout: number
}

const Job = Schema.Struct({ number: Schema.Number })

class Billing extends Context.Tag("Billing")<Billing, Worker.Worker<unknown>>() {}

const deliveries = Stream.unwrap(Effect.map(
  ConsumerGroup.make({ stream: settings.stream, group: "jobs", schema: Job, startId: "0", minIdle: "1 minute" }),
  (group) => StreamConsumer.stream(group, { consumer: "a", reconnect: Schedule.spaced("100 millis") })
))

const BillingLive = Worker.layer(
  Billing,
  deliveries,
  ({ number }) =>
    Effect.gen(function*() {
      const sql = yield* SqlClient
      yield* sql`INSERT INTO done (number) VALUES (${number})`
      yield* Outbox.append({ stream: `${settings.stream}-done`, schema: Job, value: { number } })
    }),
  {
    concurrency: 8,
    inbox: "message-id",
    onFailure: () => Disposition.retry(Schedule.spaced("10 seconds")),
    drainTimeout: settings.drainTimeout
  }
)

const often = Schedule.spaced("5 millis")

const program = Effect.scoped(Effect.gen(function*() {
  const worker = yield* Billing
  const sql = yield* SqlClient
  const relay = OutboxRelay.run({ poll: often }).pipe(Effect.retry(Schedule.spaced("1 second")))
  yield* Effect.forkScoped(Effect.retry(Effect.repeat(Inbox.purge({ olderThan: "1 hour" }), often), often))
  yield* Effect.forkScoped(Outbox.report({ every: often }))
  // of the application's own, on the pool
  yield* Effect.forkScoped(Effect.retry(Effect.repeat(sql`INSERT INTO plain VALUES ()`, often), often))
  yield* Effect.raceFirst(worker.await, relay)
}))

NodeRuntime.runMain(program.pipe(
  Effect.provide(BillingLive),
  Effect.provide(Layer.merge(
    MysqlClient.layer({ url: Redacted.make(settings.mysql), maxConnections: 12 }),
    Redis.layer({ url: Redacted.make(settings.redis) })
  ))
))
