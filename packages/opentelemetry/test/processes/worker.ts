/** A worker, as a service's main file would have it. */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as MysqlClient from "@effect/sql-mysql2/MysqlClient"
import { SqlClient } from "@effect/sql/SqlClient"
import * as AdvisoryLock from "@safesync/mysql/AdvisoryLock"
import * as Occ from "@safesync/mysql/Occ"
import * as Outbox from "@safesync/mysql/Outbox"
import * as RowLock from "@safesync/mysql/RowLock"
import * as Telemetry from "@safesync/opentelemetry/Telemetry"
import * as ConsumerGroup from "@safesync/redis-streams/ConsumerGroup"
import * as GroupMetrics from "@safesync/redis-streams/GroupMetrics"
import * as Reclaim from "@safesync/redis-streams/Reclaim"
import * as Redis from "@safesync/redis-streams/Redis"
import * as StreamConsumer from "@safesync/redis-streams/StreamConsumer"
import * as Disposition from "@safesync/worker/Disposition"
import * as OutboxRelay from "@safesync/worker/OutboxRelay"
import * as Worker from "@safesync/worker/Worker"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { Payment, settings } from "./settings.js"

// A test that is gone stops nobody.
process.on("disconnect", () => process.exit(1))

const { mysql, redis, stream } = settings()

const Account = Schema.Struct({ balance: Schema.Int, version: Schema.Int })

const program = Effect.gen(function*() {
  const group = yield* ConsumerGroup.make({
    stream,
    group: "billing",
    schema: Payment,
    startId: "0",
    minIdle: "1 second"
  })
  yield* ConsumerGroup.create(group)
  yield* Effect.forkScoped(GroupMetrics.report(group, { every: Schedule.spaced("200 millis") }))
  yield* Effect.forkScoped(OutboxRelay.run({ poll: Schedule.spaced("200 millis") }))
  yield* Effect.forkScoped(Effect.repeat(Outbox.backlog, Schedule.spaced("200 millis")))
  const sql = yield* SqlClient
  yield* Worker.run(
    Stream.merge(
      StreamConsumer.stream(group, { consumer: "billing-1" }),
      Reclaim.stream(group, { consumer: "billing-1", every: Schedule.spaced("200 millis") })
    ),
    ({ account, pence }) =>
      Effect.gen(function*() {
        yield* AdvisoryLock.acquireInTransaction(`account/${account}`, { timeout: "5 seconds" })
        const row = yield* RowLock.forUpdate({ table: "account", where: { id: account }, schema: Account })
        const { balance, version } = Option.getOrThrow(row)
        yield* Occ.update({
          table: "account",
          key: { id: account },
          version: { column: "version", expected: version },
          set: { balance: balance + pence }
        })
        yield* sql`INSERT INTO entry (pence) VALUES (${pence})`
        if (pence < 0) yield* Effect.fail("no" as const)
      }),
    {
      concurrency: 4,
      inbox: "message-id",
      trace: "child",
      transaction: { sqlComments: true },
      onFailure: () => Disposition.deadLetter
    }
  )
}).pipe(Effect.scoped)

NodeRuntime.runMain(Effect.provide(program, [
  Layer.merge(
    MysqlClient.layer({ url: Redacted.make(mysql), maxConnections: 7 }),
    Redis.layer({ url: Redacted.make(redis) })
  ),
  Telemetry.layer
]))
