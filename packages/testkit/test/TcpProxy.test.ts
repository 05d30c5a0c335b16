import * as MysqlClient from "@effect/sql-mysql2/MysqlClient"
import { assert, layer } from "@effect/vitest"
import * as MysqlServer from "@safesync/testkit/MysqlServer"
import * as RedisServer from "@safesync/testkit/RedisServer"
import * as TcpProxy from "@safesync/testkit/TcpProxy"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import { Redis } from "ioredis"
import { randomUUID } from "node:crypto"
import * as Net from "node:net"

const servers = Layer.mergeAll(MysqlServer.layer, RedisServer.layer)

/** A client that never reconnects nor sends again, so that a fault is seen as it is. */
const connect = (url: Redacted.Redacted<string>) =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const redis = new Redis(Redacted.value(url), {
        retryStrategy: () => null,
        maxRetriesPerRequest: 0,
        enableOfflineQueue: false,
        enableReadyCheck: false,
        lazyConnect: true
      })
      redis.on("error", () => {})
      return redis
    }),
    (redis) => Effect.sync(() => redis.disconnect())
  ).pipe(Effect.tap((redis) => Effect.tryPromise({ try: () => redis.connect(), catch: (cause) => cause as Error })))

const call = (redis: Redis, command: string, ...args: ReadonlyArray<string>) =>
  Effect.tryPromise({ try: () => redis.call(command, ...args), catch: (cause) => cause as Error })

const redisBehindProxy = Effect.gen(function*() {
  const { url } = yield* RedisServer.RedisServer
  const proxy = yield* TcpProxy.make(url)
  const direct = yield* connect(url)
  const key = yield* Effect.acquireRelease(
    Effect.sync(() => `testkit:${randomUUID()}`),
    (key) => Effect.promise(() => direct.del(key))
  )
  return { proxy, direct, key, through: proxy.through(url), redis: yield* connect(proxy.through(url)) }
})

/** A fresh database with a table, a client straight to it and one through a proxy. */
const mysqlBehindProxy = Effect.gen(function*() {
  const server = yield* MysqlServer.MysqlServer
  const direct = Context.get(yield* Layer.build(MysqlServer.database()), MysqlClient.MysqlClient)
  yield* direct`CREATE TABLE t (id INT PRIMARY KEY)`
  const proxy = yield* TcpProxy.make(server.url)
  const behind = new URL(Redacted.value(proxy.through(server.url)))
  behind.pathname = `/${direct.config.database}`
  const context = yield* Layer.build(MysqlClient.layer({ url: Redacted.make(behind.href), maxConnections: 2 }))
  const clean = Effect.provideService(MysqlServer.assertClean(), MysqlClient.MysqlClient, direct)
  return { proxy, direct, clean, sql: Context.get(context, MysqlClient.MysqlClient) }
})

