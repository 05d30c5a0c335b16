/**
 * One run of a handler with at most one crash: servers' data of its own, a worker whose connections go through proxies, and what is
 * there when all messages are settled.
 *
 * @internal
 */
import * as MysqlClient from "@effect/sql-mysql2/MysqlClient"
import * as Inbox from "@safesync/mysql/Inbox"
import * as ConsumerGroup from "@safesync/redis-streams/ConsumerGroup"
import * as Redis from "@safesync/redis-streams/Redis"
import * as StreamConsumer from "@safesync/redis-streams/StreamConsumer"
import * as StreamProducer from "@safesync/redis-streams/StreamProducer"
import * as Disposition from "@safesync/worker/Disposition"
import * as Worker from "@safesync/worker/Worker"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as LogLevel from "effect/LogLevel"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import { randomBytes } from "node:crypto"
import { inspect } from "node:util"
import type { Options, Services } from "../../Contract.js"
import * as MysqlServer from "../../MysqlServer.js"
import * as RedisServer from "../../RedisServer.js"
import * as TcpProxy from "../../TcpProxy.js"

export interface Crash {
  /** Which request, counted from the first BEGIN. */
  readonly step: number
  /** Before it arrives, or after it was carried out. */
  readonly when: "before" | "after"
}

export interface Run {
  /** What was there before the first message. */
  readonly before: unknown
  readonly found: Found
  /** The requests, by what they are. */
  readonly steps: ReadonlyArray<string>
}

export interface Found {
  readonly effects: unknown
  readonly deadLetters: number
  readonly settled: boolean
}

export const run = <A, I, B, E, E1, E2>(
  options: Options<A, I, B, E, E1, E2>,
  crash: Crash | undefined
): Effect.Effect<Run, E1 | E2, MysqlServer.MysqlServer | RedisServer.RedisServer> =>
  Effect.scoped(Effect.gen(function*() {
    const server = yield* MysqlServer.MysqlServer
    const { url } = yield* RedisServer.RedisServer
    const proxies = { mysql: yield* TcpProxy.make(server.url), redis: yield* TcpProxy.make(url) }
    const database = yield* Effect.orDie(Layer.build(MysqlServer.database()))
    const { config } = Context.get(database, MysqlClient.MysqlClient)
    const redis = yield* Effect.orDie(Layer.build(Redis.layer({ url })))
    const direct: Context.Context<Services> = Context.merge(database, redis)
    const behind = yield* Effect.orDie(Layer.build(Layer.merge(
      MysqlClient.layer({ ...config, host: "127.0.0.1", port: proxies.mysql.port, maxConnections: 4 }),
      Redis.layer({ url: proxies.redis.through(url) })
    )))

    yield* Effect.provide(Effect.zipRight(Effect.orDie(Inbox.migration), options.prepare), direct)
    const observed = Effect.map(Effect.provide(options.observe, direct), copy)
    const before = yield* observed
    const stream = `contract-${randomBytes(6).toString("hex")}`
    const group = yield* Effect.orDie(
      ConsumerGroup.make({ stream, group: "contract", schema: options.schema, startId: "0", minIdle: "200 millis" })
    )
    const producer = yield* Effect.orDie(StreamProducer.make({ stream, schema: options.schema }))
    const onRedis = Context.get(redis, Redis.Redis)
    yield* Effect.addFinalizer(() => Effect.ignore(onRedis.command("DEL", stream, group.deadLetterStream)))
    yield* Effect.orDie(Effect.provide(
      Effect.zipRight(ConsumerGroup.create(group), StreamProducer.sendAll(producer, options.messages)),
      redis
    ))

    const steps = yield* trap(proxies, crash)
    const reconnect = Schedule.spaced("20 millis")
    const worker = yield* Effect.fork(
      Worker.run(
        StreamConsumer.stream(group, { consumer: "a", reconnect, reclaim: { every: Schedule.spaced("50 millis") } }),
        options.handler,
        {
          concurrency: 1,
          // In the order of the stream, as without a crash.
          key: () => "",
          inbox: "message-id",
          onFailure: () => Disposition.retry(Schedule.intersect(Schedule.spaced("20 millis"), Schedule.recurs(20)))
        }
      ).pipe(Effect.provide(behind))
    )
    const settled = Effect.map(
      ConsumerGroup.info(group),
      ({ lag, pending }) => Option.contains(lag, 0) && pending === 0
    ).pipe(Effect.provide(redis), Effect.orElseSucceed(() => false))
    const wait: Effect.Effect<void> = Effect.flatMap(
      settled,
      (yes) => yes ? Effect.void : Effect.delay(wait, "10 millis")
    )
    const over = yield* Effect.timeoutOption(Effect.raceFirst(wait, Effect.exit(Effect.asVoid(worker.await))), patience)
    yield* Effect.asVoid(worker.interruptAsFork(worker.id()))
    yield* worker.await
    const deadLetters = Number(yield* Effect.orDie(onRedis.command("XLEN", group.deadLetterStream)))
    const effects = yield* observed
    return {
      before,
      found: { effects, deadLetters, settled: Option.isSome(over) && (yield* settled) },
      steps
    }
    // Lost connections are what it is about.
  })).pipe(Logger.withMinimumLogLevel(LogLevel.None))

// internal

/** Longer than any connection takes to come back. */
const patience = "30 seconds"

/**
 * The observed value, as it is at this moment: the caller may give the same array each time. Rows of mysql2 lose the prototype that is
 * their own. A value that cannot be copied, such as a function, is compared by what Node shows of it.
 */
const copy = (value: unknown): unknown => {
  try {
    return structuredClone(value)
  } catch {
    return inspect(value, { depth: null, maxArrayLength: null, maxStringLength: null, sorted: true })
  }
}

interface Proxies {
  readonly mysql: TcpProxy.TcpProxy
  readonly redis: TcpProxy.TcpProxy
}

/** Counts the requests from the first BEGIN to the last ack, and springs at one of them. */
const trap = (proxies: Proxies, crash: Crash | undefined): Effect.Effect<ReadonlyArray<string>> => {
  const steps: Array<string> = []
  const met = (step: string): boolean => steps.push(step) - 1 === crash?.step
  const inMysql = (piece: Uint8Array): boolean => {
    const text = Buffer.from(piece.buffer, piece.byteOffset, piece.length).toString("latin1")
    return (steps.length > 0 || text.includes("START TRANSACTION")) && met(describe(text))
  }
  // As a command: scripts have it in their text.
  const inRedis = (piece: Uint8Array): boolean =>
    Buffer.from(piece.buffer, piece.byteOffset, piece.length).includes("\r\nXACK\r\n") && met("XACK")
  const set = (proxy: TcpProxy.TcpProxy, point: TcpProxy.Point) =>
    crash?.when === "after" ? proxy.loseReplies(point, "cut") : proxy.loseRequest(point)
  return Effect.as(Effect.zipRight(set(proxies.mysql, inMysql), set(proxies.redis, inRedis)), steps)
}

/**
 * A packet of the client: four bytes of its header, one for the command, and for some a few bytes more and the statement's text,
 * here without values.
 */
const describe = (packet: string): string => {
  const text = packet.slice(5).split(/ VALUES|x'/)[0]!.replaceAll(/[^!-~]+/g, " ").trim().slice(0, 60)
  switch (packet.charCodeAt(4)) {
    case 0x03:
      return text
    case 0x16:
      return `the preparation of ${text}`
    case 0x17:
      return "a statement"
    default:
      return "a packet of the driver"
  }
}
