// The examples of the worker's guide, run as they are printed there.
import { MysqlClient } from "@effect/sql-mysql2"
import { SqlClient } from "@effect/sql/SqlClient"
import { expect, it } from "@effect/vitest"
import * as Inbox from "@safesync/mysql/Inbox"
import * as Outbox from "@safesync/mysql/Outbox"
import * as ConsumerGroup from "@safesync/redis-streams/ConsumerGroup"
import * as DeadLetter from "@safesync/redis-streams/DeadLetter"
import * as Redis from "@safesync/redis-streams/Redis"
import * as StreamIdentity from "@safesync/redis-streams/StreamIdentity"
import * as StreamProducer from "@safesync/redis-streams/StreamProducer"
import { until } from "@safesync/testkit/Eventually"
import * as MysqlServer from "@safesync/testkit/MysqlServer"
import * as RedisServer from "@safesync/testkit/RedisServer"
import * as Chunk from "effect/Chunk"
import * as ConfigProvider from "effect/ConfigProvider"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Stream from "effect/Stream"
import { once } from "node:events"
import { type AddressInfo, createServer } from "node:net"
import { creditKeepsTheContract } from "../worker/contract.js"
import { billing } from "../worker/failures.js"
import { placeOrder, relay, takeFromStock } from "../worker/outbox.js"
import { BillingLive, group, health, Payment } from "../worker/service.js"
import { upkeep } from "../worker/upkeep.js"
import { start } from "./process.js"

// The streams have fixed names, so Redis is one of our own.
const services = Layer.merge(
  MysqlServer.database(),
  Layer.unwrapEffect(Effect.map(RedisServer.RedisServer, ({ url }) => Redis.layer({ url })))
).pipe(Layer.provideMerge(Layer.merge(MysqlServer.layer, RedisServer.layerOwn())))

const one = (statement: string) =>
  Effect.flatMap(SqlClient, (sql) =>
    Effect.map(sql.unsafe<{ n: number }>(statement), ([row]) => Number(row!.n)))

const accounts = Effect.flatMap(SqlClient, (sql) =>
  Inbox.migration.pipe(
    Effect.zipRight(sql`CREATE TABLE account (id INT PRIMARY KEY, pence INT NOT NULL)`),
    Effect.zipRight(sql`INSERT INTO account VALUES (1, 0)`)
  ))

const pence = one("SELECT pence AS n FROM account WHERE id = 1")

const mysqlUrl = Effect.gen(function*() {
  const url = new URL(Redacted.value((yield* MysqlServer.MysqlServer).url))
  url.pathname = `/${(yield* MysqlClient.MysqlClient).config.database}`
  return url.href
})

const freePort = Effect.promise(async () => {
  const server = createServer().listen(0, "127.0.0.1")
  await once(server, "listening")
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, "close")
  return port
})

const settled = Effect.flatMap(group, (group) =>
  until(ConsumerGroup.info(group), ({ lag, pending }) => Option.contains(lag, 0) && pending === 0))

const send = Effect.flatMap(
  StreamProducer.make({ stream: "payments", schema: Payment }),
  (producer) => StreamProducer.send(producer, { account: 1, pence: 5 })
)

it.scopedLive("service: a worker as a layer, with its configuration and its probes", () =>
  Effect.gen(function*() {
    yield* accounts
    yield* send
    yield* Effect.gen(function*() {
      yield* until(pence, (n) => n === 5)
      yield* settled
      expect(yield* health).toEqual({ live: true, ready: true, reasons: [] })
    }).pipe(
      Effect.provide(BillingLive),
      Effect.withConfigProvider(ConfigProvider.fromMap(new Map([["CONSUMER", "billing-1"]])))
    )
  }).pipe(Effect.provide(services)), 60_000)

