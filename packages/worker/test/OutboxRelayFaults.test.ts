/** Faults around a relay: messages that no Redis takes, servers that refuse or fall silent, and what is told of it. */
import { MysqlClient } from "@effect/sql-mysql2/MysqlClient"
import { SqlClient } from "@effect/sql/SqlClient"
import { expect, layer } from "@effect/vitest"
import * as Outbox from "@safesync/mysql/Outbox"
import * as Transaction from "@safesync/mysql/Transaction"
import * as Redis from "@safesync/redis-streams/Redis"
import * as RedisStreamsMetrics from "@safesync/redis-streams/RedisStreamsMetrics"
import * as MysqlServer from "@safesync/testkit/MysqlServer"
import * as RedisServer from "@safesync/testkit/RedisServer"
import * as OutboxRelay from "@safesync/worker/OutboxRelay"
import * as WorkerMetrics from "@safesync/worker/WorkerMetrics"
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as FastCheck from "effect/FastCheck"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import { randomBytes } from "node:crypto"
import { bench, mysqlBehind, redisBehind, until } from "./fixture.js"

/** A Redis of its own, since its limits are changed. */
const Servers = Layer.merge(MysqlServer.layer, RedisServer.layerOwn())

const never = Schedule.spaced("1 hour")
const often = Schedule.spaced("20 millis")

/** As a service has it. */
const relaying = (options: Partial<OutboxRelay.Options> = {}) =>
  OutboxRelay.run({ poll: often, ...options }).pipe(Effect.retry(often))

