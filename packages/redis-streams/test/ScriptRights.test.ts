import { assert, layer } from "@effect/vitest"
import * as DeadLetter from "@safesync/redis-streams/DeadLetter"
import * as Delivery from "@safesync/redis-streams/Delivery"
import * as Redis from "@safesync/redis-streams/Redis"
import * as StreamProducer from "@safesync/redis-streams/StreamProducer"
import * as RedisServer from "@safesync/testkit/RedisServer"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Stream from "effect/Stream"
import * as failures from "../src/internal/failures.js"
import * as scripts from "../src/internal/scripts.js"
import * as upkeep from "../src/internal/upkeep.js"
import { connect, deliveries, freshGroup, Order, order } from "./fixture.js"

/** A server of its own: users are the whole server's. */
const own = Layer.provideMerge(
  Layer.unwrapEffect(Effect.map(RedisServer.RedisServer, ({ url }) => Redis.layer({ url }))),
  RedisServer.layerOwn()
)

/** The arguments of a script, once the server is as it is meant for. */
interface Call {
  readonly script: scripts.Script
  readonly keys: ReadonlyArray<string>
  readonly args: ReadonlyArray<string>
}

const names = { stream: "{s}", dead: "{s}:dead", key: "{s}:sent:k", group: "g" } as const

/** Two pending entries for `a`, between them one that is deleted, one for nobody yet; one dead letter; what trimming may drop. */
const prepared = Effect.gen(function*() {
  const redis = yield* Redis.Redis
  yield* redis.command("FLUSHALL")
  yield* redis.command("XGROUP", "CREATE", names.stream, names.group, "0", "MKSTREAM")
  for (const id of ["1-0", "2-0", "3-0", "4-0", "5-0"]) yield* redis.command("XADD", names.stream, id, "data", id)
  const read = ["XREADGROUP", "GROUP", names.group, "a", "COUNT", "4", "STREAMS", names.stream, ">"] as const
  yield* redis.command(...read)
  yield* redis.command("XACK", names.stream, names.group, "1-0")
  yield* redis.command("XDEL", names.stream, "3-0")
  yield* redis.command("XGROUP", "CREATECONSUMER", names.stream, names.group, "b")
  const letter = ["data", "x", "dead.stream", names.stream, "dead.id", "1-0", "dead.group", names.group] as const
  yield* redis.command(
    "XADD",
    names.dead,
    "1-0",
    ...letter,
    "dead.consumer",
    "a",
    "dead.attempts",
    "1",
    "dead.reason",
    "r"
  )
})

/** All that a script may change; not for how long an entry has been idle. */
const state = Effect.gen(function*() {
  const redis = yield* Redis.Redis
  const pending = (yield* redis.command("XPENDING", names.stream, names.group, "-", "+", "100")) as ReadonlyArray<
    readonly [id: string, consumer: string, idle: number, count: number]
  >
  const consumers = (yield* redis.command("XINFO", "CONSUMERS", names.stream, names.group)) as ReadonlyArray<
    ReadonlyArray<unknown>
  >
  return {
    stream: yield* redis.command("XRANGE", names.stream, "-", "+"),
    dead: yield* redis.command("XRANGE", names.dead, "-", "+"),
    sent: yield* redis.command("GET", names.key),
    pending: pending.map(([id, consumer, , count]) => [id, consumer, count]),
    consumers: consumers.map((flat) => flat[1])
  }
})

const { dead, group, key, stream } = names
const added = ["dead.stream", stream, "dead.id", "2-0"]

const calls: ReadonlyArray<Call> = [
  { script: scripts.takeOwn, keys: [stream], args: [group, "a", "-", "10"] },
  { script: scripts.takeStale, keys: [stream], args: [group, "b", "0", "0-0", "10"] },
  { script: scripts.takeStaleByScan, keys: [stream], args: [group, "b", "0", "0-0", "10", ""] },
  {
    script: scripts.hold,
    keys: [stream],
    args: [group, "a", "b", "0", "2-0", "1", "5", "3-0", "1", "5", "4-0", "1", "5"]
  },
  {
    script: scripts.hold,
    keys: [stream],
    args: [group, "a", "", "0", "2-0", "1", "0", "3-0", "1", "0", "4-0", "1", "0"]
  },
  { script: scripts.deadLetter, keys: [stream, dead], args: [group, "a", "2-0", "1", ...added] },
  { script: scripts.deadLetter, keys: [stream, dead], args: [group, "a", "3-0", "1", ...added] },
  { script: scripts.sendOnce, keys: [stream, key], args: ["60000", "*", "data", "x"] },
  { script: scripts.ack, keys: [stream], args: ["XACK", group, "a", "2-0", "1"] },
  {
    script: upkeep.replay,
    keys: [dead, stream],
    args: ["1-0", "message-id", "for-group", "1-0", stream, group, "message-born", ""]
  },
  { script: upkeep.removeLetter, keys: [dead], args: ["1-0", stream, group, "1-0"] },
  { script: upkeep.purge, keys: [dead], args: [stream, group, "0", "-", "", "10"] },
  { script: failures.count, keys: [key], args: ["60000"] },
  { script: upkeep.giveIdentity, keys: [stream, key], args: ["nonce"] },
  { script: upkeep.trimAcked, keys: [stream], args: ["", "10", ""] },
  { script: upkeep.trimKept, keys: [stream], args: ["MAXLEN", "1", "="] },
  { script: upkeep.addKept, keys: [stream], args: ["MAXLEN", "1", "=", "data", "x"] },
  { script: upkeep.removeConsumer, keys: [stream], args: [group, "a", "b", "10", ""] },
  { script: upkeep.removeConsumer, keys: [stream], args: [group, "b", "", "10", ""] },
  { script: upkeep.removeConsumers, keys: [stream], args: [group, "b"] }
]

