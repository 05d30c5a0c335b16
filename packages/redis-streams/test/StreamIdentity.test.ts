import { assert, layer } from "@effect/vitest"
import * as ConsumerGroup from "@safesync/redis-streams/ConsumerGroup"
import * as Delivery from "@safesync/redis-streams/Delivery"
import * as Reclaim from "@safesync/redis-streams/Reclaim"
import * as Redis from "@safesync/redis-streams/Redis"
import * as StreamConsumer from "@safesync/redis-streams/StreamConsumer"
import * as StreamIdentity from "@safesync/redis-streams/StreamIdentity"
import * as RedisServer from "@safesync/testkit/RedisServer"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Stream from "effect/Stream"
import { randomUUID } from "node:crypto"
import type { Capability } from "../src/internal/capabilities.js"
import {
  connect,
  deliveries,
  expectNothingLeft,
  freshGroup,
  pendingOf,
  RedisFromServer,
  RedisWithout,
  until
} from "./fixture.js"

const keyOf = ({ stream }: { readonly stream: string }) => `{${stream}}:born`

const withIdentity = Effect.gen(function*() {
  const fresh = yield* freshGroup({ minIdle: "1 milli" })
  yield* Effect.addFinalizer(() => Effect.ignore(fresh.redis.command("DEL", keyOf(fresh.group))))
  const add = (id: string, ...headers: ReadonlyArray<string>) =>
    fresh.redis.command("XADD", fresh.stream, id, "data", `{"number":1}`, ...headers)
  return { ...fresh, add, identity: Effect.map(StreamIdentity.get(fresh.group), Option.getOrUndefined) }
})

const ways: ReadonlyArray<readonly [string, ReadonlyArray<Capability>]> = [
  ["", []],
  [" on Redis 6.0", ["auto-claim", "claiming-read", "release"]]
]

