/** The rights that the guide tells an administrator to grant are enough, and each of them is used. */
import { assert, layer } from "@effect/vitest"
import * as ConsumerGroup from "@safesync/redis-streams/ConsumerGroup"
import * as DeadLetter from "@safesync/redis-streams/DeadLetter"
import * as Delivery from "@safesync/redis-streams/Delivery"
import * as GroupMetrics from "@safesync/redis-streams/GroupMetrics"
import * as Reclaim from "@safesync/redis-streams/Reclaim"
import * as Redis from "@safesync/redis-streams/Redis"
import * as StreamConsumer from "@safesync/redis-streams/StreamConsumer"
import * as StreamIdentity from "@safesync/redis-streams/StreamIdentity"
import * as StreamProducer from "@safesync/redis-streams/StreamProducer"
import * as RedisServer from "@safesync/testkit/RedisServer"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as fs from "node:fs"
import { connect } from "./fixture.js"

const guide = fs.readFileSync(new URL("../README.md", import.meta.url), "utf8")
const granted = /grant `([^`]+)`/.exec(guide)![1]!.split(" ")

/** A cluster's, which a single server is not asked for. */
const ofCluster = granted.filter((right) => right.startsWith("+cluster"))
const rights = granted.filter((right) => !ofCluster.includes(right))

/**
 * Without them all of this works, by the guide: `CLIENT` wakes reads that wait and names connections, `INFO` tells of a server that loads,
 * `COMMAND DOCS` of what came with Redis 8.4.
 */
const withoutLoss = new Set(["+client", "+info", "+command|docs"])

/** Without what the server is found to be able to do. */
const done = ({ said, seen }: { readonly said: ReadonlyArray<string>; readonly seen: Seen }) => ({
  said,
  seen: { ...seen, capabilities: undefined }
})

const stream = "payments"
const keys = ["~payments", "~{payments}:*"]
const settings = { stream, schema: Schema.String }

/** By what is done, how it ends, and what is seen of it beside: a tag of an error, or what it answers. */
type Seen = Readonly<Record<string, unknown>>

const use = Delivery.use(() => Effect.void)

/** All that a service does, each thing on its own, so that one that is refused does not hide the next. */
const doings = (admin: Redis.Service): Effect.Effect<Seen, unknown, Redis.Redis | Scope.Scope> =>
  Effect.gen(function*() {
    const seen: Record<string, unknown> = {}
    const see = <A, E, R>(name: string, effect: Effect.Effect<A, E, R>, told: (answer: A) => unknown = () => "done") =>
      Effect.map(
        Effect.match(effect, {
          onFailure: (error) => (error as { readonly _tag: string })._tag,
          onSuccess: told
        }),
        (is) => {
          seen[name] = is
        }
      )
    const redis = yield* Redis.Redis
    const group = yield* ConsumerGroup.make({ ...settings, group: "billing", startId: "0", minIdle: "1 hour" })
    const producer = yield* StreamProducer.make(settings)
    const next = Effect.flatMap(StreamConsumer.next(group, { consumer: "a" }), (found) => found)
    const reclaimed = Effect.map(Reclaim.once(group, { consumer: "a", count: 1 }), ([found]) => found!)
    yield* see("capabilities", redis.capabilities, (able) => [...able].sort())
    yield* see("create", ConsumerGroup.create(group))
    // So that what follows has something to do, whatever was refused.
    yield* Effect.ignore(admin.command("XGROUP", "CREATE", stream, group.group, "0", "MKSTREAM"))
    yield* see("identity", Effect.zipRight(StreamIdentity.create(group), StreamIdentity.get(group)))
    yield* see("send", StreamProducer.send(producer, "a"))
    yield* see("sendAll", StreamProducer.sendAll(producer, ["b", "c", "d", "e", "f"]))
    const once = { key: "k", remember: "1 minute" } as const
    yield* see("sendOnce", StreamProducer.sendOnce(producer, "once", once))
    yield* Effect.forEach(
      ["g", "h", "i", "j"],
      (data) => admin.command("XADD", stream, "*", "data", JSON.stringify(data))
    )
    yield* see("use", Effect.scoped(Effect.flatMap(next, use)))
    yield* see("retryAfter", Effect.scoped(Effect.flatMap(next, Delivery.retryAfter(0))))
    // As a worker does with one that has failed, and was delivered often.
    yield* see(
      "failure",
      Effect.scoped(Effect.flatMap(reclaimed, (delivery) =>
        Effect.zipRight(
          Delivery.countFailure(delivery),
          Delivery.useAlone(delivery, 3, () => Effect.void)
        )))
    )
    yield* see("deadLetter", Effect.scoped(Effect.flatMap(next, Delivery.deadLetter("no"))))
    yield* see("replay", Stream.runForEach(DeadLetter.stream(group), (letter) => DeadLetter.replay(group, letter)))
    yield* see("purge", DeadLetter.purge(group, { olderThan: 0 }))
    yield* see("gauges", GroupMetrics.update(group))
    yield* see("ack", ConsumerGroup.ack(group, ["1-0"]))
    yield* see(
      "trim",
      Effect.zipRight(
        StreamProducer.trimAcked(producer),
        StreamProducer.send({ ...producer, trim: { maxLength: 1_000 } }, "last")
      )
    )
    yield* see("remove", ConsumerGroup.removeConsumer(group, "a"))
    yield* see("removeIdle", ConsumerGroup.removeIdleConsumers(group, { idle: "1 hour" }))
    // Keys that were written beside the stream, and not taken away again.
    seen.left = ((yield* admin.command("KEYS", "{payments}:[bf]*:*")) as ReadonlyArray<string>).length
    return seen
  })

layer(RedisServer.layerOwn(), { excludeTestServices: true })("the rights that the guide names", (it) => {
  const withRights = (...granted: ReadonlyArray<string>) =>
    Effect.scoped(Effect.gen(function*() {
      const { url } = yield* RedisServer.RedisServer
      const admin = yield* connect({ url })
      yield* admin.command("FLUSHALL")
      yield* admin.command("SCRIPT", "FLUSH")
      yield* admin.command("ACL", "SETUSER", "app", "reset", "on", ">pass", ...granted)
      const said: Array<string> = []
      const logger = Logger.replace(Logger.defaultLogger, Logger.make(({ message }) => void said.push(String(message))))
      const as = Redacted.make(Redacted.value(url).replace("redis://", "redis://app:pass@"))
      const seen = yield* Effect.provide(doings(admin), Layer.merge(Redis.layer({ url: as }), logger))
      return { seen, said: [...said] }
    }))

  it.effect("are enough", () =>
    Effect.gen(function*() {
      const all = yield* withRights("+@all", "~*")
      // Nothing of it was refused.
      assert.deepStrictEqual(Object.values(all.seen).filter((is) => is !== "done" && typeof is === "string"), [])
      assert.deepStrictEqual(all.said, [])
      assert.deepStrictEqual(yield* withRights(...keys, ...granted), all)
    }))

  it.effect("are needed one by one", () =>
    Effect.gen(function*() {
      const all = yield* withRights(...keys, ...rights)
      for (const right of [...keys, ...rights]) {
        const fewer = yield* withRights(...[...keys, ...rights].filter((one) => one !== right))
        if (withoutLoss.has(right)) assert.deepStrictEqual(done(fewer), done(all), right)
        else assert.notDeepEqual(fewer, all, right)
      }
    }))

  it.effect("are those of the database 0: another one needs SELECT", () =>
    Effect.gen(function*() {
      const { url } = yield* RedisServer.RedisServer
      const admin = yield* connect({ url })
      const as = Redacted.make(
        `${Redacted.value(url).replace("redis://", "redis://other:pass@").replace(/\/\d*$/, "")}/1`
      )
      yield* admin.command("FLUSHALL")
      yield* admin.command("ACL", "SETUSER", "other", "reset", "on", ">pass", ...keys, ...granted)
      const refused = yield* Effect.flip(Effect.scoped(connect({ url: as })))
      assert.strictEqual(refused._tag, "NoPermission")
      yield* admin.command("ACL", "SETUSER", "other", "+select")
      const other = yield* connect({ url: as })
      yield* other.command("XADD", stream, "*", "data", "1")
      assert.strictEqual(yield* admin.command("EXISTS", stream), 0)
    }).pipe(Effect.scoped))
})
