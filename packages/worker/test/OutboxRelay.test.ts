import * as MysqlClient from "@effect/sql-mysql2/MysqlClient"
import { SqlClient } from "@effect/sql/SqlClient"
import { expect, layer } from "@effect/vitest"
import * as Outbox from "@safesync/mysql/Outbox"
import * as Transaction from "@safesync/mysql/Transaction"
import * as Redis from "@safesync/redis-streams/Redis"
import * as RedisError from "@safesync/redis-streams/RedisError"
import * as MysqlServer from "@safesync/testkit/MysqlServer"
import * as TcpProxy from "@safesync/testkit/TcpProxy"
import * as Disposition from "@safesync/worker/Disposition"
import * as OutboxRelay from "@safesync/worker/OutboxRelay"
import * as Worker from "@safesync/worker/Worker"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as HashMap from "effect/HashMap"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Schedule from "effect/Schedule"
import { balance, bench, credit, Payment, payments, Servers, source, until, worked } from "./fixture.js"

/** Nobody waits for a poll: what is seen to happen, happened because of a commit. */
const never = Schedule.spaced("1 hour")
const often = Schedule.spaced("20 millis")

/** A stream and its group, tables, an outbox, and a transaction that appends. */
const outbox = Effect.gen(function*() {
  const { group, stream } = yield* payments()
  const redis = yield* Redis.Redis
  const sql = yield* SqlClient
  yield* Outbox.migration
  const append = (payment: typeof Payment.Type, more: { readonly key?: string; readonly messageId?: string } = {}) =>
    Outbox.append({ stream, schema: Payment, value: payment, ...more })
  const published = Effect.map(
    redis.command("XRANGE", stream, "-", "+"),
    (entries) =>
      (entries as ReadonlyArray<readonly [string, ReadonlyArray<string>]>).map(([, fields]) => {
        const named = Object.fromEntries(
          Array.from({ length: fields.length / 2 }, (_, i) => [fields[2 * i]!, fields[2 * i + 1]!])
        )
        return { ...JSON.parse(named["data"]!), key: named["key"], id: named["message-id"] } as {
          readonly account: number
          readonly pence: number
          readonly key: string | undefined
          readonly id: string
        }
      })
  )
  const rows = Effect.map(sql<{ n: number }>`SELECT COUNT(*) AS n FROM safesync_outbox`, ([row]) => Number(row!.n))
  return { append, group, published, redis, rows, sql, stream }
})

/** The same database through a proxy. */
const through = (proxy: TcpProxy.TcpProxy) =>
  Effect.map(
    MysqlClient.MysqlClient,
    ({ config }) => MysqlClient.layer({ ...config, host: "127.0.0.1", port: proxy.port, maxConnections: 4 })
  )

