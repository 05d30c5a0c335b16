import { assert, layer } from "@effect/vitest"
import * as ConsumerGroup from "@safesync/redis-streams/ConsumerGroup"
import * as Redis from "@safesync/redis-streams/Redis"
import { isTransient, type WrongType } from "@safesync/redis-streams/RedisError"
import * as RedisServer from "@safesync/testkit/RedisServer"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as fs from "node:fs"
import { freshGroup, RedisLive, until } from "./fixture.js"

/** A server of its own, which a test may spoil. */
const own = (...args: ReadonlyArray<string>) =>
  Layer.provideMerge(
    Layer.unwrapEffect(Effect.map(RedisServer.RedisServer, ({ url }) => Redis.layer({ url }))),
    RedisServer.layerOwn({ args })
  )

const fails = (...command: Redis.Command) =>
  Effect.flatMap(Redis.Redis, (redis) => Effect.flip(redis.command(...command)))

layer(RedisLive, { excludeTestServices: true })("RedisError: the real server's failure and its tag", (it) => {
  it.scoped("NoGroup, BusyGroup, WrongType, CommandFailed, ServerTooOld", () =>
    Effect.gen(function*() {
      const { group, stream } = yield* freshGroup()
      const text = group.deadLetterStream
      const redis = yield* Redis.Redis
      yield* redis.command("SET", text, "x")
      const read = ["XREADGROUP", "GROUP", "none", "a", "STREAMS", stream, ">"] as const
      assert.strictEqual((yield* fails(...read))._tag, "NoGroup")
      assert.strictEqual((yield* fails("XPENDING", stream, "none"))._tag, "NoGroup")
      assert.strictEqual((yield* fails("XPENDING", `${stream}:none`, "none"))._tag, "NoGroup")
      assert.strictEqual((yield* fails("XGROUP", "CREATE", `${stream}:none`, "g", "0"))._tag, "NoGroup")
      assert.strictEqual((yield* fails("XGROUP", "CREATE", stream, group.group, "0"))._tag, "BusyGroup")
      const plain = yield* fails("XADD", text, "*", "data", "1")
      assert.strictEqual(plain._tag, "WrongType")
      const script = yield* fails("EVAL", "return redis.call('XLEN', KEYS[1])", "1", text)
      assert.strictEqual(script._tag, "WrongType")
      assert.strictEqual((script as WrongType).detail, (plain as WrongType).detail)
      assert.strictEqual((yield* fails("XADD", stream, "0-0", "data", "1"))._tag, "CommandFailed")
      const unknown = yield* fails("XNONSENSE", stream, "open-sesame")
      assert.strictEqual(unknown._tag, "ServerTooOld")
      assert.notInclude(`${unknown.message} ${String(unknown.cause)}`, "open-sesame")
      assert.isFalse(isTransient(unknown))
    }))

  it.scoped("NoPermission", () =>
    Effect.gen(function*() {
      const redis = yield* Redis.Redis
      const { url } = yield* RedisServer.RedisServer
      yield* redis.command("ACL", "SETUSER", "reader", "on", ">pass", "~mine:*", "+@read", "+info", "+eval")
      const limited = yield* Layer.build(Redis.layer({
        url: Redacted.make(Redacted.value(url).replace("redis://", "redis://reader:pass@"))
      }))
      const refused = (...command: Redis.Command) => Effect.provide(fails(...command), limited)
      assert.strictEqual((yield* refused("XADD", "mine:1", "*", "data", "1"))._tag, "NoPermission")
      assert.strictEqual((yield* refused("XLEN", "other"))._tag, "NoPermission")
      const script = "return redis.call('XTRIM', KEYS[1], 'MAXLEN', 1)"
      assert.strictEqual((yield* refused("EVAL", script, "1", "mine:1"))._tag, "NoPermission")
    }).pipe(Effect.provide(own())))

  it.scoped("ReadOnlyReplica, and Loading for a replica that has lost its master", () =>
    Effect.gen(function*() {
      const redis = yield* Redis.Redis
      yield* redis.command("REPLICAOF", "127.0.0.1", "1")
      const readOnly = yield* fails("XADD", "s", "*", "data", "1")
      assert.strictEqual(readOnly._tag, "ReadOnlyReplica")
      assert.isTrue(isTransient(readOnly))
      yield* until(Effect.either(redis.command("PING")), (reply) => reply._tag === "Right")
      yield* redis.command("CONFIG", "SET", "replica-serve-stale-data", "no")
      assert.strictEqual((yield* fails("XLEN", "s"))._tag, "Loading")
    }).pipe(Effect.provide(own())))

  it.scoped("ReadOnlyReplica for a read that blocks when its server becomes a replica", () =>
    Effect.gen(function*() {
      const redis = yield* Redis.Redis
      const group = { stream: "s", group: "g" }
      yield* redis.command("XGROUP", "CREATE", "s", "g", "0", "MKSTREAM")
      const reader = yield* redis.reserve("key", "reader")
      const reading = yield* Effect.fork(
        reader.read("XREADGROUP", ["GROUP", "g", "a", "BLOCK", "60000", "STREAMS", group.stream, ">"], 60_000, () => {})
      )
      yield* until(redis.command("CLIENT", "LIST"), (list) => / flags=\S*b/.test(String(list)))
      yield* redis.command("REPLICAOF", "127.0.0.1", "1")
      assert.strictEqual((yield* Effect.flip(reading))._tag, "ReadOnlyReplica")
    }).pipe(Effect.provide(own())))

  it.scoped("Loading while the server runs a long script", () =>
    Effect.gen(function*() {
      const redis = yield* Redis.Redis
      yield* redis.command("CONFIG", "SET", "lua-time-limit", "10")
      const other = yield* redis.reserve("key", "other")
      yield* Effect.fork(Effect.ignore(other.read("EVAL", ["while true do end", "0"], 60_000, () => {})))
      const busy = yield* until(Effect.either(redis.command("PING")), (reply) => reply._tag === "Left")
      assert.strictEqual(busy._tag === "Left" && busy.left._tag, "Loading")
      yield* redis.command("SCRIPT", "KILL")
    }).pipe(Effect.provide(own())))

  it.scoped("Loading while writes are refused: too few replicas, or a snapshot that failed", () =>
    Effect.gen(function*() {
      const redis = yield* Redis.Redis
      const refused = Effect.map(fails("XADD", "s", "*", "data", "1"), (error) => [error._tag, isTransient(error)])
      yield* redis.command("CONFIG", "SET", "min-replicas-to-write", "1")
      assert.deepStrictEqual(yield* refused, ["Loading", true])
      yield* redis.command("CONFIG", "SET", "min-replicas-to-write", "0")
      yield* redis.command("CONFIG", "SET", "save", "3600 1")
      // A folder in the place of the file makes the snapshot fail, for whatever user the server runs as.
      const [, dir] = (yield* redis.command("CONFIG", "GET", "dir")) as [string, string]
      fs.mkdirSync(`${dir}/dump.rdb`)
      yield* redis.command("BGSAVE")
      yield* until(redis.command("INFO", "persistence"), (info) => /rdb_last_bgsave_status:err/.test(String(info)))
      assert.deepStrictEqual(yield* refused, ["Loading", true])
    }).pipe(Effect.provide(own())))

  it.scoped("ClusterDown", () =>
    Effect.gen(function*() {
      assert.strictEqual((yield* fails("XLEN", "s"))._tag, "ClusterDown")
    }).pipe(Effect.provide(own("--cluster-enabled", "yes"))))

  it.scoped("a consumer group of a key that holds something else", () =>
    Effect.gen(function*() {
      const { group, stream } = yield* freshGroup()
      const redis = yield* Redis.Redis
      yield* redis.commands([["DEL", stream], ["SET", stream, "x"]])
      assert.strictEqual((yield* Effect.flip(ConsumerGroup.create(group)))._tag, "WrongType")
      assert.strictEqual((yield* Effect.flip(ConsumerGroup.info(group)))._tag, "WrongType")
      assert.strictEqual((yield* Effect.flip(ConsumerGroup.removeConsumer(group, "a")))._tag, "WrongType")
    }))
})