for (const [name, without] of ways) {
  layer(RedisWithout(...without), { excludeTestServices: true })(`StreamIdentity${name}`, (it) => {
    it.scoped("create gives a stream an identity once, and anew where the stream was made anew and stands below it", () =>
      Effect.gen(function*() {
        const { add, group, identity, redis, stream } = yield* withIdentity
        yield* add("5-5")
        assert.isUndefined(yield* identity)
        assert.isTrue(yield* StreamIdentity.create(group))
        const first = yield* identity
        assert.match(first!, /^5-5:.{16}$/)
        yield* add("6-0")
        assert.isFalse(yield* StreamIdentity.create(group))
        assert.strictEqual(yield* identity, first)
        yield* redis.command("DEL", stream)
        assert.strictEqual((yield* Effect.flip(StreamIdentity.create(group)))._tag, "NoGroup")
        yield* ConsumerGroup.create(group)
        yield* add("5-4")
        assert.isTrue(yield* StreamIdentity.create(group))
        assert.match((yield* identity)!, /^5-4:/)
        const error = yield* Effect.flip(StreamIdentity.create({ stream: "a}b" }))
        assert.strictEqual(error._tag, "InvalidOptions")
        assert.isTrue(Option.isNone(yield* StreamIdentity.get({ stream: "a}b" })))
      }))

    it.scoped("two streams that stand at the same id have two identities", () =>
      Effect.gen(function*() {
        const [one, other] = [yield* withIdentity, yield* withIdentity]
        yield* StreamIdentity.create(one.group)
        yield* StreamIdentity.create(other.group)
        assert.match((yield* one.identity)!, /^0-0:/)
        assert.match((yield* other.identity)!, /^0-0:/)
        assert.notStrictEqual(yield* one.identity, yield* other.identity)
      }))

    it.scoped("every way of reading tells what goes with an entry's id: what was there before has nothing, whoever reads it when", () =>
      Effect.gen(function*() {
        const { add, group, identity } = yield* withIdentity
        yield* add("9-9")
        yield* add("10-1")
        const [early] = yield* deliveries(group, 1)
        yield* StreamIdentity.create(group)
        yield* add("10-2")
        yield* add("18446744073709551615-0")
        yield* add("18446744073709551615-1", "message-id", "m-1")
        yield* add("18446744073709551615-2", "message-id", "m-2", "message-born", "7-7:elsewhere")
        yield* add("18446744073709551615-3", "message-id", "")
        const born = yield* identity
        const expected: ReadonlyArray<readonly [string, string | undefined]> = [
          ["9-9", undefined],
          ["10-1", undefined],
          ["10-2", born],
          ["18446744073709551615-0", born],
          ["m-1", undefined],
          ["m-2", "7-7:elsewhere"],
          ["18446744073709551615-3", born]
        ]
        const told = (all: Iterable<Delivery.Delivery<unknown>>) =>
          [...all].map(({ born, messageId }): readonly [string, string | undefined] => [messageId, born])
        assert.deepStrictEqual(told([early!]), [["9-9", undefined]])

        const next = Effect.map(StreamConsumer.next(group, { consumer: "n" }), Option.getOrThrow)
        assert.deepStrictEqual(told([yield* next, yield* next]), expected.slice(1, 3))
        const waiting = Effect.map(StreamConsumer.next(group, { consumer: "n", block: "1 second" }), Option.getOrThrow)
        assert.deepStrictEqual(told([yield* waiting]), expected.slice(3, 4))
        const read = yield* Effect.scoped(deliveries(group, 3, "r"))
        assert.deepStrictEqual(told(read), expected.slice(4))
        // The deliveries that were not begun are taken again: by its own consumer, and by others.
        const redis = yield* Redis.Redis
        const ids = (yield* pendingOf(group)).map(({ id }) => id)
        yield* redis.command("XCLAIM", group.stream, group.group, "own", "0", ...ids)
        const own = yield* Effect.scoped(deliveries(group, 7, "own"))
        assert.deepStrictEqual(told(own), expected)
        yield* redis.command("XCLAIM", group.stream, group.group, "dead", "0", ...ids, "IDLE", "1000")
        const stale = yield* Reclaim.once(group, { consumer: "s", count: 7 })
        assert.deepStrictEqual(told(stale), expected)
        yield* redis.command("XCLAIM", group.stream, group.group, "dead", "0", ...ids, "IDLE", "1000")
        const scanned = yield* Reclaim.once(group, { consumer: "t", count: 7, takeOwn: false })
        assert.deepStrictEqual(told(scanned), expected)
        // Reading has changed nothing of it.
        assert.strictEqual(yield* identity, born)
        yield* Effect.forEach(scanned, Delivery.use(() => Effect.void))
        yield* expectNothingLeft(group)
      }))

    it.scoped("reading never makes one", () =>
      Effect.gen(function*() {
        const { group, identity, send } = yield* withIdentity
        yield* send(3)
        yield* Effect.forEach(yield* deliveries(group, 3), Delivery.use(() => Effect.void))
        yield* Reclaim.once(group, { consumer: "b", count: 1 })
        assert.isUndefined(yield* identity)
      }))

    it.scoped("where it may not be read, nothing is taken: to miss it would be to misname the entries", () =>
      Effect.gen(function*() {
        const { group, send, stream } = yield* withIdentity
        const redis = yield* Redis.Redis
        const { url } = yield* RedisServer.RedisServer
        yield* send(1)
        const user = randomUUID()
        yield* redis.command(
          "ACL",
          "SETUSER",
          user,
          "on",
          "nopass",
          "+@all",
          "&*",
          `~${stream}`,
          `~${group.deadLetterStream}`
        )
        yield* Effect.addFinalizer(() => Effect.ignore(redis.command("ACL", "DELUSER", user)))
        const own = new URL(Redacted.value(url))
        own.username = user
        own.password = "none"
        const limited = yield* connect({ url: Redacted.make(own.href) })
        const error = yield* StreamConsumer.stream(group, { consumer: "a" }).pipe(
          Stream.runDrain,
          Effect.provideService(Redis.Redis, limited),
          Effect.flip
        )
        assert.strictEqual(error._tag, "NoPermission")
        assert.deepStrictEqual(yield* pendingOf(group), [])
      }))
  })
}

layer(RedisServer.layerOwn({ args: ["--cluster-enabled", "yes"] }), { excludeTestServices: true })(
  "StreamIdentity",
  (it) => {
    it.scoped("in a cluster it lives in its stream's slot; a stream that has no such place is read as ever", () =>
      Effect.gen(function*() {
        const redis = yield* Redis.Redis
        yield* redis.command("CLUSTER", "ADDSLOTSRANGE", "0", "16383")
        yield* until(redis.command("CLUSTER", "INFO"), (info) => String(info).includes("cluster_state:ok"))
        for (const stream of ["orders", "a{b}c", "a}b", "x{}}y"]) {
          const { group } = yield* freshGroup()
          const own = { ...group, stream }
          yield* ConsumerGroup.create(own)
          const created = yield* Effect.either(StreamIdentity.create(own))
          assert.strictEqual(created._tag, stream.includes("}") && stream !== "a{b}c" ? "Left" : "Right", stream)
          yield* redis.command("XADD", stream, "*", "data", `{"number":1}`)
          const [delivery] = yield* deliveries(own, 1)
          assert.strictEqual(delivery!.born !== undefined, created._tag === "Right")
          yield* Delivery.use(delivery!, () => Effect.void)
        }
      }).pipe(Effect.scoped, Effect.provide(RedisFromServer)))
  }
)