/** The commands that a script sends, subcommands as ACL names them. */
const commandsOf = ({ lua }: scripts.Script): ReadonlyArray<string> => {
  const found = [...lua.matchAll(/redis\.(?:call|pcall|acl_check_cmd)\('([A-Z]+)'(?:, '([A-Z]+)')?/g)]
  const names = found.map(([, name, sub]) => /^(XGROUP|XINFO)$/.test(name!) ? `${name}|${sub}` : name!)
  // The script of the acks is given this name.
  return [...new Set(lua.includes("redis.call(ARGV[1]") ? [...names, "XACK"] : names)]
}

layer(own, { excludeTestServices: true })("A script whose user may not run one of its commands", (it) => {
  it.scoped("is refused before it has changed anything, whichever command that is", () =>
    Effect.gen(function*() {
      const redis = yield* Redis.Redis
      const { url } = yield* RedisServer.RedisServer
      // XNACK came with Redis 8.8.
      const able = yield* redis.capabilities
      const as = Redacted.make(Redacted.value(url).replace("redis://", "redis://limited:pass@"))
      yield* redis.command("ACL", "SETUSER", "limited", "on", ">pass", "~*", "+@all")
      const limited = yield* connect({ url: as })
      for (const { args, keys, script } of calls) {
        if (script === scripts.hold && args[2] === "" && !able.has("release")) continue
        yield* prepared
        const before = yield* state
        let refused = 0
        for (const command of commandsOf(script)) {
          if (command === "XNACK" && !able.has("release")) continue
          const told = `${script.name}(${args.join(" ")}) without ${command}`
          yield* redis.command("ACL", "SETUSER", "limited", "+@all", `-${command}`)
          const answer = yield* Effect.either(limited.script(script, keys, args))
          if (Either.isLeft(answer)) {
            assert.strictEqual(answer.left._tag, "NoPermission", told)
            assert.deepStrictEqual(yield* state, before, told)
            refused++
          } else yield* prepared
        }
        assert.isAbove(refused, 0, script.name)
        yield* redis.command("ACL", "SETUSER", "limited", "+@all")
        yield* limited.script(script, keys, args)
        assert.notDeepEqual(yield* state, before, `${script.name}(${args.join(" ")}) has something to do`)
      }
    }))

  it.scoped("makes neither a dead letter, nor a second entry, nor a replay at each try", () =>
    Effect.gen(function*() {
      const { group, redis, send, stream } = yield* freshGroup()
      const { url } = yield* RedisServer.RedisServer
      yield* redis.command("ACL", "SETUSER", "clerk", "on", ">pass", "~*", "+@all")
      const clerk = yield* Layer.build(Redis.layer({
        url: Redacted.make(Redacted.value(url).replace("redis://", "redis://clerk:pass@"))
      }))
      yield* send(2)
      const [first] = yield* deliveries(group, 1, "b")
      yield* Delivery.deadLetter(first!, "for replay")
      const [letter] = yield* Stream.runCollect(DeadLetter.stream(group))
      const [second] = yield* Effect.provide(deliveries(group, 1), clerk)
      yield* redis.command("ACL", "SETUSER", "clerk", "-xack", "-set", "-xdel")
      const producer = yield* StreamProducer.make({ stream, schema: Order })
      for (let i = 0; i < 3; i++) {
        const attempts: ReadonlyArray<Effect.Effect<unknown, { readonly _tag: string }, Redis.Redis>> = [
          Delivery.deadLetter(second!, "no"),
          StreamProducer.sendOnce(producer, order(9), { key: "k", remember: "1 minute" }),
          DeadLetter.replay(group, letter!)
        ]
        for (const attempt of attempts) {
          assert.strictEqual((yield* Effect.flip(Effect.provide(attempt, clerk)))._tag, "NoPermission")
        }
      }
      assert.strictEqual(yield* redis.command("XLEN", stream), 2)
      assert.strictEqual(yield* redis.command("XLEN", group.deadLetterStream), 1)
    }))
})
