/**
 * The demo from its beginning to its end: input, servers, tables, the workload, the audit.
 *
 * @since 0.1.0
 */
import * as MysqlClient from "@effect/sql-mysql2/MysqlClient"
import * as Redis from "@safesync/redis-streams/Redis"
import * as MysqlServer from "@safesync/testkit/MysqlServer"
import * as RedisServer from "@safesync/testkit/RedisServer"
import * as ServerOrigin from "@safesync/testkit/ServerOrigin"
import * as ConfigProvider from "effect/ConfigProvider"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import { randomBytes } from "node:crypto"
import { basename } from "node:path"
import { say } from "../terminal/Bar.js"
import * as Audit from "./Audit.js"
import { DemoError } from "./DemoError.js"
import { generate } from "./GeneratedInput.js"
import * as Input from "./Input.js"
import type { RawLine } from "./InvoiceLine.js"
import { isTakenOver, type Report } from "./Report.js"
import * as Sequential from "./Sequential.js"
import * as Tables from "./Tables.js"
import * as Workload from "./Workload.js"

/**
 * @since 0.1.0
 * @category models
 */
export interface Options {
  readonly input: Option.Option<string>
  readonly lines: Option.Option<number>
  readonly seed: number
  readonly workers: number
  readonly kill: boolean
  readonly metrics: boolean
  /** Where the first worker offers its metrics; the others follow. */
  readonly metricsPort: number
  readonly mysqlUrl: Option.Option<Redacted.Redacted<string>>
  readonly redisUrl: Option.Option<Redacted.Redacted<string>>
}

/**
 * How many lines are generated when nobody says.
 *
 * @since 0.1.0
 * @category constants
 */
export const generatedLines = 5_000

/**
 * Where the first worker offers its metrics when nobody says.
 *
 * @since 0.1.0
 * @category constants
 */
export const firstMetricsPort = 9_464

/**
 * Runs the demo. What it needs, it starts; what it has started or made is gone at the end, however it ends.
 *
 * @since 0.1.0
 * @category run
 */
export const run = (options: Options): Effect.Effect<Report, DemoError> =>
  Effect.flatMap(Effect.zipRight(refuseEmptyUrls(options), input(options)), (lines) =>
    onServers(options, lines).pipe(
      Effect.scoped,
      Effect.provide(services),
      Effect.withConfigProvider(given(options)),
      Effect.mapError((error) =>
        error instanceof DemoError ? error : new DemoError({ message: optionNames(options, error.message) })
      )
    ))

// internal

const onServers = (options: Options, lines: ReadonlyArray<RawLine>) =>
  Effect.gen(function*() {
    const books = Sequential.compute(lines)
    const mysql = yield* MysqlServer.MysqlServer
    const redis = yield* RedisServer.RedisServer
    say(
      `MySQL ${mysql.version} (${ServerOrigin.describe(mysql.origin)}), Redis ${redis.version} (${
        ServerOrigin.describe(redis.origin)
      })`
    )

    yield* Tables.migration
    yield* Tables.referenceData(books)
    const stream = yield* ownStream
    const kill = options.kill && options.workers > 1
    if (options.kill && !kill) say("With one worker nobody is killed: none would be left")
    say(
      `${lines.length.toLocaleString("en-GB")} lines (${nameOf(options)}), ${options.workers} worker ` +
        `process${options.workers === 1 ? "" : "es"}`
    )
    if (options.metrics) {
      say(`Metrics: http://127.0.0.1:${options.metricsPort}/metrics, and at the ports after it for the other workers`)
    }
    const outcome = yield* Effect.scoped(Workload.run({
      metricsPort: options.metrics ? options.metricsPort : undefined,
      lines,
      workers: options.workers,
      kill,
      stream: stream.lines,
      mysqlUrl: yield* databaseUrl,
      redisUrl: redis.url
    }))

    const found = yield* Audit.audit({
      lines,
      books,
      sentTimes: Workload.sentTimes,
      deadLetterStream: stream.dead
    })
    const sent = Workload.entryCount(lines)
    const report: Report = {
      ok: Audit.holds(found) && (!kill || (outcome.killed !== null && isTakenOver(outcome.killed))),
      input: nameOf(options),
      servers: { mysql: mysql.version, redis: redis.version },
      workers: options.workers,
      kill,
      killed: outcome.killed,
      lines: lines.length,
      sent,
      applied: found.applied,
      redelivered: outcome.redelivered,
      duplicatesRefused: outcome.duplicatesRefused,
      deadLettered: found.deadLettered,
      lost: found.lost,
      appliedTwice: found.appliedTwice,
      retries: outcome.retries,
      conflicts: outcome.conflicts,
      seconds: outcome.seconds,
      linesPerSecond: lines.length / outcome.seconds,
      audit: { compared: found.compared, differences: found.differences }
    }
    return report
  })

