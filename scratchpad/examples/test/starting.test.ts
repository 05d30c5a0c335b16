// The example of the README for servers that are not there yet, run as it is printed there.
import { SqlClient } from "@effect/sql"
import { expect, it } from "@effect/vitest"
import { Redis } from "@safesync/redis-streams"
import { MysqlServer, RedisServer, TcpProxy } from "@safesync/testkit"
import { ConfigProvider, Effect, Fiber, Layer, Logger, Redacted } from "effect"
import { Live } from "../starting.js"

it.scopedLive("a service that is started before its servers waits for them", () =>
  Effect.gen(function*() {
    const mysql = (yield* MysqlServer.MysqlServer).url
    const redis = (yield* RedisServer.RedisServer).url
    const proxies = [yield* TcpProxy.make(mysql), yield* TcpProxy.make(redis)] as const
    const config = ConfigProvider.fromMap(
      new Map([
        ["MYSQL_URL", Redacted.value(proxies[0].through(mysql))],
        ["REDIS_URL", Redacted.value(proxies[1].through(redis))]
      ])
    )
    yield* proxies[0].refuse
    yield* proxies[1].refuse
    const told: Array<string> = []
    const wait = yield* Effect.makeLatch()
    const logger = Logger.make(({ message }) => {
      told.push(String(message))
      wait.unsafeOpen()
    })
    const program = Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      return [yield* sql`SELECT 1 AS one`, yield* (yield* Redis.Redis).command("PING")]
    })
    const started = yield* Effect.fork(
      program.pipe(
        Effect.provide(Live),
        Effect.provide(Layer.setConfigProvider(config)),
        Effect.provide(Logger.replace(Logger.defaultLogger, logger))
      )
    )
    yield* wait.await
    yield* proxies[0].accept
    yield* proxies[1].accept
    expect(yield* Fiber.join(started)).toEqual([[{ one: 1 }], "PONG"])
    expect(told[0]).toContain("A server cannot be used yet")
  }).pipe(Effect.provide(Layer.merge(MysqlServer.layer, RedisServer.layer))), 30_000)