layer(servers, { excludeTestServices: true, timeout: "3 minutes" })("TcpProxy", (it) => {
  it.scoped("carries bytes both ways and counts them, pipelined commands as one round trip", () =>
    Effect.gen(function*() {
      const { proxy, redis } = yield* redisBehindProxy
      const before = yield* proxy.counters
      yield* Effect.promise(() => redis.pipeline().echo("a").echo("b").echo("c").exec())
      const after = yield* proxy.counters
      assert.strictEqual(after.roundTrips - before.roundTrips, 1)
      assert.strictEqual(after.requestBytes - before.requestBytes, 3 * "*2\r\n$4\r\necho\r\n$1\r\na\r\n".length)
      assert.strictEqual(after.replyBytes - before.replyBytes, 3 * "$1\r\na\r\n".length)
      assert.deepStrictEqual([after.open, after.accepted], [1, 1])
      const long = "x".repeat(5_000_000)
      assert.strictEqual(yield* call(redis, "ECHO", long), long)
      // though it came in many pieces
      assert.strictEqual((yield* proxy.counters).roundTrips - after.roundTrips, 1)
    }))

  it.scoped("cut breaks the open connections and lets new ones in", () =>
    Effect.gen(function*() {
      const { key, proxy, redis, through } = yield* redisBehindProxy
      const sent = yield* proxy.observe("BLPOP")
      const blocked = yield* Effect.fork(Effect.flip(call(redis, "BLPOP", key, "0")))
      yield* sent
      assert.strictEqual(yield* proxy.cut, 1)
      assert.match((yield* Fiber.join(blocked)).message, /closed|reset/i)
      assert.strictEqual((yield* proxy.counters).open, 0)
      assert.strictEqual(yield* call(yield* connect(through), "PING"), "PONG")
    }))

  it.scoped("refuse turns new connections away and leaves the open ones alone, accept ends it", () =>
    Effect.gen(function*() {
      const { proxy, redis, through } = yield* redisBehindProxy
      yield* proxy.refuse
      assert.isTrue(Exit.isFailure(yield* Effect.exit(connect(through))))
      assert.strictEqual(yield* call(redis, "PING"), "PONG")
      yield* proxy.accept
      yield* proxy.accept
      assert.strictEqual(yield* call(yield* connect(through), "PING"), "PONG")
      assert.strictEqual(yield* call(redis, "PING"), "PONG")
    }))

  it.scoped("stall holds back the replies: the server has done it, the client does not know", () =>
    Effect.gen(function*() {
      const { direct, key, proxy, redis } = yield* redisBehindProxy
      yield* proxy.stall("replies")
      const { replyBytes } = yield* proxy.counters
      const answer = yield* Effect.fork(call(redis, "RPUSH", key, "1"))
      assert.deepStrictEqual(yield* Effect.promise(() => direct.blpop(key, 10)), [key, "1"])
      // the reply has reached the proxy, not the client
      yield* Effect.repeat(proxy.counters, {
        schedule: Schedule.spaced("5 millis"),
        until: (now) => now.replyBytes > replyBytes
      })
      assert.isTrue(Option.isNone(yield* Fiber.poll(answer)))
      yield* proxy.resume("replies")
      assert.strictEqual(yield* Fiber.join(answer), 1)
    }))

  it.scoped("stall holds back the requests, in order, and resume lets them go", () =>
    Effect.gen(function*() {
      const { direct, key, proxy, redis } = yield* redisBehindProxy
      yield* proxy.stall("requests")
      const sent = yield* proxy.observe("second")
      const pushes = yield* Effect.fork(
        Effect.all([call(redis, "RPUSH", key, "first"), call(redis, "RPUSH", key, "second")], { concurrency: 2 })
      )
      yield* sent
      assert.strictEqual(yield* call(direct, "EXISTS", key), 0)
      yield* proxy.resume()
      assert.deepStrictEqual(yield* Fiber.join(pushes), [1, 2])
      assert.deepStrictEqual(yield* call(direct, "LRANGE", key, "0", "-1"), ["first", "second"])
    }))

  it.scoped("delay adds its latency in each direction and keeps the order", () =>
    Effect.gen(function*() {
      const { proxy, redis } = yield* redisBehindProxy
      yield* proxy.delay("50 millis")
      const [took, answers] = yield* Effect.timed(
        Effect.all(["a", "b", "c"].map((word) => call(redis, "ECHO", word)), { concurrency: "unbounded" })
      )
      assert.deepStrictEqual(answers, ["a", "b", "c"])
      assert.isAtLeast(Duration.toMillis(took), 98)
      yield* proxy.delay(0)
      assert.strictEqual(yield* call(redis, "PING"), "PONG")
    }))

  it.scoped("loseReplies: an XADD whose answer is lost has been done", () =>
    Effect.gen(function*() {
      const { direct, key, proxy, redis } = yield* redisBehindProxy
      const lost = yield* proxy.loseReplies("XADD")
      const error = yield* Effect.flip(call(redis, "XADD", key, "*", "data", "1"))
      assert.match(error.message, /closed|reset/i)
      yield* lost
      assert.strictEqual(yield* call(direct, "XLEN", key), 1)
    }))

  it.scoped("loseReplies with \"hang\": the client waits for ever, and the next connection is not hit", () =>
    Effect.gen(function*() {
      const { direct, key, proxy, redis, through } = yield* redisBehindProxy
      const lost = yield* proxy.loseReplies("XADD", "hang")
      const answer = yield* Effect.fork(call(redis, "XADD", key, "*", "data", "1"))
      yield* lost
      assert.strictEqual(yield* call(direct, "XLEN", key), 1)
      assert.strictEqual((yield* proxy.counters).open, 1)
      assert.isString(yield* call(yield* connect(through), "XADD", key, "*", "data", "2"))
      assert.isTrue(Option.isNone(yield* Fiber.poll(answer)))
    }))

  it.scoped("a point is found when it comes in two pieces, and by a predicate", () =>
    Effect.gen(function*() {
      const { direct, key, proxy } = yield* redisBehindProxy
      const socket = yield* Effect.acquireRelease(
        Effect.sync(() => Net.connect({ host: "127.0.0.1", port: proxy.port, noDelay: true }).on("error", () => {})),
        (socket) => Effect.sync(() => socket.destroy())
      )
      const ended = Effect.async<void>((resume) => void socket.once("close", () => resume(Effect.void)))
      const lost = yield* proxy.loseReplies("RPUSH")
      const seen = yield* proxy.observe((piece) => piece.length === 3)
      socket.write("RPU")
      yield* seen
      socket.write(`SH ${key} 1\r\n`)
      yield* Effect.all([lost, ended], { concurrency: 2 })
      assert.strictEqual(yield* call(direct, "LLEN", key), 1)
    }))

  it.scoped("loseReplies: a transaction whose COMMIT is not answered has been committed", () =>
    Effect.gen(function*() {
      const { clean, direct, proxy, sql } = yield* mysqlBehindProxy
      const lost = yield* proxy.loseReplies("COMMIT")
      const exit = yield* Effect.exit(sql.withTransaction(sql`INSERT INTO t VALUES (1)`))
      assert.isTrue(Exit.isFailure(exit))
      yield* lost
      assert.deepStrictEqual(yield* direct`SELECT id FROM t`, [{ id: 1 }])
      yield* clean
    }))

  it.scoped("loseRequest: a transaction whose COMMIT never arrives has not been committed", () =>
    Effect.gen(function*() {
      const { clean, direct, proxy, sql } = yield* mysqlBehindProxy
      const lost = yield* proxy.loseRequest("COMMIT")
      const exit = yield* Effect.exit(sql.withTransaction(sql`INSERT INTO t VALUES (1)`))
      assert.isTrue(Exit.isFailure(exit))
      yield* lost
      yield* clean
      assert.deepStrictEqual(yield* direct`SELECT id FROM t`, [])
    }))

  it.effect("is gone with its scope, and its connections with it", () =>
    Effect.gen(function*() {
      const scope = yield* Scope.make()
      const { key, redis, through } = yield* Scope.extend(redisBehindProxy, scope)
      const blocked = yield* Effect.fork(Effect.flip(call(redis, "BLPOP", key, "0")))
      yield* Scope.close(scope, Exit.void)
      yield* Fiber.join(blocked)
      assert.isTrue(Exit.isFailure(yield* Effect.exit(Effect.scoped(connect(through)))))
    }))
})
