import { NodeRuntime } from "@effect/platform-node"
import { SqlClient } from "@effect/sql"
import { MysqlClient } from "@effect/sql-mysql2"
import { Inbox } from "@safesync/mysql"
import { Redis, StreamProducer } from "@safesync/redis-streams"
import { Config, Effect, Layer, Schema } from "effect"

const Payment = Schema.Struct({ account: Schema.Int, pence: Schema.Int })

const program = Effect.gen(function*() {
  const sql = yield* SqlClient.SqlClient
  yield* Inbox.migration
  yield* sql`CREATE TABLE IF NOT EXISTS account (id INT PRIMARY KEY, pence INT NOT NULL)`
  yield* sql`INSERT IGNORE INTO account VALUES (1, 0)`
  yield* Effect.log("the accounts:", yield* sql`SELECT * FROM account`)
  const payments = yield* StreamProducer.make({ stream: "payments", schema: Payment })
  yield* StreamProducer.send(payments, { account: 1, pence: 1299 })
})

const Live = Layer.merge(MysqlClient.layerConfig({ url: Config.redacted("MYSQL_URL") }), Redis.layerConfig({ url: Config.redacted("REDIS_URL") }))
NodeRuntime.runMain(Effect.provide(program, Live))
