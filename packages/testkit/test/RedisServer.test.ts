import { assert, it, layer } from "@effect/vitest"
import * as MysqlServer from "@safesync/testkit/MysqlServer"
import * as RedisServer from "@safesync/testkit/RedisServer"
import * as ConfigProvider from "effect/ConfigProvider"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import { randomUUID } from "node:crypto"
import { once } from "node:events"
import * as Net from "node:net"

import * as RedisConnection from "../src/internal/redisConnection.js"

const given = (url: string) =>
  Effect.map(Layer.build(RedisServer.layer), Context.get(RedisServer.RedisServer)).pipe(
    Effect.withConfigProvider(ConfigProvider.fromMap(new Map([[RedisServer.urlVariable, url]])))
  )

const freshStream = (redis: RedisConnection.Redis) =>
  Effect.acquireRelease(
    Effect.sync(() => `testkit:${randomUUID()}`),
    (key) => Effect.promise(() => redis.del(key))
  )

const failureFor = (url: string) => Effect.flip(Effect.scoped(given(url)))

layer(Layer.mergeAll(MysqlServer.layer, RedisServer.layer), { excludeTestServices: true, timeout: "3 minutes" })(
  "RedisServer",
  (it) => {
    it.scoped("pending counts what a group was given and has not acknowledged", () =>
      Effect.gen(function*() {
        const { url } = yield* RedisServer.RedisServer
        const redis = yield* RedisConnection.connect(url)
        const stream = yield* freshStream(redis)
        const pending = RedisServer.pending(stream, "g")
        assert.strictEqual(yield* pending, 0)
        yield* RedisConnection.call(redis, "XGROUP", "CREATE", stream, "g", "0", "MKSTREAM")
        const id = String(yield* RedisConnection.call(redis, "XADD", stream, "*", "data", "1"))
        assert.strictEqual(yield* pending, 0)
        yield* RedisConnection.call(redis, "XREADGROUP", "GROUP", "g", "c", "STREAMS", stream, ">")
        assert.strictEqual(yield* pending, 1)
        yield* RedisConnection.call(redis, "XACK", stream, "g", id)
        assert.strictEqual(yield* pending, 0)
      }))

    it.scoped("assertClean finds what is pending, and consumers that wait, of this stream only", () =>
      Effect.gen(function*() {
        const { url } = yield* RedisServer.RedisServer
        const redis = yield* RedisConnection.connect(url)
        const stream = yield* freshStream(redis)
        const clean = RedisServer.assertClean(stream, "g", { within: 0 })
        yield* clean
        yield* RedisConnection.call(redis, "XGROUP", "CREATE", stream, "g", "0", "MKSTREAM")
        const id = String(yield* RedisConnection.call(redis, "XADD", stream, "*", "data", "1"))
        yield* RedisConnection.call(redis, "XREADGROUP", "GROUP", "g", "c", "STREAMS", stream, ">")
        assert.strictEqual((yield* Effect.flip(clean)).message, `group g of ${stream}: 1 entry is pending for c`)
        const [known] = (yield* RedisConnection.call(redis, "COMMAND", "INFO", "XNACK")) as ReadonlyArray<unknown>
        if (known !== null) {
          yield* RedisConnection.call(redis, "XNACK", stream, "g", "SILENT", "IDS", "1", id)
          assert.strictEqual((yield* Effect.flip(clean)).message, `group g of ${stream}: 1 entry is pending for nobody`)
        }
        yield* RedisConnection.call(redis, "XACK", stream, "g", id)
        yield* clean

        const waiting = yield* RedisConnection.connect(url)
        const number = yield* RedisConnection.call(waiting, "CLIENT", "ID")
        yield* RedisConnection.call(waiting, "CLIENT", "SETNAME", `safesync:${stream}:c`)
        yield* Effect.fork(Effect.ignore(RedisConnection.call(waiting, "BLPOP", `${stream}:list`, "0")))
        const leak = yield* Effect.repeat(Effect.either(clean), { until: Either.isLeft })
        assert.deepStrictEqual(Either.flip(leak).pipe(Either.getOrThrow).leaks, [
          `client ${number} waits for new entries`
        ])
        yield* RedisServer.assertClean(`${stream}:other`, "g", { within: 0 })
        waiting.disconnect()
        yield* RedisServer.assertClean(stream, "g")
      }))

    it.effect("a URL with a wrong password: one line that does not hold it", () =>
      Effect.gen(function*() {
        const { url } = yield* RedisServer.RedisServer
        const wrong = new URL(Redacted.value(url))
        wrong.username = "nobody"
        wrong.password = "s3cret"
        const error = yield* failureFor(wrong.href)
        assert.strictEqual(
          error.message,
          `Redis is not available. SAFESYNC_REDIS_URL: ${wrong.host} refused the login. ` +
            "Correct user and password in the URL: redis://user:password@host:port."
        )
        assert.notInclude(JSON.stringify(error), "s3cret")
      }))

    it.effect("a URL of something that is not Redis", () =>
      Effect.gen(function*() {
        const { host } = new URL(Redacted.value((yield* MysqlServer.MysqlServer).url))
        const error = yield* failureFor(`redis://:s3cret@${host}`)
        assert.include(error.message, `${host} does not answer as a Redis server would`)
        assert.notInclude(error.message, "s3cret")
      }))
  }
)

