// The examples of the guide to migration, run as they are printed there.
import { MysqlClient } from "@effect/sql-mysql2"
import { SqlClient } from "@effect/sql/SqlClient"
import { expect, it } from "@effect/vitest"
import * as AdvisoryLock from "@safesync/mysql/AdvisoryLock"
import * as Redis from "@safesync/redis-streams/Redis"
import * as MysqlServer from "@safesync/testkit/MysqlServer"
import * as RedisServer from "@safesync/testkit/RedisServer"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import { book } from "../migration/errors.js"
import { addPieces, importOnce } from "../migration/locks.js"
import { all, enqueue, one, stale } from "../migration/queue.js"
import { close, overview } from "../migration/session.js"
import { register, rename, shout } from "../migration/writes.js"
import { start } from "./process.js"

// The streams have fixed names, so Redis is one of our own.
const services = Layer.merge(
  MysqlServer.database(),
  Layer.unwrapEffect(Effect.map(RedisServer.RedisServer, ({ url }) => Redis.layer({ url })))
).pipe(Layer.provideMerge(Layer.merge(MysqlServer.layer, RedisServer.layerOwn())))

const ddl = (...statements: ReadonlyArray<string>) =>
  Effect.flatMap(SqlClient, (sql) => Effect.forEach(statements, (statement) => sql.unsafe(statement), { discard: true }))

const database = <A, E>(effect: Effect.Effect<A, E, MysqlClient.MysqlClient | SqlClient>) =>
  effect.pipe(
    Effect.tap(() => MysqlServer.assertClean()),
    Effect.provide(MysqlServer.database()),
    Effect.provide(MysqlServer.layer)
  )

it.live("DbSession: execute, execute_scalar, fetch_one, fetch_all", () =>
  database(Effect.gen(function*() {
    yield* ddl(
      "CREATE TABLE orders (id INT PRIMARY KEY, status VARCHAR(10) NOT NULL)",
      "INSERT INTO orders VALUES (1, 'open'), (2, 'open'), (3, 'closed')"
    )
    expect([yield* close(1), yield* close(9)]).toEqual([1, 0])
    expect(yield* overview(1)).toEqual({
      count: 3,
      order: Option.some({ id: 1, status: "closed" }),
      open: [{ id: 2, status: "open" }]
    })
    expect((yield* overview(9)).order).toEqual(Option.none())
  })))

it.live("RowLock, AdvisoryLock, errors", () =>
  database(Effect.gen(function*() {
    yield* ddl(
      "CREATE TABLE orders (id INT PRIMARY KEY, pieces INT NOT NULL)",
      "INSERT INTO orders VALUES (1, 0)",
      "CREATE TABLE imported (day VARCHAR(10) PRIMARY KEY)",
      "CREATE TABLE booking (id INT PRIMARY KEY)"
    )
    expect(yield* Effect.all([addPieces(1, 2), addPieces(1, 3), addPieces(9, 1)], { concurrency: 3 })).toEqual([true, true, false])
    const [row] = yield* Effect.flatMap(SqlClient, (sql) => sql<{ pieces: number }>`SELECT pieces FROM orders`)
    expect(row?.pieces).toBe(5)
    const imported = yield* Effect.all([importOnce("monday"), importOnce("monday")], { concurrency: 2 })
    expect(imported.toSorted()).toEqual([false, true])
    expect([yield* book(1), yield* book(1)]).toEqual(["booked", "booked before"])
    expect(yield* book(2).pipe(AdvisoryLock.withLock("booking/2", { timeout: 0 }))).toBe("busy")
  })))

it.live("occ_update, insert_idempotent", () =>
  database(Effect.gen(function*() {
    yield* ddl("CREATE TABLE product (id INT PRIMARY KEY, name VARCHAR(50) NOT NULL, version INT NOT NULL)")
    expect([yield* register(1, "tea"), yield* register(1, "tea")]).toEqual([true, false])
    expect([yield* rename(1, 0, "pot"), yield* rename(1, 0, "cup")]).toEqual([1, 0])
    yield* Effect.all([shout(1), shout(1), shout(1)], { concurrency: 3 })
    const [row] = yield* Effect.flatMap(SqlClient, (sql) => sql`SELECT name, version FROM product`)
    expect(row).toEqual({ name: "pot!!!", version: 4 })
    expect(yield* Effect.flip(shout(9))).toMatchObject({ _tag: "RowMissing" })
  })))

it.scopedLive("QueueConsumer: enqueue, next, ack, iter_messages, claim_stale; run with run_claim_stale, and its end", () =>
  Effect.gen(function*() {
    const redis = yield* Redis.Redis
    const seen: Array<number> = []
    const handle = ({ number }: { readonly number: number }) => Effect.sync(() => void seen.push(number))
    // as Python writes it
    yield* redis.command("XADD", "jobs", "*", "data", "{\"number\": 1}")
    yield* enqueue(2)
    expect(yield* one("a", handle)).toBe(true)
    expect(yield* Effect.exit(one("a", () => Effect.fail("no")))).toMatchObject({ cause: { error: "no" } })
    expect(seen).toEqual([1])
    yield* redis.command("XCLAIM", "jobs", "workers", "a", "0", (yield* pendingId), "IDLE", "60000")
    expect(yield* stale("b", handle)).toBe(1)
    yield* enqueue(3)
    const reader = yield* Effect.fork(all("a", handle))
    yield* until(Effect.sync(() => seen.length), (n) => n === 3)
    yield* Fiber.interrupt(reader)
    expect(seen).toEqual([1, 2, 3])
    // what Python reads: one field
    expect(yield* redis.command("XREVRANGE", "jobs", "+", "-", "COUNT", "1")).toMatchObject([[expect.anything(), ["data", "{\"number\":3}"]]])

    yield* ddl("CREATE TABLE done (number INT NOT NULL)")
    yield* enqueue(4)
    const { config } = yield* MysqlClient.MysqlClient
    const mysql = new URL(Redacted.value((yield* MysqlServer.MysqlServer).url))
    mysql.pathname = `/${config.database}`
    const worker = yield* start("migration/worker.ts", {
      MYSQL_URL: mysql.href,
      REDIS_URL: Redacted.value((yield* RedisServer.RedisServer).url),
      CONSUMER: "c",
      METRICS_PORT: "0"
    })
    const done = Effect.flatMap(SqlClient, (sql) => sql`SELECT number FROM done`)
    expect(yield* until(done, (rows) => rows.length > 0)).toEqual([{ number: 4 }])
    yield* until(Effect.map(pending, ({ length }) => length), (n) => n === 0)
    yield* worker.signal("SIGTERM")
    yield* worker.ended
  }).pipe(Effect.provide(services)), 120_000)

const pending = Effect.flatMap(Redis.Redis, (redis) =>
  Effect.map(redis.command("XPENDING", "jobs", "workers", "-", "+", "10"), (entries) => entries as ReadonlyArray<[string]>))
const pendingId = Effect.map(pending, ([first]) => first![0])

const until = <A, E, R>(ask: Effect.Effect<A, E, R>, yes: (a: A) => boolean): Effect.Effect<A, E, R> =>
  Effect.flatMap(ask, (a) => yes(a) ? Effect.succeed(a) : Effect.delay(until(ask, yes), "10 millis"))
