/** A worker as a program of its own, one of whose messages ends its process. */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as MysqlClient from "@effect/sql-mysql2/MysqlClient"
import { SqlClient } from "@effect/sql/SqlClient"
import * as ConsumerGroup from "@safesync/redis-streams/ConsumerGroup"
import * as Redis from "@safesync/redis-streams/Redis"
import * as StreamConsumer from "@safesync/redis-streams/StreamConsumer"
import * as Disposition from "@safesync/worker/Disposition"
import * as Worker from "@safesync/worker/Worker"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"

process.on("disconnect", () => process.exit(1))

const settings = JSON.parse(process.env["SETTINGS"]!) as {
  readonly mysql: string
  readonly redis: string
  readonly stream: string
  readonly form: "run" | "by key" | "runBatch"
  readonly end: "exit" | "out of memory" | "killed"
  readonly maxDeaths?: number
}

const Job = Schema.Struct({ number: Schema.Number, poison: Schema.Boolean })

/** Never returns, but where it waits to be killed by its parent. */
const die = Effect.async<never>(() => {
  switch (settings.end) {
    case "exit":
      return process.exit(7)
    case "out of memory": {
      const kept: Array<unknown> = []
      for (;;) kept.push(new Array(100_000).fill(kept.length))
    }
    case "killed":
      process.send!("kill me")
  }
})

const program = Effect.gen(function*() {
  const group = yield* ConsumerGroup.make({
    stream: settings.stream,
    group: "jobs",
    schema: Job,
    startId: "0",
    minIdle: "1 minute"
  })
  const sql = yield* SqlClient
  const handle = ({ number, poison }: typeof Job.Type) =>
    Effect.zipRight(
      sql`INSERT INTO done (number) VALUES (${number})`,
      poison ? die : Effect.sleep("10 millis")
    )
  const options = {
    inbox: "message-id",
    maxDeaths: settings.maxDeaths,
    onFailure: () => Disposition.retry(Schedule.recurs(2))
  } as const
  const source = StreamConsumer.stream(group, { consumer: "a" })
  yield* settings.form === "runBatch"
    ? Worker.runBatch(source, (all) => Effect.forEach(all, ({ value }) => handle(value)), {
      ...options,
      size: 16,
      within: "10 millis"
    })
    : Worker.run(source, handle, {
      ...options,
      concurrency: 16,
      key: settings.form === "run" ? undefined : ({ number }) => String(number % 20)
    })
})

NodeRuntime.runMain(program.pipe(
  Effect.provide(Layer.merge(
    MysqlClient.layer({ url: Redacted.make(settings.mysql), maxConnections: 16 }),
    Redis.layer({ url: Redacted.make(settings.redis) })
  ))
))
