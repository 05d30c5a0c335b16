/**
 * The servers that all contenders share, and a place of its own on them for each run.
 *
 * @since 0.1.0
 */
import * as MysqlClient from "@effect/sql-mysql2/MysqlClient"
import * as MysqlServer from "@safesync/testkit/MysqlServer"
import * as RedisServer from "@safesync/testkit/RedisServer"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import type { Scope } from "effect/Scope"
import { Redis } from "ioredis"
import { randomBytes } from "node:crypto"
import type { Place } from "./Benchmark.js"
import * as Driver from "./Driver.js"

/**
 * @since 0.1.0
 * @category layers
 */
export const layer = Layer.merge(MysqlServer.layer, RedisServer.layer)

/**
 * A fresh database and a prefix for keys; both are gone with the scope.
 *
 * @since 0.1.0
 * @category constructors
 */
export const place: Effect.Effect<
  Place,
  unknown,
  MysqlServer.MysqlServer | RedisServer.RedisServer | Scope
> = Effect.gen(function*() {
  const mysql = yield* MysqlServer.MysqlServer
  const redis = yield* RedisServer.RedisServer
  const database = yield* Layer.build(MysqlServer.database({ maxConnections: 1 }))
  const { config } = yield* Effect.provide(MysqlClient.MysqlClient, database)
  const url = new URL(Redacted.value(mysql.url))
  url.pathname = config.database!
  const redisUrl = Redacted.value(redis.url)
  const prefix = yield* Effect.acquireRelease(
    Effect.sync(() => `bench-${randomBytes(4).toString("hex")}`),
    (prefix) => Effect.ignoreLogged(remove(redisUrl, prefix))
  )
  return { mysqlUrl: url.href, redisUrl, prefix }
})

/**
 * The servers' processes, where they are on this machine and ours.
 *
 * @since 0.1.0
 * @category accessors
 */
export const pids: Effect.Effect<
  { readonly mysqld: number | null; readonly redis: number | null },
  never,
  MysqlServer.MysqlServer | RedisServer.RedisServer
> = Effect.gen(function*() {
  const pidOf = (server: typeof MysqlServer.MysqlServer.Service | typeof RedisServer.RedisServer.Service) =>
    Option.match(server.control, {
      onNone: () => Effect.succeed(null),
      onSome: ({ pid }) => Effect.map(pid, Option.getOrNull)
    })
  return {
    mysqld: yield* pidOf(yield* MysqlServer.MysqlServer),
    redis: yield* pidOf(yield* RedisServer.RedisServer)
  }
})

/**
 * What decides when a write is on disk, as the servers have it. No contender changes it.
 *
 * @since 0.1.0
 * @category accessors
 */
export const durability: Effect.Effect<
  string,
  never,
  MysqlServer.MysqlServer | RedisServer.RedisServer
> = Effect.scoped(Effect.gen(function*() {
  const here = yield* place
  const mysql = yield* Driver.mysql(here, 1)
  const redis = yield* Driver.redis(here)
  return yield* Driver.promise(async () => {
    const [[row]] = (await mysql.query(
      "SELECT @@innodb_flush_log_at_trx_commit AS redo, @@sync_binlog AS sync, @@log_bin AS binlog"
    )) as unknown as [[{ readonly redo: number; readonly sync: number; readonly binlog: number }]]
    const [, appendonly] = (await redis.config("GET", "appendonly")) as [string, string]
    const [, save] = (await redis.config("GET", "save")) as [string, string]
    const log = row.binlog === 1 ? `sync_binlog = ${row.sync}` : "no binary log"
    return `innodb_flush_log_at_trx_commit = ${row.redo}, ${log}; Redis: appendonly ${appendonly}, ${
      save === "" ? "no snapshots" : `save ${save}`
    }`
  })
})).pipe(
  // A server that is somebody else's need not tell.
  Effect.orElseSucceed(() => "durability unknown")
)

// internal

const remove = (url: string, prefix: string): Effect.Effect<void, unknown> =>
  Effect.acquireUseRelease(
    Effect.sync(() => new Redis(url)),
    (client) =>
      Driver.promise(async () => {
        for await (const keys of client.scanStream({ match: `*${prefix}*`, count: 1_000 })) {
          if (keys.length > 0) await client.unlink(keys as Array<string>)
        }
      }),
    (client) => Effect.sync(() => client.disconnect())
  )