const nameOf = ({ input, seed }: Options): string =>
  Option.match(input, { onNone: () => `generated, seed ${seed}`, onSome: (path) => basename(path) })

const input = ({ input, lines, seed }: Options): Effect.Effect<ReadonlyArray<RawLine>, DemoError> =>
  Option.match(input, {
    onNone: () => {
      const count = Option.getOrElse(lines, () => generatedLines)
      return Input.fromText(generate({ lines: count, seed }), count)
    },
    onSome: (path) => Input.fromFile(path, Option.getOrElse(lines, () => Infinity))
  })

/** An empty URL, as of a variable that is not set, is not a wish for a server that the demo starts. */
const refuseEmptyUrls = ({ mysqlUrl, redisUrl }: Options): Effect.Effect<void, DemoError> => {
  const isEmpty = (url: Options["mysqlUrl"]) => Option.exists(url, (url) => Redacted.value(url).trim() === "")
  const empty = isEmpty(mysqlUrl) ? "--mysql-url" : isEmpty(redisUrl) ? "--redis-url" : undefined
  return empty === undefined
    ? Effect.void
    : new DemoError({
      message: `${empty} is empty. Give the server's URL, or leave it out for a server that the demo starts.`
    })
}

/** Of a server that the demo starts, nobody asks for statistics; and to keep them takes a twentieth of its time. */
const mysqlServer = MysqlServer.layerWith({ args: ["--performance-schema=OFF"] })

/** Database and tables of our own on the server, and a connection to Redis. */
const services = Layer.mergeAll(
  MysqlServer.database({ maxConnections: 2 }),
  Layer.unwrapEffect(Effect.map(RedisServer.RedisServer, ({ url }) => Redis.layer({ url })))
).pipe(Layer.provideMerge(Layer.merge(mysqlServer, RedisServer.layer)))

/** An option of the command line before the environment variable of the same meaning. */
const given = ({ mysqlUrl, redisUrl }: Options): ConfigProvider.ConfigProvider => {
  const urls = new Map<string, string>()
  if (Option.isSome(mysqlUrl)) urls.set(MysqlServer.urlVariable, Redacted.value(mysqlUrl.value))
  if (Option.isSome(redisUrl)) urls.set(RedisServer.urlVariable, Redacted.value(redisUrl.value))
  return ConfigProvider.orElse(ConfigProvider.fromMap(urls), () => ConfigProvider.fromEnv())
}

/** Messages of the servers' layers name the environment variables; the user may have given an option. */
const optionNames = ({ mysqlUrl, redisUrl }: Options, message: string): string =>
  message
    .replaceAll(MysqlServer.urlVariable, Option.isSome(mysqlUrl) ? "--mysql-url" : MysqlServer.urlVariable)
    .replaceAll(RedisServer.urlVariable, Option.isSome(redisUrl) ? "--redis-url" : RedisServer.urlVariable)

/** The database's URL for the workers. */
const databaseUrl = Effect.gen(function*() {
  const server = yield* MysqlServer.MysqlServer
  const { config } = yield* MysqlClient.MysqlClient
  const url = new URL(Redacted.value(server.url))
  url.pathname = `/${config.database}`
  return Redacted.make(url.href)
})

/** Names of a stream and its dead letters that no other run has, removed at the end. */
const ownStream = Effect.acquireRelease(
  Effect.sync(() => {
    const lines = `safesync-demo:{${randomBytes(6).toString("hex")}}`
    return { lines, dead: `${lines}:dead` }
  }),
  ({ dead, lines }) => Effect.flatMap(Redis.Redis, (redis) => Effect.ignoreLogged(redis.command("DEL", lines, dead)))
)