layer(Servers, { excludeTestServices: true })("OutboxRelay", (it) => {
  it.effect("L25: a message is published if and only if its transaction committed, and as soon as it has", () =>
    bench(Effect.gen(function*() {
      const { append, published, rows } = yield* outbox
      const relay = yield* Effect.fork(OutboxRelay.run({ poll: never }))
      yield* Effect.ignore(Transaction.run(Effect.zipRight(append({ account: 1, pence: 1 }), Effect.fail("no"))))
      const id = yield* Transaction.run(append({ account: 1, pence: 2 }, { key: "k" }))
      yield* until(rows, (n) => n === 0)
      expect(yield* published).toEqual([{ account: 1, pence: 2, key: "k", id }])
      yield* Transaction.run(append({ account: 1, pence: 3 }, { messageId: "mine" }))
      yield* until(published, (all) => all.length === 2)
      yield* until(rows, (n) => n === 0)
      expect((yield* published)[1]).toEqual({ account: 1, pence: 3, key: undefined, id: "mine" })
      yield* Fiber.interrupt(relay)
    })))

  it.effect("L25: messages of one key are published in the order of their commits, by whichever of several relays", () =>
    bench(Effect.gen(function*() {
      const { append, published, rows, sql } = yield* outbox
      const relays = yield* Effect.replicateEffect(
        Effect.fork(OutboxRelay.run({ poll: often, partitions: 2, batchSize: 7 })),
        2
      )
      // the balance counts the commits of an account: it is what is published
      const step = (account: number) =>
        Effect.gen(function*() {
          yield* sql`UPDATE account SET balance = balance + 1 WHERE id = ${account}`
          yield* append({ account, pence: yield* balance(account) }, { key: `account ${account}` })
        }).pipe(Transaction.run({ isolation: "read-committed" }))
      yield* Effect.forEach(Array.from({ length: 150 }, (_, i) => 1 + i % 3), step, { concurrency: 5 })
      yield* until(rows, (n) => n === 0)
      const all = yield* published
      for (const account of [1, 2, 3]) {
        expect(all.filter((_) => _.account === account).map(({ pence }) => pence)).toEqual(
          Array.from({ length: 50 }, (_, i) => i + 1)
        )
      }
      yield* Fiber.interruptAll(relays)
    })))

  it.effect("L25: a relay that dies between XADD and removal leads to a second entry, which the inbox absorbs", () =>
    bench(Effect.gen(function*() {
      const { append, group, published, rows } = yield* outbox
      yield* Effect.forEach([1, 2, 3], (pence) => Transaction.run(append({ account: 1, pence }, { key: "k" })))
      const proxy = yield* TcpProxy.make((yield* MysqlServer.MysqlServer).url)
      const client = yield* through(proxy)
      const removing = (piece: Uint8Array) => Buffer.from(piece).includes("DELETE FROM safesync_outbox")
      yield* proxy.loseRequest(removing)
      const dead = yield* Effect.exit(OutboxRelay.run({ poll: never }).pipe(Effect.provide(client)))
      expect(Exit.isFailure(dead)).toBe(true)
      expect(yield* rows).toBe(3)
      const relay = yield* Effect.fork(OutboxRelay.run({ poll: often }))
      yield* until(rows, (n) => n === 0)
      const all = yield* published
      expect(all.map(({ pence }) => pence)).toEqual([1, 2, 3, 1, 2, 3])
      expect(new Set(all.map(({ id }) => id)).size).toBe(3)
      const worker = yield* Effect.fork(Worker.run(source(group, "a"), credit, {
        concurrency: 4,
        inbox: "message-id",
        onFailure: () => Disposition.stop
      }))
      yield* worked(group)
      expect(yield* balance(1)).toBe(6)
      yield* Fiber.interruptAll([worker, relay])
    })))

  it.effect("L25: one relay works at a time, and the next one takes over when it is gone", () =>
    bench(Effect.gen(function*() {
      const { append, published, rows, sql } = yield* outbox
      const first = yield* Effect.fork(OutboxRelay.run({ poll: often }))
      const holders = Effect.map(
        sql<{ id: number }>`SELECT IS_USED_LOCK(OBJECT_NAME) AS id FROM performance_schema.metadata_locks
          WHERE OBJECT_TYPE = 'USER LEVEL LOCK' AND LOCK_STATUS = 'GRANTED' AND OBJECT_NAME LIKE '%outbox%'`,
        (rows) => rows.map(({ id }) => Number(id))
      )
      const [holder] = yield* until(holders, (ids) => ids.length === 1)
      const second = yield* Effect.fork(OutboxRelay.run({ poll: often }))
      yield* Transaction.run(append({ account: 1, pence: 1 }))
      yield* until(rows, (n) => n === 0)
      expect(yield* holders).toEqual([holder])
      // its connection dies: it must stop, and says so
      yield* sql`KILL ${sql.literal(String(holder))}`
      const exit = yield* Fiber.await(first)
      expect(exit).toMatchObject({ cause: { error: { _tag: "AdvisoryLockLost" } } })
      yield* until(holders, (ids) => ids.length === 1 && ids[0] !== holder)
      yield* Transaction.run(append({ account: 1, pence: 2 }))
      yield* until(rows, (n) => n === 0)
      expect((yield* published).map(({ pence }) => pence)).toEqual([1, 2])
      yield* Fiber.interrupt(second)
    })))

  it.effect("L25: a stream that cannot be written is a typed failure and stays; all others are published, once", () =>
    bench(Effect.gen(function*() {
      const { append, published, redis, rows } = yield* outbox
      yield* Effect.addFinalizer(() => Effect.ignore(redis.command("DEL", "no-stream", "__proto__")))
      yield* redis.command("SET", "no-stream", "x")
      yield* Effect.forEach([1, 2, 3, 4, 5], (pence) =>
        Transaction.run(Effect.zipRight(
          append({ account: 1, pence }),
          Effect.forEach(
            ["no-stream", "__proto__"],
            (stream) => Outbox.append({ stream, schema: Payment, value: { account: 2, pence } })
          )
        )))
      // batches that are smaller than what is in the way
      for (const batchSize of [2, 2, 256]) {
        const exit = yield* Effect.exit(OutboxRelay.run({ poll: never, batchSize }))
        expect(exit).toMatchObject(Exit.fail(expect.any(RedisError.WrongType)))
        expect(yield* rows).toBe(5)
      }
      expect((yield* published).map(({ pence }) => pence).toSorted()).toEqual([1, 2, 3, 4, 5])
      expect(yield* redis.command("XLEN", "__proto__")).toBe(5)
      yield* redis.command("DEL", "no-stream")
      const relay = yield* Effect.fork(OutboxRelay.run({ poll: never }))
      yield* until(rows, (n) => n === 0)
      expect(yield* redis.command("XLEN", "no-stream")).toBe(5)
      yield* Fiber.interrupt(relay)
    })))

  it.effect("a key that has much to publish does not keep back those behind it", () =>
    bench(Effect.gen(function*() {
      const { append, published, rows, sql, stream } = yield* outbox
      const keys = yield* sql<{ name: string }>`SELECT name FROM (SELECT 'a' AS name UNION SELECT 'b') AS k
        ORDER BY CRC32(CONCAT(${stream}, CHAR(0), name)) % ${sql.literal(String(Outbox.slots))}`
      const [first, second] = keys.map(({ name }) => name) as [string, string]
      yield* Transaction.run(Effect.gen(function*() {
        yield* Effect.forEach(Array.from({ length: 9 }), () => append({ account: 1, pence: 1 }, { key: first }))
        yield* append({ account: 1, pence: 2 }, { key: second })
      }))
      const relay = yield* Effect.fork(OutboxRelay.run({ poll: never, batchSize: 3 }))
      yield* until(rows, (n) => n === 0)
      expect((yield* published).map(({ key }) => key).indexOf(second)).toBe(3)
      yield* Fiber.interrupt(relay)
    })))

  it.effect("a relay is stopped though MySQL does not answer any more, and says what it did", () =>
    bench(Effect.gen(function*() {
      const { append, rows } = yield* outbox
      const proxy = yield* TcpProxy.make((yield* MysqlServer.MysqlServer).url)
      const client = yield* through(proxy)
      yield* Transaction.run(append({ account: 1, pence: 1 }))
      const removing = yield* proxy.observe((piece) => {
        if (!Buffer.from(piece).includes("DELETE FROM safesync_outbox")) return false
        Effect.runSync(proxy.stall())
        return true
      })
      const said: Array<string> = []
      const logger = Logger.make(({ annotations, message }) => {
        said.push([message, ...HashMap.values(annotations)].flat().join(", "))
      })
      const relay = yield* Effect.fork(Effect.disconnect(
        OutboxRelay.run({ poll: never, name: "news" }).pipe(
          Effect.provide(Layer.merge(client, Logger.replace(Logger.defaultLogger, logger)))
        )
      ))
      yield* removing
      const asked = performance.now()
      yield* Fiber.interrupt(relay)
      expect(performance.now() - asked).toBeLessThan(4_000)
      expect(said[0]).toMatch(/^The relay has its partition, .*(?=.*news)(?=.*0 of 1)/)
      yield* proxy.cut
      yield* proxy.resume()
      expect(yield* rows).toBe(1)
    })))

  it.effect("bare: the field `data` alone, for consumers that refuse every other", () =>
    bench(Effect.gen(function*() {
      const { append, published, rows } = yield* outbox
      yield* Transaction.run(append({ account: 1, pence: 1 }, { key: "k" }))
      const relay = yield* Effect.fork(OutboxRelay.run({ poll: never, bare: true }))
      yield* until(rows, (n) => n === 0)
      expect(yield* published).toEqual([{ account: 1, pence: 1, key: undefined, id: undefined }])
      yield* Fiber.interrupt(relay)
    })))

  it.effect("a batch of nothing is refused", () =>
    bench(Effect.gen(function*() {
      const exit = yield* Effect.exit(OutboxRelay.run({ poll: never, batchSize: 0 }))
      expect(String(Exit.isFailure(exit) && exit.cause)).toContain("batchSize must be a whole number above 0, not 0")
    })))
})