it.scopedLive("a server with a password that the URL does not give", () =>
  Effect.gen(function*() {
    const own = yield* Layer.build(RedisServer.layerOwn())
    const { url } = Context.get(own, RedisServer.RedisServer)
    const redis = yield* RedisConnection.connect(url)
    yield* RedisConnection.call(redis, "CONFIG", "SET", "requirepass", "s3cret")
    assert.include((yield* failureFor(Redacted.value(url))).message, "refused the login")
    const right = new URL(Redacted.value(url))
    right.password = "s3cret"
    assert.strictEqual((yield* given(right.href)).origin, "url")
  }))

it.scopedLive("a server of its own with a password becomes ready, and its URL holds it", () =>
  Effect.gen(function*() {
    const password = "open sesame/@:%"
    const own = yield* Layer.build(RedisServer.layerOwn({ args: ["--requirepass", password] }))
    const { control, url } = Context.get(own, RedisServer.RedisServer)
    const redis = yield* RedisConnection.connect(url)
    assert.strictEqual(yield* RedisConnection.call(redis, "PING"), "PONG")
    const bare = new URL(Redacted.value(url))
    bare.password = ""
    assert.include((yield* failureFor(bare.href)).message, "refused the login")
    assert.strictEqual(yield* Effect.provide(RedisServer.pending("none", "g"), own), 0)
    // Starting it again asks it as well.
    const { kill, start } = Option.getOrThrow(control)
    yield* Effect.zipRight(kill, start)
    yield* RedisConnection.connect(url)
  }))

it.scopedLive("a server of its own with TLS is there for those who trust its certificate, and for nobody else", () =>
  Effect.gen(function*() {
    const own = yield* Layer.build(RedisServer.layerOwn({ tls: true, args: ["--requirepass", "s3cret"] }))
    const { ca, url } = Context.get(own, RedisServer.RedisServer)
    assert.match(Redacted.value(url), /^rediss:\/\/:s3cret@127\.0\.0\.1:\d+$/)
    const redis = yield* RedisConnection.connect(url, Option.getOrThrow(ca))
    assert.strictEqual(yield* RedisConnection.call(redis, "PING"), "PONG")
    assert.strictEqual(yield* Effect.provide(RedisServer.pending("none", "g"), own), 0)
    const distrust = yield* Effect.flip(RedisConnection.connect(url))
    assert.match(distrust.message, /self.signed/)
    const plain = Redacted.make(Redacted.value(url).replace("rediss:", "redis:"))
    assert.isFalse(Option.isSome(yield* Effect.option(RedisConnection.connect(plain))))
  }))

it.live.each([
  ["what is it", "this is not a URL. It looks like redis://user:password@127.0.0.1:6379."],
  [
    "mysql://:s3cret@127.0.0.1",
    "this is not a URL that begins with redis:// or rediss:// and a host. It looks like redis"
  ],
  [
    "redis://:s3cret100%@127.0.0.1",
    "a % in user, password or path is not followed by two hexadecimal digits. Write %25"
  ],
  ["redis://:s3cret@127.0.0.1:1", "nothing listens at 127.0.0.1:1. Start the server, or correct host and port."],
  ["redis://:s3cret@no-such-host.invalid", "the host of no-such-host.invalid:6379 is not known. Correct the host."]
])("a wrong URL fails with one line and nothing else is tried: %s", ([url = "", reason]) =>
  Effect.gen(function*() {
    const error = yield* failureFor(url)
    assert.strictEqual(error.attempts.length, 1)
    assert.include(error.message, `Redis is not available. SAFESYNC_REDIS_URL: ${reason}`)
    assert.notInclude(error.message, "s3cret")
    assert.notInclude(error.message, "\n")
  }))

it.scopedLive("a server that is too old is told as such", () =>
  Effect.gen(function*() {
    const info = "redis_version:4.0.14\r\nprocess_id:1\r\nloading:0\r\n"
    const server = yield* Effect.acquireRelease(
      Effect.promise(async () => {
        // One reply for each command, however many of them one piece of bytes brings.
        const server = Net.createServer((socket) =>
          socket.on("error", () => {}).on("data", (piece) => {
            const commands = piece.toString().split("\r\n").filter((line) => /^\*\d+$/.test(line))
            socket.write(`$${info.length}\r\n${info}\r\n`.repeat(commands.length))
          })
        )
        await once(server.listen(0, "127.0.0.1"), "listening")
        return server
      }),
      (server) => Effect.sync(() => server.close())
    )
    const error = yield* failureFor(`redis://127.0.0.1:${(server.address() as Net.AddressInfo).port}`)
    assert.strictEqual(
      error.message,
      "Redis is not available. SAFESYNC_REDIS_URL: Redis 4.0.14 is too old. Redis 5.0 or later is needed."
    )
  }))
