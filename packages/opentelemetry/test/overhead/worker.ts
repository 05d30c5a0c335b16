/** Handles what is in the stream, and says what that cost. */
import * as MysqlClient from "@effect/sql-mysql2/MysqlClient"
import { SqlClient } from "@effect/sql/SqlClient"
import * as Telemetry from "@safesync/opentelemetry/Telemetry"
import * as ConsumerGroup from "@safesync/redis-streams/ConsumerGroup"
import * as Redis from "@safesync/redis-streams/Redis"
import * as StreamConsumer from "@safesync/redis-streams/StreamConsumer"
import * as Disposition from "@safesync/worker/Disposition"
import * as Worker from "@safesync/worker/Worker"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"

export interface Cost {
  readonly messagesPerSecond: number
  readonly cpuMicros: number
}

const { messages, mysql, redis, stream, warmUp } = JSON.parse(process.env["SETTINGS"]!)

const Payment = Schema.Struct({ account: Schema.Int, pence: Schema.Int })

const program = Effect.gen(function*() {
  const group = yield* ConsumerGroup.make({ stream, group: "g", schema: Payment, startId: "0", minIdle: "1 minute" })
  const sql = yield* SqlClient
  let handled = 0
  let began = 0
  let cpu = process.cpuUsage()
  const handler = ({ account, pence }: typeof Payment.Type) => {
    if (++handled === warmUp) {
      began = performance.now()
      cpu = process.cpuUsage()
    }
    return sql`UPDATE account SET balance = balance + ${pence} WHERE id = ${account}`
  }
  yield* Worker.run(Stream.take(StreamConsumer.stream(group, { consumer: "a" }), warmUp + messages), handler, {
    concurrency: 8,
    inbox: "message-id",
    onFailure: () => Disposition.stop
  })
  const { system, user } = process.cpuUsage(cpu)
  const cost: Cost = {
    messagesPerSecond: messages / ((performance.now() - began) / 1000),
    cpuMicros: (user + system) / messages
  }
  process.send!(cost)
})

void Effect.runPromise(Effect.provide(program, [
  Layer.merge(
    MysqlClient.layer({ url: Redacted.make(mysql), maxConnections: 8 }),
    Redis.layer({ url: Redacted.make(redis) })
  ),
  Telemetry.layer
])).finally(() => process.disconnect())