const scene = Effect.gen(function*() {
  yield* Outbox.migration
  const redis = yield* Redis.Redis
  const sql = yield* SqlClient
  const name = `news-${randomBytes(6).toString("hex")}`
  const streams: Array<string> = []
  const stream = (suffix = "") => {
    streams.push(name + suffix)
    return name + suffix
  }
  yield* Effect.addFinalizer(() => Effect.ignore(redis.command("DEL", name, ...streams)))
  const append = (
    value: string,
    more: { readonly stream?: string; readonly key?: string; readonly messageId?: string } = {}
  ) => Transaction.run(Outbox.append({ stream: name, schema: Schema.String, value, ...more }))
  /** The values of a stream in their order, long ones by their beginning. */
  const published = (stream = name) =>
    Effect.map(
      redis.command("XRANGE", stream, "-", "+"),
      (entries) =>
        (entries as ReadonlyArray<readonly [string, ReadonlyArray<string>]>).map(([, [, data]]) =>
          data!.slice(1, 12).replace(/[x"].*/, "")
        )
    )
  const rows = Effect.map(
    sql<{ n: number }>`SELECT COUNT(*) AS n FROM safesync_outbox`,
    ([row]) => Number(row!.n)
  )
  return { append, name, published, redis, rows, sql, stream: stream(), other: stream("-other") }
})

/** The log lines of an effect, but for debugging: level and words. */
const told = () => {
  const lines: Array<string> = []
  const logger = Logger.make(({ logLevel, message }) => {
    if (logLevel.label !== "DEBUG") lines.push(`${logLevel.label} ${String(message)}`)
  })
  return { lines, logger: Logger.replace(Logger.defaultLogger, logger) }
}

const refusals = (stream: string) => WorkerMetrics.outboxRefused.unsafeValue(RedisStreamsMetrics.labels(stream)).count

const long = (name: string, length: number) => name + "x".repeat(length)

layer(Servers, { excludeTestServices: true })("OutboxRelay: faults", (it) => {
  it.effect(
    "messages of more bytes than a command can have are published, with the batch of the default",
    () =>
      bench(Effect.gen(function*() {
        const { name, redis, rows, sql } = yield* scene
        yield* sql`INSERT INTO safesync_outbox (message_id, stream, message_key, headers, data, slot)
        WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 18)
        SELECT CONCAT('m', n), ${name}, CONCAT('k', n % 7), '{}', CONCAT('"', REPEAT('x', 30000000), '"'), n % 7 FROM n`
        const relay = yield* Effect.fork(relaying())
        // Entries that have been seen are thrown away, for the memory of the machine.
        let seen = 0
        yield* until(
          Effect.gen(function*() {
            seen += Number(yield* redis.command("XTRIM", name, "MAXLEN", "0"))
            return yield* rows
          }),
          (n) => n === 0 && seen >= 18
        )
        expect(seen).toBe(18)
        yield* Fiber.interrupt(relay)
      })),
    120_000
  )

  for (
    const [what, option, limit, length] of [
      ["that Redis refuses with a word", "proto-max-bulk-len", "1048576", 1_200_000],
      ["at which Redis hangs up in the midst of it", "proto-max-bulk-len", "1048576", 30_000_000],
      ["at which Redis hangs up without a word", "client-query-buffer-limit", "1048576", 3_000_000]
    ] as const
  ) {
    it.effect(`a message ${what} holds up its own key, is told once and counted`, () =>
      bench(Effect.gen(function*() {
        const { append, name, other, published, redis, rows } = yield* scene
        const [, before] = (yield* redis.command("CONFIG", "GET", option)) as [string, string]
        yield* redis.command("CONFIG", "SET", option, limit)
        yield* Effect.addFinalizer(() => Effect.ignore(redis.command("CONFIG", "SET", option, before)))
        yield* append("a1", { key: "a" })
        yield* append(long("a2", length), { key: "a" })
        yield* append("a3", { key: "a" })
        yield* append("b1", { key: "b" })
        yield* append("o1", { stream: other, key: "a" })
        const { lines, logger } = told()
        const refused = refusals(name)
        const relay = yield* Effect.fork(Effect.provide(OutboxRelay.run({ poll: often }), logger))
        yield* until(rows, (n) => n === 2)
        // It goes on, and it does not try the same again and again.
        for (const at of [2, 3, 4]) {
          yield* append(`b${at}`, { key: "b" })
          yield* append(`a${at + 2}`, { key: "a" })
          yield* until(published(), (all) => all.includes(`b${at}`))
        }
        yield* until(rows, (n) => n === 5)
        expect((yield* published()).toSorted()).toEqual(["a1", "b1", "b2", "b3", "b4"])
        expect(yield* published(other)).toEqual(["o1"])
        expect(refusals(name) - refused).toBe(1)
        expect(lines.filter((line) => !line.includes("connection to Redis"))).toEqual([
          "INFO The relay has its partition",
          "ERROR A message of the outbox cannot be published and holds up its key"
        ])
        yield* Fiber.interrupt(relay)
        // Another process finds it, and all that follows, once Redis takes it.
        yield* redis.command("CONFIG", "SET", option, before)
        const { behind } = yield* mysqlBehind
        const next = yield* Effect.fork(Effect.provide(OutboxRelay.run({ poll: never }), behind))
        yield* until(rows, (n) => n === 0)
        expect((yield* published()).filter((value) => value.startsWith("a"))).toEqual(
          ["a1", "a2", "a3", "a4", "a5", "a6"]
        )
        yield* Fiber.interrupt(next)
      })), 30_000)
  }

  it.effect("a stream that cannot be written is told once, and holds up no other", () =>
    bench(Effect.gen(function*() {
      const { append, other, published, redis, rows } = yield* scene
      yield* redis.command("SET", other, "no stream")
      const { lines, logger } = told()
      const relay = yield* Effect.fork(Effect.provide(relaying(), logger))
      for (const at of [1, 2, 3]) {
        yield* append(`o${at}`, { stream: other })
        yield* append(`a${at}`)
        yield* until(published(), (all) => all.length === at)
      }
      yield* redis.command("DEL", other)
      yield* until(rows, (n) => n === 0)
      expect((yield* published(other)).length).toBe(3)
      yield* until(Effect.sync(() => lines.length), (n) => n >= 3)
      expect(lines).toEqual([
        "INFO The relay has its partition",
        "ERROR Messages of the outbox cannot be published to this stream",
        "INFO Messages of this stream can be published again"
      ])
      yield* Fiber.interrupt(relay)
    })))

  it.effect("a stream whose messages were thrown away is told again when it cannot be written another time", () =>
    bench(Effect.gen(function*() {
      const { append, other, published, redis, rows, sql } = yield* scene
      yield* redis.command("SET", other, "no stream")
      const { lines, logger } = told()
      const relay = yield* Effect.fork(Effect.provide(relaying(), logger))
      const line = "ERROR Messages of the outbox cannot be published to this stream"
      const tellings = Effect.sync(() => lines.filter((one) => one === line).length)
      yield* append("o1", { stream: other })
      yield* until(tellings, (n) => n === 1)
      yield* sql`DELETE FROM safesync_outbox WHERE stream = ${other}`
      yield* append("a1")
      yield* until(published(), (all) => all.length === 1)
      yield* until(rows, (n) => n === 0)
      yield* append("a2")
      yield* until(published(), (all) => all.length === 2)
      yield* append("o2", { stream: other })
      yield* until(tellings, (n) => n === 2)
      yield* Fiber.interrupt(relay)
    })))

  it.effect("a batch that Redis takes in part is not sent again: what was added is removed, the rest waits", () =>
    bench(Effect.gen(function*() {
      const { append, name, other, published, redis, rows } = yield* scene
      // There are five ids left, for ten messages.
      yield* redis.commands([["XADD", name, "1", "data", "{}"], ["XDEL", name, "1-0"]])
      yield* redis.command("XSETID", name, "18446744073709551615-18446744073709551610")
      for (let at = 1; at <= 10; at++) yield* append(`m${at}`, { key: `k${at % 2}` })
      const refused = refusals(name)
      const relay = yield* Effect.fork(relaying())
      yield* until(rows, (n) => n === 5)
      yield* until(Effect.sync(() => refusals(name) - refused), (n) => n >= 1)
      const all = yield* published()
      expect(new Set(all).size).toBe(5)
      for (const at of [1, 2, 3]) {
        yield* append(`m${10 + at}`, { key: `k${at % 2}` })
        yield* append(`o${at}`, { stream: other })
        yield* until(published(other), (all) => all.length === at)
      }
      yield* until(rows, (n) => n === 8)
      expect(yield* published()).toEqual(all)
      expect(refusals(name) - refused).toBe(2)
      for (const key of [0, 1]) {
        const numbers = all.map((value) => Number(value.slice(1))).filter((at) => at % 2 === key)
        expect(numbers).toEqual(numbers.map((_, i) => 2 * i + (key === 0 ? 2 : 1)))
      }
      yield* Fiber.interrupt(relay)
    })))

  it.effect("an entry of more fields than a script passes on is published, and sends nothing else twice", () =>
    bench(Effect.gen(function*() {
      const { append, name, published, rows, sql } = yield* scene
      for (let at = 1; at <= 10; at++) yield* append(`m${at}`, { key: "k" })
      const headers = JSON.stringify(Object.fromEntries(Array.from({ length: 70_000 }, (_, i) => [`h${i}`, ""])))
      yield* sql`UPDATE safesync_outbox SET headers = ${headers} WHERE data = '"m8"' AND stream = ${name}`
      const relay = yield* Effect.fork(relaying())
      yield* until(rows, (n) => n === 0)
      expect(yield* published()).toEqual(Array.from({ length: 10 }, (_, i) => `m${i + 1}`))
      yield* Fiber.interrupt(relay)
    })))

  it.effect("a row that holds no message holds up its own key, is told once and counted", () =>
    bench(Effect.gen(function*() {
      const { append, name, published, rows, sql } = yield* scene
      for (const value of ["a1", "a2", "a3"]) yield* append(value, { key: "a" })
      for (const value of ["b1", "b2"]) yield* append(value, { key: "b" })
      yield* sql`UPDATE safesync_outbox SET headers = '{"trace' WHERE data = '"a2"'`
      const { lines, logger } = told()
      const refused = refusals(name)
      const relay = yield* Effect.fork(Effect.provide(OutboxRelay.run({ poll: often, batchSize: 2 }), logger))
      yield* until(rows, (n) => n === 2)
      yield* append("b3", { key: "b" })
      yield* until(published(), (all) => all.includes("b3"))
      expect((yield* published()).toSorted()).toEqual(["a1", "b1", "b2", "b3"])
      expect(lines.filter((line) => line.startsWith("ERROR"))).toEqual([
        "ERROR A message of the outbox cannot be published and holds up its key"
      ])
      expect(refusals(name) - refused).toBe(1)
      yield* Fiber.interrupt(relay)
    })))

  it.effect("a relay that ends with its schedule fails with what it could not publish", () =>
    bench(Effect.gen(function*() {
      const { append, published, sql } = yield* scene
      yield* append("a1")
      yield* append("a2")
      yield* sql`UPDATE safesync_outbox SET headers = '{"trace' WHERE data = '"a1"'`
      const error = yield* Effect.flip(OutboxRelay.run({ poll: Schedule.stop }))
      expect(error._tag).toBe("StatementFailed")
      expect(yield* published()).toEqual(["a2"])
    })))

  it.effect("while what is published cannot be removed, nothing is published again, by a relay that is run again neither", () =>
    bench(Effect.gen(function*() {
      const { append, published, rows, sql } = yield* scene
      const values = Array.from({ length: 10 }, (_, i) => `m${i}`)
      for (const value of values) yield* append(value, { key: "k" })
      yield* sql.unsafe(
        "CREATE TRIGGER refuse BEFORE DELETE ON safesync_outbox FOR EACH ROW SIGNAL SQLSTATE '45000' SET MYSQL_ERRNO = 1644"
      ).unprepared
      const { lines, logger } = told()
      const start = Effect.fork(Effect.provide(relaying(), logger))
      const refused = Effect.map(
        sql<{ n: number }>`SELECT SUM_ERROR_RAISED AS n FROM performance_schema.events_errors_summary_global_by_error
          WHERE ERROR_NUMBER = 1644`,
        ([row]) => Number(row!.n)
      )
      const five = Effect.flatMap(refused, (before) => until(refused, (n) => n >= before + 5))
      let relay = yield* start
      yield* five
      expect(lines).toEqual(["INFO The relay has its partition", "WARN The relay cannot publish"])
      yield* Fiber.interrupt(relay)
      relay = yield* start
      // Another one, with a memory of its own, does not get the partition meanwhile.
      const { behind } = yield* mysqlBehind
      const second = yield* Effect.fork(Effect.provide(relaying(), behind))
      yield* append("m10", { key: "k" })
      yield* five
      expect(yield* published()).toEqual(values)
      yield* sql`DROP TRIGGER refuse`.unprepared
      yield* until(rows, (n) => n === 0)
      expect(yield* published()).toEqual([...values, "m10"])
      yield* until(Effect.sync(() => lines.length), (n) => n >= 4)
      expect(lines.slice(2)).toEqual([
        "INFO The relay has given up its partition",
        expect.stringMatching(/^INFO The relay publishes again, after \d+ failures in /)
      ])
      yield* Fiber.interruptAll([relay, second])
    })))

  it.effect(
    "L25: each key keeps its order, whatever else cannot be sent, or is lost on its way",
    () =>
      bench(Effect.gen(function*() {
        const { name, other, redis, rows, sql } = yield* scene
        const refuse = redis.command("CONFIG", "SET", "proto-max-bulk-len", "1048576")
        const accept = Effect.ignore(redis.command("CONFIG", "SET", "proto-max-bulk-len", "536870912"))
        yield* Effect.addFinalizer(() => accept)
        const kinds = ["long", "longer", "wide", "damaged", "too long"]
        const message = FastCheck.record({
          stream: FastCheck.constantFrom(name, name, other),
          key: FastCheck.constantFrom("a", "b", "c", "d", "e", "f", undefined),
          kind: FastCheck.constantFrom(...Array.from({ length: 12 }, () => "short"), ...kinds)
        })
        const shape = FastCheck.array(message, { minLength: 30, maxLength: 60 })
        for (const [round, messages] of FastCheck.sample(shape, { numRuns: 4, seed: 17 }).entries()) {
          yield* refuse
          const all = messages.map((_, at) => at)
          const kindOf = (at: number) => messages[at]!.kind
          const lane = (at: number) => `${messages[at]!.stream}/${messages[at]!.key ?? at}`
          const lengths: Record<string, number> = { long: 400_000, longer: 900_000, "too long": 1_100_000 }
          yield* Effect.forEach(messages, ({ key, kind, stream }, at) =>
            Transaction.run(Outbox.append({
              stream,
              schema: Schema.String,
              value: long(`${at}-`, lengths[kind] ?? 1),
              messageId: `${round}.${at}`,
              ...(key === undefined ? {} : { key })
            })))
          const wide = JSON.stringify(Object.fromEntries(Array.from({ length: 4_500 }, (_, n) => [`h${n}`, ""])))
          yield* Effect.forEach(all, (at) =>
            kindOf(at) === "wide" || kindOf(at) === "damaged"
              ? sql`UPDATE safesync_outbox SET headers = ${
                kindOf(at) === "wide" ? wide : "{"
              } WHERE message_id = ${`${round}.${at}`}`
              : Effect.void)
          const isBad = (at: number) => kindOf(at) === "damaged" || kindOf(at) === "too long"
          const sendable = all.filter((at) => !all.some((_) => _ <= at && lane(_) === lane(at) && isBad(_)))
          // Two processes, of which each loses an answer of either server.
          const processes = yield* Effect.replicateEffect(
            Effect.gen(function*() {
              const [mysql, redis] = [yield* mysqlBehind, yield* redisBehind]
              yield* redis.proxy.loseReplies("XADD")
              yield* mysql.proxy.loseReplies("DELETE FROM safesync_outbox")
              return yield* Effect.fork(
                relaying({ batchSize: 7 }).pipe(Effect.provide(mysql.behind), Effect.provide(redis.behind))
              )
            }),
            2
          )
          yield* until(rows, (n) => n === messages.length - sendable.length)
          yield* Fiber.interruptAll(processes)
          /** The messages of each key, in the order in which they first appeared. */
          const published = Effect.gen(function*() {
            const lanes = new Map<string, Array<number>>()
            for (const stream of [name, other]) {
              const entries = yield* redis.command("XRANGE", stream, "-", "+")
              for (const [, [, data]] of entries as ReadonlyArray<readonly [string, ReadonlyArray<string>]>) {
                const at = parseInt(data!.slice(1))
                const ofLane = lanes.get(lane(at)) ?? []
                lanes.set(lane(at), ofLane)
                if (!ofLane.includes(at)) ofLane.push(at)
              }
            }
            return lanes
          })
          const appended = (messages: ReadonlyArray<number>) =>
            new Map(messages.map((at) => [lane(at), messages.filter((_) => lane(_) === lane(at))]))
          expect(yield* published).toEqual(appended(sendable))
          // All is mended, and another process relays.
          yield* accept
          yield* sql`UPDATE safesync_outbox SET headers = '{}' WHERE headers = '{'`
          const { behind } = yield* mysqlBehind
          const last = yield* Effect.fork(Effect.provide(relaying({ batchSize: 7 }), behind))
          yield* until(rows, (n) => n === 0)
          yield* Fiber.interrupt(last)
          expect(yield* published).toEqual(appended(all))
          yield* redis.command("DEL", name, other)
        }
      })),
    120_000
  )

  it.effect(
    "a connection that dies in silence while a statement runs: another relay takes over, and says so",
    () =>
      bench(Effect.gen(function*() {
        const { append, published, rows } = yield* scene
        const { behind, proxy } = yield* mysqlBehind
        const { lines, logger } = told()
        const first = yield* Effect.fork(
          relaying({ heartbeat: "1 second" }).pipe(Effect.provide(behind), Effect.provide(logger))
        )
        yield* append("m1")
        yield* until(rows, (n) => n === 0)
        const hung = yield* proxy.loseReplies("", "hang")
        yield* hung
        const second = yield* Effect.fork(relaying())
        yield* append("m2")
        const asked = performance.now()
        yield* until(rows, (n) => n === 0)
        expect(performance.now() - asked).toBeLessThan(15_000)
        expect(yield* published()).toEqual(["m1", "m2"])
        yield* until(Effect.sync(() => lines.length), (n) => n >= 2)
        expect(lines[1]).toBe("WARN The relay cannot publish")
        yield* Fiber.interruptAll([first, second])
      })),
    30_000
  )

  it.effect(
    "a relay whose host vanishes without a word: the server gives its partition to another one",
    () =>
      bench(Effect.gen(function*() {
        const { append, published, rows } = yield* scene
        const { behind, proxy } = yield* mysqlBehind
        const first = yield* Effect.fork(Effect.provide(relaying({ heartbeat: "1 second" }), behind))
        yield* append("m1")
        yield* until(rows, (n) => n === 0)
        yield* proxy.stall()
        const second = yield* Effect.fork(relaying())
        yield* append("m2")
        const asked = performance.now()
        yield* until(rows, (n) => n === 0)
        expect(performance.now() - asked).toBeLessThan(10_000)
        expect(yield* published()).toEqual(["m1", "m2"])
        yield* Fiber.interruptAll([first, second])
        yield* proxy.cut
        yield* proxy.resume()
      })),
    30_000
  )

  it.effect("a relay needs no connection of the pool", () =>
    bench(Effect.gen(function*() {
      const { name, published } = yield* scene
      const { config } = yield* MysqlClient
      const sql = yield* SqlClient
      yield* Effect.scoped(Effect.gen(function*() {
        const [connection] = yield* Effect.replicateEffect(sql.reserve, config.maxConnections ?? 10)
        const relay = yield* Effect.fork(relaying())
        yield* connection!.executeUnprepared(
          `INSERT INTO safesync_outbox (message_id, stream, headers, data, slot) VALUES ('m', '${name}', '{}', '"m"', 0)`,
          [],
          undefined
        )
        yield* until(published(), (all) => all.length > 0)
        yield* Fiber.interrupt(relay)
      }))
    })))

  for (const which of ["Redis", "MySQL"] as const) {
    it.effect(`an outage of ${which} is a line when it begins and one when it is over`, () =>
      bench(Effect.gen(function*() {
        const { append, published, rows } = yield* scene
        const { behind, proxy } = which === "Redis" ? yield* redisBehind : yield* mysqlBehind
        const { lines, logger } = told()
        let failures = 0
        const relay = yield* Effect.fork(
          OutboxRelay.run({ poll: often }).pipe(
            Effect.tapError(() => Effect.sync(() => failures++)),
            Effect.retry(often),
            Effect.provide(logger),
            Effect.provide(behind as Context.Context<never>)
          )
        )
        yield* append("m1")
        yield* until(rows, (n) => n === 0)
        yield* proxy.refuse
        yield* proxy.cut
        yield* append("m2")
        yield* until(Effect.sync(() => failures), (n) => n >= 10)
        yield* proxy.accept
        yield* until(rows, (n) => n === 0)
        yield* until(Effect.sync(() => lines.length), (n) => n >= 3)
        expect(yield* published()).toEqual(["m1", "m2"])
        expect(lines).toEqual([
          "INFO The relay has its partition",
          "WARN The relay cannot publish",
          expect.stringMatching(/^INFO The relay publishes again, after \d\d+ failures in /)
        ])
        yield* Fiber.interrupt(relay)
      })))
  }
})
