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
import * as Disposition from "@safesync/worker/Disposition"
import type * as Worker from "@safesync/worker/Worker"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as ExecutionStrategy from "effect/ExecutionStrategy"
import * as Exit from "effect/Exit"
import * as FiberId from "effect/FiberId"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { randomBytes } from "node:crypto"

export const Servers = Layer.merge(MysqlServer.layer, RedisServer.layer)

const RedisLive = Layer.unwrapEffect(Effect.map(RedisServer.RedisServer, ({ url }) => Redis.layer({ url })))

/** A fresh database, a Redis connection, and at the end the question whether anything leaked in the database. */
export const bench = <A, E>(
  effect: Effect.Effect<
    A,
    E,
    MysqlClient.MysqlClient | SqlClient | Redis.Redis | MysqlServer.MysqlServer | RedisServer.RedisServer | Scope.Scope
  >
) =>
  Effect.scoped(effect).pipe(
    Effect.tap(() => MysqlServer.assertClean({ within: "20 seconds" })),
    Effect.provide(Layer.merge(MysqlServer.database(), RedisLive))
  )

/** The options of a worker of which nothing more is asked. */
export const plain = { concurrency: 4, inbox: "message-id", onFailure: () => Disposition.stop } as const

export const Payment = Schema.Struct({ account: Schema.Number, pence: Schema.Number })

export const one: typeof Payment.Type = { account: 1, pence: 1 }

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
    yield* sql`INSERT IGNORE INTO account VALUES (1, 0), (2, 0), (3, 0)`
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

/**
 * Waits until an entry that another group reads now, and renews for nobody, has been idle for `minIdle` so many times over, by the
 * server's clock: by then whatever was delivered before it and not renewed is anybody's.
 */
export const stale = <A>({ minIdle, stream }: ConsumerGroup.ConsumerGroup<A>, times = 1) =>
  Effect.gen(function*() {
    const redis = yield* Redis.Redis
    const witness = `witness-${randomBytes(6).toString("hex")}`
    yield* redis.command("XGROUP", "CREATE", stream, witness, "0")
    yield* redis.command("XREADGROUP", "GROUP", witness, "nobody", "COUNT", "1", "STREAMS", stream, ">")
    yield* until(
      Effect.map(
        redis.command("XPENDING", stream, witness, "-", "+", "1"),
        (found) => (found as ReadonlyArray<readonly [id: string, consumer: string, idle: number, count: number]>)[0]![2]
      ),
      (idle) => idle >= times * Duration.toMillis(minIdle)
    )
  })

/** A message that fails, where others are credited. */
export const refuse = (reason: string): Effect.Effect<never, string | SqlError, SqlClient> => Effect.fail(reason)

/**
 * A worker in a scope of its own. `drain` begins to close that, and returns when nothing begins any more: with a fiber that
 * ends when the worker has stopped.
 */
export const stoppable = <E, R>(make: Effect.Effect<Worker.Worker<E>, never, R>) =>
  Effect.gen(function*() {
    const scope = yield* Scope.fork(yield* Effect.scope, ExecutionStrategy.sequential)
    const worker = yield* Scope.extend(make, scope)
    const drain = Effect.gen(function*() {
      const closing = yield* Effect.fork(Scope.close(scope, Exit.void))
      yield* until(worker.status, ({ state }) => state !== "running")
      return closing
    })
    return { ...worker, drain }
  })

/** A logger, and an effect that waits until something that contains this has been logged. */
export const logs = (part: string) => {
  const seen = Deferred.unsafeMake<void>(FiberId.none)
  const logger = Logger.make(({ message }) => {
    if (String(message).includes(part)) Deferred.unsafeDone(seen, Effect.void)
  })
  return { logger: Logger.replace(Logger.defaultLogger, logger), seen: Deferred.await(seen) }
}

/** A source, and whether somebody waits for what it gives next. */
export const watched = <A, E, R>(source: Stream.Stream<A, E, R>) => {
  let reading = false
  const is = (now: boolean) => Effect.sync(() => (reading = now))
  const pull = Effect.map(Stream.toPull(source), (pull) => Effect.zipRight(is(true), Effect.ensuring(pull, is(false))))
  return { source: Stream.fromPull(pull), reading: () => reading }
}

/** A proxy before Redis, and a connection through it. */
export const redisBehind = Effect.gen(function*() {
  const { url } = yield* RedisServer.RedisServer
  const proxy = yield* TcpProxy.make(url)
  const behind = yield* Layer.build(Redis.layer({ url: proxy.through(url), commandTimeout: "10 seconds" }))
  return { proxy, behind }
})

/** A proxy before MySQL, and a client of the same database through it. */
export const mysqlBehind = Effect.gen(function*() {
  const proxy = yield* TcpProxy.make((yield* MysqlServer.MysqlServer).url)
  const { config } = yield* MysqlClient.MysqlClient
  const behind = yield* Layer.build(
    MysqlClient.layer({ ...config, host: "127.0.0.1", port: proxy.port, maxConnections: 4 })
  )
  return { proxy, behind }
})

/** Holds one direction back from the point on; gives an effect that waits for the point. */
export const holdAt = (proxy: TcpProxy.TcpProxy, point: string, direction: TcpProxy.Direction) =>
  proxy.observe((piece) => {
    if (!Buffer.from(piece).includes(point)) return false
    Effect.runSync(proxy.stall(direction))
    return true
  })

/** The marks of suspects that stand beside a stream. */
export const marks = (stream: string) =>
  Effect.flatMap(
    Redis.Redis,
    (redis) => Effect.map(redis.command("KEYS", `{${stream}}:begun:*`), (keys) => keys as ReadonlyArray<string>)
  )
