import * as MysqlClient from "@effect/sql-mysql2/MysqlClient"
import { SqlClient } from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import * as Inbox from "@safesync/mysql/Inbox"
import * as ConsumerGroup from "@safesync/redis-streams/ConsumerGroup"
import * as Reclaim from "@safesync/redis-streams/Reclaim"
import * as Redis from "@safesync/redis-streams/Redis"
import * as StreamConsumer from "@safesync/redis-streams/StreamConsumer"
import * as StreamProducer from "@safesync/redis-streams/StreamProducer"
import { until } from "@safesync/testkit/Eventually"
import * as MysqlServer from "@safesync/testkit/MysqlServer"
import * as RedisServer from "@safesync/testkit/RedisServer"
import * as TcpProxy from "@safesync/testkit/TcpProxy"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import type { Scope } from "effect/Scope"
import * as Stream from "effect/Stream"
import { randomBytes } from "node:crypto"

export const Servers = Layer.merge(MysqlServer.layer, RedisServer.layer)

const RedisLive = Layer.unwrapEffect(Effect.map(RedisServer.RedisServer, ({ url }) => Redis.layer({ url })))

/** A fresh database, a Redis connection, and at the end the question whether anything leaked in the database. */
export const bench = <A, E>(
  effect: Effect.Effect<
    A,
    E,
    MysqlClient.MysqlClient | SqlClient | Redis.Redis | MysqlServer.MysqlServer | RedisServer.RedisServer | Scope
  >
) =>
  Effect.scoped(effect).pipe(
    Effect.tap(() => MysqlServer.assertClean()),
    Effect.provide(Layer.merge(MysqlServer.database(), RedisLive))
  )

export const Payment = Schema.Struct({ account: Schema.Number, pence: Schema.Number })

/**
 * A stream of payments with a group, and the tables that its handler writes to. At the end the server is asked whether as many
 * entries are pending as are meant to be left.
 */
export const payments = (options: { readonly minIdle?: number; readonly left?: number } = {}) =>
  Effect.gen(function*() {
    const stream = `payments-${randomBytes(6).toString("hex")}`
    const sql = yield* SqlClient
    yield* Inbox.migration
    yield* sql`CREATE TABLE IF NOT EXISTS account (id INT PRIMARY KEY, balance INT NOT NULL)`
    yield* sql`INSERT INTO account VALUES (1, 0), (2, 0), (3, 0)`
    const group = yield* ConsumerGroup.make({
      stream,
      group: "billing",
      schema: Payment,
      startId: "0",
      minIdle: options.minIdle ?? 60_000
    })
    yield* ConsumerGroup.create(group)
    const redis = yield* Redis.Redis
    yield* Effect.addFinalizer(() => Effect.ignore(redis.command("DEL", stream, group.deadLetterStream)))
    yield* Effect.addFinalizer(() =>
      Effect.flatMap(RedisServer.pending(stream, "billing"), (found) =>
        found === (options.left ?? 0)
          ? Effect.void
          : Effect.dieMessage(
            `${found} entries of ${stream} were left pending where ${options.left ?? 0} are meant to be`
          ))
    )
    const producer = yield* StreamProducer.make({ stream, schema: Payment })
    return {
      stream,
      group,
      send: (...payments: ReadonlyArray<typeof Payment.Type>) => StreamProducer.sendAll(producer, payments),
      pending: RedisServer.pending(stream, "billing"),
      deadLetters: Effect.map(redis.command("XLEN", group.deadLetterStream), Number)
    }
  })

/** New entries and stale ones, as one consumer. */
export const source = <A>(group: ConsumerGroup.ConsumerGroup<A>, consumer: string) =>
  Stream.merge(
    StreamConsumer.stream(group, { consumer, block: "1 second" }),
    Reclaim.stream(group, { consumer, every: Schedule.spaced("50 millis") })
  )

export const credit = ({ account, pence }: typeof Payment.Type) =>
  Effect.flatMap(SqlClient, (sql) => sql`UPDATE account SET balance = balance + ${pence} WHERE id = ${account}`)

export const balance = (account: number) =>
  Effect.flatMap(
    SqlClient,
    (sql) =>
      Effect.map(sql<{ balance: number }>`SELECT balance FROM account WHERE id = ${account}`, ([row]) => row!.balance)
  )

export { until }

/** Everything has been read, and all that was read is settled. */
export const worked = <A>(group: ConsumerGroup.ConsumerGroup<A>) =>
  until(ConsumerGroup.info(group), ({ lag, pending }) => Option.contains(lag, 0) && pending === 0)

/** A message that fails, where others are credited. */
export const refuse = (reason: string): Effect.Effect<never, string | SqlError, SqlClient> => Effect.fail(reason)

/** A proxy before Redis, and a layer of what is behind it. */
export const redisBehind = Effect.gen(function*() {
  const { url } = yield* RedisServer.RedisServer
  const proxy = yield* TcpProxy.make(url)
  return { proxy, behind: Redis.layer({ url: proxy.through(url), commandTimeout: "10 seconds" }) }
})

/** A proxy before MySQL, and a layer of the same database behind it. */
export const mysqlBehind = Effect.gen(function*() {
  const proxy = yield* TcpProxy.make((yield* MysqlServer.MysqlServer).url)
  const { config } = yield* MysqlClient.MysqlClient
  return {
    proxy,
    behind: MysqlClient.layer({ ...config, host: "127.0.0.1", port: proxy.port, maxConnections: 4 })
  }
})

/** Holds one direction back from the point on; gives an effect that waits for the point. */
export const holdAt = (proxy: TcpProxy.TcpProxy, point: string, direction: TcpProxy.Direction) =>
  proxy.observe((piece) => {
    if (!Buffer.from(piece).includes(point)) return false
    Effect.runSync(proxy.stall(direction))
    return true
  })