it.scopedLive("recovery: killed between COMMIT and ack, and started again under the same name or another one", () =>
  Effect.gen(function*() {
    yield* accounts
    const mysql = yield* mysqlUrl
    const redis = Redacted.value((yield* RedisServer.RedisServer).url)
    const run = (consumer: string, crash: string) =>
      start("worker/recovery.ts", { MYSQL_URL: mysql, REDIS_URL: redis, CONSUMER: consumer, CRASH: crash })
    for (const [first, second, total] of [["a", "a", 5], ["b", "c", 10]] as const) {
      yield* send
      expect(yield* Effect.flatMap(run(first, "yes"), ({ ended }) => ended)).toBe("SIGKILL")
      expect(yield* pence).toBe(total)
      const again = yield* run(second, "no")
      yield* settled
      expect(yield* pence).toBe(total)
      yield* again.signal("SIGTERM")
      yield* again.ended
    }
  }).pipe(Effect.provide(services)), 180_000)

it.scopedLive("failures, deadLetters: what no retry can mend is given up, told why, and sent again when it can be handled", () =>
  Effect.gen(function*() {
    yield* accounts
    const worker = yield* Effect.fork(Effect.withConfigProvider(billing, ConfigProvider.fromMap(new Map([["CONSUMER", "billing-1"]]))))
    const payments = yield* StreamProducer.make({ stream: "payments", schema: Payment })
    yield* StreamProducer.send(payments, { account: 9, pence: 7 })
    const letters = Effect.map(
      Effect.flatMap(group, (group) => Stream.runCollect(Stream.catchTag(DeadLetter.stream(group), "NoGroup", () => Stream.empty))),
      Chunk.toReadonlyArray
    )
    const [letter] = yield* until(letters, ({ length }) => length === 1)
    expect(letter).toMatchObject({ attempts: 1, reason: expect.stringContaining("there is no account 9") })

    const sql = yield* SqlClient
    yield* sql`INSERT INTO account VALUES (9, 0)`
    const env = { REDIS_URL: Redacted.value((yield* RedisServer.RedisServer).url) }
    const command = (...args: ReadonlyArray<string>) =>
      Effect.flatMap(start("worker/deadLetters.ts", env, args), ({ ended }) => ended)
    yield* command("list")
    yield* command("replay", "0-1")
    expect(yield* letters).toEqual([letter])
    yield* command("replay", letter!.id)
    yield* until(one("SELECT pence AS n FROM account WHERE id = 9"), (n) => n === 7)
    yield* settled
    expect(yield* letters).toEqual([])
    yield* Fiber.interrupt(worker)
    yield* Effect.flatMap(start("worker/identity.ts", env, []), ({ ended }) => ended)
    expect(yield* StreamIdentity.get({ stream: "payments" })).toMatchObject({ _tag: "Some" })
  }).pipe(Effect.provide(services)), 60_000)

it.scopedLive("everything: one process works, relays, keeps house and is scraped, and ends at SIGTERM", () =>
  Effect.gen(function*() {
    yield* accounts
    yield* Outbox.migration
    const sql = yield* SqlClient
    yield* sql`CREATE TABLE orders (id INT PRIMARY KEY, article INT NOT NULL)`
    yield* placeOrder(1, 1)
    yield* send
    const port = yield* freePort
    const { signal, ended } = yield* start("worker/everything.ts", {
      MYSQL_URL: yield* mysqlUrl,
      REDIS_URL: Redacted.value((yield* RedisServer.RedisServer).url),
      CONSUMER: "billing-1",
      OTEL_METRICS_EXPORTER: "prometheus",
      OTEL_EXPORTER_PROMETHEUS_PORT: String(port)
    })
    const page = Effect.tryPromise(() => fetch(`http://127.0.0.1:${port}/metrics`).then((response) => response.text()))
    const line = (name: string, value: string) => new RegExp(`^coti_safesync_${name}\\S* ${value}$`, "m")
    yield* until(Effect.orElseSucceed(page, () => ""), (text) =>
      [
        line(`worker_deliveries_total{stream="payments",disposition="acked"}`, "1"),
        line(`worker_outbox_published_total{stream="ordered"}`, "1"),
        line(`queue_lag{stream="payments",group="billing"}`, ".+"),
        line("db_outbox_updated_timestamp_seconds", ".+")
      ].every((line) => line.test(text)))
    expect(yield* pence).toBe(5)
    yield* signal("SIGTERM")
    expect(yield* ended).toBe(null)
  }).pipe(Effect.provide(services)), 60_000)

