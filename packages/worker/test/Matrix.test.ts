// A relay publishes and a worker applies each message once, whatever an application has set on its pool and its sessions.
import * as MysqlClient from "@effect/sql-mysql2/MysqlClient"
import type { SqlClient } from "@effect/sql/SqlClient"
import { expect, layer } from "@effect/vitest"
import * as Outbox from "@safesync/mysql/Outbox"
import * as Transaction from "@safesync/mysql/Transaction"
import * as ConsumerGroup from "@safesync/redis-streams/ConsumerGroup"
import * as Redis from "@safesync/redis-streams/Redis"
import * as MysqlServer from "@safesync/testkit/MysqlServer"
import * as RedisServer from "@safesync/testkit/RedisServer"
import * as OutboxRelay from "@safesync/worker/OutboxRelay"
import * as Worker from "@safesync/worker/Worker"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Schedule from "effect/Schedule"
import * as String from "effect/String"
import * as Mysql from "mysql2/promise"
import { balance, bench, credit, Payment, payments, plain, source, until, worked } from "./fixture.js"

const poolOptions: Record<string, MysqlServer.DatabaseOptions> = {
  "none": {},
  "names between camel and snake case": {
    transformQueryNames: String.camelToSnake,
    transformResultNames: String.snakeToCamel
  },
  "texts and bytes as strings": {
    poolConfig: {
      typeCast: (field, next) => field.type === "VAR_STRING" || field.type === "STRING" ? field.string() : next()
    }
  },
  "big numbers as strings": { poolConfig: { supportBigNumbers: true, bigNumberStrings: true } },
  "dates as strings": { poolConfig: { dateStrings: true } },
  "latin1": { poolConfig: { charset: "LATIN1_SWEDISH_CI" } },
  "rows as arrays": { poolConfig: { rowsAsArray: true } },
  "rows by table": { poolConfig: { nestTables: true } },
  "named placeholders": { poolConfig: { namedPlaceholders: true } },
  "rows that were changed in place of found": { poolConfig: { flags: ["-FOUND_ROWS"] } }
}

const sessionSettings = [
  "autocommit = 0",
  "autocommit = 0, transaction_isolation = 'SERIALIZABLE', completion_type = CHAIN",
  "transaction_isolation = 'READ-UNCOMMITTED'",
  "sql_select_limit = 1",
  "sql_safe_updates = 1",
  "sql_mode = 'ANSI,NO_BACKSLASH_ESCAPES,HIGH_NOT_PRECEDENCE'",
  "sql_mode = ''",
  "NAMES latin1",
  "time_zone = '+05:30'",
  "default_storage_engine = MyISAM"
]

/** Each session of the user has them: a user without the right to leave `init_connect` out. */
const sessions = (settings: string) =>
  Effect.flatMap(MysqlServer.MysqlServer, ({ url }) =>
    Effect.promise(async () => {
      const root = await Mysql.createConnection(Redacted.value(url))
      await root.query("CREATE USER IF NOT EXISTS application@'%'")
      await root.query("GRANT ALL ON *.* TO application@'%'")
      await root.query("REVOKE SUPER, CONNECTION_ADMIN ON *.* FROM application@'%'")
      await root.query("SET GLOBAL init_connect = ?", [settings])
      await root.end()
    }))

const under = (options: MysqlServer.DatabaseOptions, settings?: string) =>
  bench(Effect.gen(function*() {
    const { group, stream } = yield* payments()
    yield* sessions(settings === undefined ? "" : `SET ${settings}`)
    yield* Effect.addFinalizer(() => sessions(""))
    const { config } = yield* MysqlClient.MysqlClient
    const application = <A, E>(
      effect: Effect.Effect<A, E, MysqlClient.MysqlClient | SqlClient | Redis.Redis>
    ) =>
      Effect.provide(effect, MysqlClient.layer({ ...config, ...options, username: "application", maxConnections: 4 }))
    yield* Effect.gen(function*() {
      yield* Outbox.migration
      const relay = yield* Effect.fork(OutboxRelay.run({ poll: Schedule.spaced("20 millis"), batchSize: 2 }))
      const worker = yield* Effect.fork(Worker.run(source(group, "a"), credit, plain))
      const append = (messageId: string, key?: string) =>
        Transaction.run(Outbox.append({ stream, schema: Payment, value: { account: 1, pence: 1 }, messageId, key }))
      yield* Effect.forEach(["m-a", "m-b", "m-ä€😀", "m-c", "m-d"], (id) => append(id, "größe"))
      yield* append("m-e")
      // Sent again, as a relay does that has died before it could remove it.
      yield* append("m-ä€😀")
      const redis = yield* Redis.Redis
      yield* until(Effect.map(redis.command("XLEN", stream), Number), (n) => n >= 7)
      yield* worked(group)
      yield* Fiber.interrupt(relay)
      yield* Fiber.interrupt(worker)

      const batches = yield* ConsumerGroup.make({
        stream,
        group: "batches",
        schema: Payment,
        startId: "0",
        minIdle: 60_000
      })
      yield* ConsumerGroup.create(batches)
      const batched = yield* Effect.fork(Worker.runBatch(
        source(batches, "a"),
        (deliveries) => credit({ account: 2, pence: deliveries.length }),
        { ...plain, concurrency: 1, size: 5, within: "10 millis" }
      ))
      yield* worked(batches)
      yield* Fiber.interrupt(batched)
    }).pipe(Effect.scoped, application)
    expect([yield* balance(1), yield* balance(2)]).toEqual([6, 6])
    expect(yield* Outbox.read({ fromSlot: 0, toSlot: Outbox.slots - 1, limit: 10 })).toEqual([])
  }))

layer(Layer.merge(MysqlServer.layerOwn(), RedisServer.layer), { excludeTestServices: true, timeout: "3 minutes" })(
  "A relay and a worker, each message once",
  (it) => {
    for (const [name, options] of Object.entries(poolOptions)) {
      it.effect(`with ${name} on the pool`, () => under(options))
    }
    for (const settings of sessionSettings) {
      it.effect(`in sessions with ${settings}`, () => under({}, settings))
    }
  }
)
