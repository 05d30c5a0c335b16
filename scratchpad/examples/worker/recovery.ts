import { NodeRuntime } from "@effect/platform-node"
import { SqlClient } from "@effect/sql"
import { Transaction } from "@safesync/mysql"
import { ConsumerGroup, StreamConsumer } from "@safesync/redis-streams"
import { Disposition, Worker } from "@safesync/worker"
import { Config, Effect, Schedule } from "effect"
import { Payment, ServersLive } from "./service.js"

// CONSUMER=a CRASH=yes: dies by SIGKILL between its first COMMIT and the ack.
// CONSUMER=a again, as a process that is started anew: finds the message at once, since it is pending for "a".
// CONSUMER=b instead: takes it over once it has been idle for minIdle. Either way the inbox knows it: it is only acked.
const program = Effect.gen(function*() {
  const consumer = yield* Config.string("CONSUMER")
  const crash = yield* Config.boolean("CRASH").pipe(Config.withDefault(false))
  const group = yield* ConsumerGroup.make({ stream: "payments", group: "billing", schema: Payment, startId: "0", minIdle: "2 seconds" })
  yield* ConsumerGroup.create(group)
  const sql = yield* SqlClient.SqlClient
  yield* Worker.run(
    StreamConsumer.stream(group, { consumer, reclaim: { every: Schedule.spaced("200 millis") } }),
    ({ account, pence }) =>
      Effect.gen(function*() {
        yield* sql`UPDATE account SET pence = pence + ${pence} WHERE id = ${account}`
        if (crash) yield* Transaction.afterCommit(Effect.sync(() => process.kill(process.pid, "SIGKILL")))
      }),
    { concurrency: 1, inbox: "message-id", onFailure: () => Disposition.stop }
  )
})

NodeRuntime.runMain(Effect.provide(program, ServersLive))