it.scopedLive("payments: from an empty database on, and a message that fails is tried again", () =>
  Effect.gen(function*() {
    const mysql = yield* mysqlUrl
    const env = { MYSQL_URL: mysql, REDIS_URL: Redacted.value((yield* RedisServer.RedisServer).url) }
    expect(yield* Effect.flatMap(start("paymentsSetup.ts", env), ({ ended }) => ended)).toBe(null)
    const sql = yield* SqlClient
    yield* sql`INSERT INTO account VALUES (2, 0)`
    yield* sql`ALTER TABLE account ADD CHECK (pence >= 0)`
    const producer = yield* StreamProducer.make({ stream: "payments", schema: Payment })
    yield* StreamProducer.sendAll(producer, [{ account: 2, pence: -5 }, { account: 1, pence: 1 }])
    const program = yield* start("payments.ts", env)
    // by then the one before it has been refused, and waits for its retry
    yield* until(pence, (n) => n === 1_300)
    yield* StreamProducer.send(producer, { account: 2, pence: 20 })
    yield* until(one("SELECT pence AS n FROM account WHERE id = 2"), (n) => n === 15)
    yield* settled
    yield* program.signal("SIGTERM")
    yield* program.ended
  }).pipe(Effect.provide(services)), 120_000)

it.scopedLive("outbox: an order of one service is taken from the stock of another, once", () =>
  Effect.gen(function*() {
    const sql = yield* SqlClient
    yield* Inbox.migration
    yield* Outbox.migration
    yield* sql`CREATE TABLE orders (id INT PRIMARY KEY, article INT NOT NULL)`
    yield* sql`CREATE TABLE stock (article INT PRIMARY KEY, pieces INT NOT NULL)`
    yield* sql`INSERT INTO stock VALUES (1, 10)`
    const running = yield* Effect.all([Effect.fork(relay), Effect.fork(takeFromStock)])
    yield* placeOrder(1, 1)
    yield* Effect.ignore(placeOrder(1, 1))
    yield* placeOrder(2, 1)
    yield* until(one("SELECT pieces AS n FROM stock"), (n) => n === 8)
    yield* until(one("SELECT COUNT(*) AS n FROM safesync_outbox"), (n) => n === 0)
    yield* Fiber.interruptAll(running)
  }).pipe(Effect.provide(services)), 60_000)

it.scopedLive("upkeep: a round that fails is told, and what the inbox has kept for long is thrown away", () =>
  Effect.gen(function*() {
    const failed = yield* Effect.makeLatch()
    const logger = Logger.make(({ message }) => {
      if (String(message).includes("Upkeep is left for later")) failed.unsafeOpen()
    })
    const round = Effect.fork(Effect.provide(upkeep, Logger.replace(Logger.defaultLogger, logger)))
    const first = yield* round // there is no table yet
    yield* failed.await
    yield* Fiber.interrupt(first)
    yield* Inbox.migration
    const sql = yield* SqlClient
    yield* sql`INSERT INTO safesync_inbox (consumer_group, message_id, processed_at) VALUES ('g', 'old', '2020-01-01'), ('g', 'new', NOW(6))`
    const second = yield* round
    yield* until(one("SELECT COUNT(*) AS n FROM safesync_inbox"), (n) => n === 1)
    yield* Fiber.interrupt(second)
  }).pipe(Effect.provide(services)), 60_000)

it.scopedLive("contract: the handler keeps it", () =>
  Effect.map(creditKeepsTheContract, ({ crashes }) => expect(crashes.length).toBeGreaterThan(5)).pipe(
    Effect.provide(services)
  ), 120_000)
