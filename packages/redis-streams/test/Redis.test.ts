import { assert, layer } from "@effect/vitest"
import * as Delivery from "@safesync/redis-streams/Delivery"
import * as Redis from "@safesync/redis-streams/Redis"
import * as StreamProducer from "@safesync/redis-streams/StreamProducer"
import * as RedisServer from "@safesync/testkit/RedisServer"
import * as TcpProxy from "@safesync/testkit/TcpProxy"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import { connect, deliveries, expectNothingLeft, freshGroup, order, until } from "./fixture.js"

/** A connection through a proxy, so that the network can be broken. */
const throughProxy = (timeouts?: Redis.Timeouts) =>
  Effect.gen(function*() {
    const { url } = yield* RedisServer.RedisServer
    const proxy = yield* TcpProxy.make(url)
    const redis = yield* connect({ url: proxy.through(url), ...timeouts })
    return { proxy, redis }
  })

layer(RedisServer.layer, { excludeTestServices: true })("Redis", (it) => {
  it.scoped("an entry whose reply is lost is an unknown outcome, and there once", () =>
    Effect.gen(function*() {
      const { proxy, redis } = yield* throughProxy()
      yield* Effect.gen(function*() {
        const { producer, stream } = yield* freshGroup()
        yield* proxy.loseReplies("XADD")
        const error = yield* Effect.flip(StreamProducer.send(producer, order(1)))
        assert.strictEqual(error._tag, "RedisConnectionLost")
        assert.strictEqual((error as { readonly outcome?: string }).outcome, "unknown")
        const back = yield* until(Effect.either(redis.command("XLEN", stream)), (reply) => reply._tag === "Right")
        assert.deepStrictEqual(back, yield* Effect.either(Effect.succeed(1)))
      }).pipe(Effect.provideService(Redis.Redis, redis), Effect.scoped)
    }))

  it.scoped("without a connection a command fails at once, and was not sent", () =>
    Effect.gen(function*() {
      const { proxy, redis } = yield* throughProxy()
      yield* proxy.refuse
      yield* proxy.cut
      yield* until(Effect.flip(redis.command("PING")), (error) =>
        error._tag === "RedisConnectionLost" && error.outcome === "not-sent")
      yield* proxy.accept
      yield* until(Effect.either(redis.command("PING")), (reply) =>
        reply._tag === "Right")
    }))

  it.scoped("a server that falls silent is given up after the command's time, and found again", () =>
    Effect.gen(function*() {
      const { proxy, redis } = yield* throughProxy({ commandTimeout: "200 millis" })
      yield* proxy.stall()
      const [took, error] = yield* Effect.timed(Effect.flip(redis.command("PING")))
      assert.strictEqual(error._tag, "RedisTimeout")
      assert.isBelow(Duration.toMillis(took), 3_000)
      yield* proxy.resume()
      yield* until(Effect.either(redis.command("PING")), (reply) => reply._tag === "Right")
    }))

  it.scoped("a server that accepts again and does not answer is given up, and found again", () =>
    Effect.gen(function*() {
      const { proxy, redis } = yield* throughProxy({ commandTimeout: "500 millis", connectTimeout: "500 millis" })
      yield* proxy.stall()
      yield* proxy.cut
      // The first attempt to come back hangs in its handshake, for good: these bytes never arrive.
      yield* until(proxy.counters, ({ accepted }) => accepted >= 3)
      yield* proxy.resume()
      yield* until(Effect.either(redis.command("PING")), (reply) => reply._tag === "Right")
    }))

  it.scoped("a process that was asleep for longer than the command's time still takes the answer", () =>
    Effect.gen(function*() {
      // Not through a proxy: that would be asleep as well.
      const { url } = yield* RedisServer.RedisServer
      const redis = yield* connect({ url, commandTimeout: "500 millis" })
      const asleep = Effect.sync(() => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1_000))
      const [answer] = yield* Effect.all([redis.command("PING"), asleep], { concurrency: 2 })
      assert.strictEqual(answer, "PONG")
    }))

  it.scoped("a command that the driver cannot write down is a typed failure, and the connection stays as it was", () =>
    Effect.gen(function*() {
      const { url } = yield* RedisServer.RedisServer
      const redis = yield* connect({ url, commandTimeout: "500 millis" })
      const id = yield* redis.command("CLIENT", "ID")
      const half = "x".repeat(2 ** 28)
      const errors = [
        yield* Effect.flip(redis.command("XADD", "test:never", "*", half, half)),
        yield* Effect.flip(redis.commands([["PING"], ["XADD", "test:never", "*", half, half], ["PING"]]))
      ]
      for (const error of errors) assert.include({ ...error }, { _tag: "CommandFailed", code: "UNSENT" })
      // Were it still waited for, the connection would be given up as silent beside this read.
      yield* Effect.scoped(
        Effect.flatMap(
          redis.reserve("key", "test"),
          (reader) => reader.read("XREAD", ["BLOCK", "700", "STREAMS", "test:nothing", "$"], 700, () => {})
        )
      )
      assert.strictEqual(yield* redis.command("CLIENT", "ID"), id)
    }))

  it.scoped("a read that blocks is given up when the server falls silent beyond its block time", () =>
    Effect.gen(function*() {
      const { proxy, redis } = yield* throughProxy({ commandTimeout: "200 millis" })
      const reader = yield* redis.reserve("key", "test")
      const fiber = yield* Effect.fork(
        reader.read("XREAD", ["BLOCK", "300", "STREAMS", "test:nothing", "$"], 300, () => {})
      )
      yield* proxy.stall("replies")
      const [took, error] = yield* Effect.timed(Effect.flip(Fiber.join(fiber)))
      assert.strictEqual(error._tag, "RedisTimeout")
      assert.isBelow(Duration.toMillis(took), 3_000)
      yield* proxy.resume()
    }))

  it.scoped("the acks of one turn of the event loop share one XACK", () =>
    Effect.gen(function*() {
      const { group, send } = yield* freshGroup()
      const redis = yield* Redis.Redis
      yield* send(100)
      const held = yield* deliveries(group, 100)
      // Scripts that take try whether they may ack.
      yield* redis.command("CONFIG", "RESETSTAT")
      yield* Effect.forEach(held, (delivery) => Delivery.use(delivery, () => Effect.void), { concurrency: "unbounded" })
      const stats = String(yield* redis.command("INFO", "commandstats"))
      assert.strictEqual(/cmdstat_xack:calls=(\d+)/.exec(stats)?.[1], "1")
      yield* expectNothingLeft(group)
    }).pipe(Effect.scoped, Effect.provide(ownRedis)))

  it.scoped("a new connection is asked anew what its server can do, and only once", () =>
    Effect.gen(function*() {
      const redis = yield* Redis.Redis
      const asked = Effect.map(
        redis.command("INFO", "commandstats"),
        (stats) => Number(/cmdstat_command(?:\|info)?:calls=(\d+)/.exec(String(stats))?.[1])
      )
      yield* Effect.all([redis.capabilities, redis.capabilities])
      assert.strictEqual(yield* asked, 1)
      yield* Effect.ignore(redis.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "no"))
      const again = yield* until(
        Effect.either(Effect.zipRight(redis.capabilities, asked)),
        (count) => count._tag === "Right" && count.right > 1
      ).pipe(Effect.timeoutFail({ duration: "2 seconds", onTimeout: () => new Error("it is not asked again") }))
      assert.deepStrictEqual(again, Either.right(2))
    }).pipe(Effect.scoped, Effect.provide(ownRedis)))

  it.scoped("a full server is OutOfMemory", () =>
    Effect.gen(function*() {
      const { producer } = yield* freshGroup()
      const redis = yield* Redis.Redis
      yield* redis.command("CONFIG", "SET", "maxmemory", "1")
      const error = yield* Effect.flip(StreamProducer.send(producer, order(1)))
      yield* redis.command("CONFIG", "SET", "maxmemory", "0")
      assert.strictEqual(error._tag, "OutOfMemory")
    }).pipe(Effect.scoped, Effect.provide(ownRedis)))

  it.scoped("no error says what was sent", () =>
    Effect.gen(function*() {
      const { url } = yield* RedisServer.RedisServer
      const redis = yield* connect({ url })
      const error = yield* Effect.flip(redis.command("XADD", "test:x", "no-id", "data", "open-sesame"))
      assert.strictEqual(error._tag, "CommandFailed")
      assert.notInclude(JSON.stringify(error), "open-sesame")
      assert.isUndefined((error.cause as { readonly command?: unknown }).command)
    }))
})

const ownRedis = Layer.unwrapEffect(
  Effect.map(RedisServer.RedisServer, ({ url }) => Redis.layer({ url }))
).pipe(Layer.provide(RedisServer.layerOwn()))
