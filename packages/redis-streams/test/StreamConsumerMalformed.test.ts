import { assert, describe, layer } from "@effect/vitest"
import * as ConsumerGroup from "@safesync/redis-streams/ConsumerGroup"
import * as Redis from "@safesync/redis-streams/Redis"
import * as Metrics from "@safesync/redis-streams/RedisStreamsMetrics"
import * as StreamConsumer from "@safesync/redis-streams/StreamConsumer"
import * as StreamProducer from "@safesync/redis-streams/StreamProducer"
import * as RedisServer from "@safesync/testkit/RedisServer"
import * as Chunk from "effect/Chunk"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as ParseResult from "effect/ParseResult"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { Redis as Client } from "ioredis"
import * as crypto from "node:crypto"
import { withoutValues } from "../src/internal/withoutValues.js"
import {
  deliveries,
  expectNothingLeft,
  freshGroup,
  numberOf,
  type Order,
  order,
  pendingOf,
  RedisLive
} from "./fixture.js"

layer(RedisLive, { excludeTestServices: true })("StreamConsumer", (it) => {
  describe("L17: an entry that cannot be decoded does not stop the stream", () => {
    it.scoped("L17: by default it goes to the dead-letter stream, with its origin and its error", () =>
      Effect.gen(function*() {
        const { group, producer, stream } = yield* freshGroup()
        const redis = yield* Redis.Redis
        yield* StreamProducer.send(producer, order(1))
        const bad = yield* redis.command("XADD", stream, "*", "data", `{"number":"seven"}`)
        const odd = yield* redis.command("XADD", stream, "*", "payload", "x", "payload", "y")
        yield* StreamProducer.send(producer, order(2))
        const seen = yield* StreamConsumer.stream(group, { consumer: "a" }).pipe(
          Stream.mapEffect(numberOf),
          Stream.take(2),
          Stream.runCollect
        )
        assert.deepStrictEqual(Chunk.toReadonlyArray(seen), [1, 2])
        const dead = (yield* redis.command("XRANGE", group.deadLetterStream, "-", "+")) as Array<
          [string, Array<string>]
        >
        assert.deepStrictEqual(dead.map(([, fields]) => fields.slice(0, -1)), [
          [
            ...["data", `{"number":"seven"}`],
            ...["dead.stream", stream, "dead.id", bad, "dead.group", "billing", "dead.consumer", "a"],
            ...["dead.attempts", "1", "dead.reason"]
          ],
          [
            ...["payload", "x", "payload", "y"],
            ...["dead.stream", stream, "dead.id", odd, "dead.group", "billing", "dead.consumer", "a"],
            ...["dead.attempts", "1", "dead.reason"]
          ]
        ])
        assert.include(dead[0]![1].at(-1), "number")
        yield* expectNothingLeft(group)
      }))

    it.scoped("L17: bytes that are no text are kept as they are, and U+FFFD that was sent is text", () =>
      Effect.gen(function*() {
        const { url } = yield* RedisServer.RedisServer
        const redis = yield* Redis.Redis
        const name = `test:${crypto.randomUUID()}`
        const group = yield* ConsumerGroup.make({
          stream: name,
          group: "g",
          schema: Schema.String,
          startId: "0",
          minIdle: "1 minute"
        })
        yield* ConsumerGroup.create(group)
        const client = yield* Effect.acquireRelease(
          Effect.sync(() => new Client(Redacted.value(url))),
          (client) =>
            Effect.promise(async () => {
              await client.del(name, group.deadLetterStream)
              client.disconnect()
            })
        )
        const bytes = Buffer.from([0x22, 0xff, 0xfe, 0x22])
        yield* Effect.promise(() => client.xadd(name, "*", "data", bytes))
        yield* redis.command("XADD", name, "*", "data", "\"\uFFFD ü 🎈\"")
        const [text] = yield* deliveries(group, 1)
        assert.strictEqual(text!.value, "\uFFFD ü 🎈")
        const dead = yield* Effect.promise(() => client.xrangeBuffer(group.deadLetterStream, "-", "+"))
        assert.deepStrictEqual(dead[0]![1][1], bytes)
      }))

    it.scoped("L17: with \"fail\" the good entries come first, then the stream fails and the bad one stays pending", () =>
      Effect.gen(function*() {
        const { group, producer, stream } = yield* freshGroup()
        const redis = yield* Redis.Redis
        yield* StreamProducer.send(producer, order(1))
        const bad = yield* redis.command("XADD", stream, "*", "data", "{\"secret\":")
        yield* StreamProducer.send(producer, order(2))
        const seen: Array<number> = []
        const error = yield* StreamConsumer.stream(group, { consumer: "a", malformed: "fail" }).pipe(
          Stream.mapEffect(numberOf),
          Stream.runForEach((number) => Effect.sync(() => seen.push(number))),
          Effect.flip
        )
        assert.deepStrictEqual(seen, [1, 2])
        assert.strictEqual(error._tag, "MalformedEntry")
        assert.notInclude(error.message, "secret")
        assert.deepStrictEqual((yield* pendingOf(group)).map(({ id }) => id), [bad])
      }))
  })

  describe("L17: an entry that nobody can deal with stays pending, and the stream goes on", () => {
    const good = (group: ConsumerGroup.ConsumerGroup<Order>) =>
      Effect.map(Effect.scoped(Effect.flatMap(deliveries(group, 1), Effect.forEach(numberOf))), ([number]) => number)

    it.scoped("L17: a schema that throws is like one that refuses", () =>
      Effect.gen(function*() {
        const { group, send } = yield* freshGroup()
        const redis = yield* Redis.Redis
        yield* send(2)
        const throwing = {
          ...group,
          entry: {
            ...group.entry,
            decode: (fields: ReadonlyArray<string>) => {
              if (fields[1] === `{"number":1}`) throw new Error("thrown")
              return group.entry.decode(fields)
            }
          }
        }
        assert.strictEqual(yield* good(throwing), 2)
        assert.strictEqual(yield* redis.command("XLEN", group.deadLetterStream), 1)
        yield* expectNothingLeft(group)
      }))

    it.scoped("L17: where there is no dead-letter stream, but something else under its name", () =>
      Effect.gen(function*() {
        const { group, producer, stream } = yield* freshGroup()
        const redis = yield* Redis.Redis
        yield* redis.command("SET", group.deadLetterStream, "no stream")
        const bad = yield* redis.command("XADD", stream, "*", "data", "{")
        yield* StreamProducer.send(producer, order(1))
        assert.strictEqual(yield* good(group), 1)
        assert.deepStrictEqual((yield* pendingOf(group)).map(({ id }) => id), [bad])
      }))

    it.scoped("L17: an entry with more fields than a script can pass on", () =>
      Effect.gen(function*() {
        const { group, producer, stream } = yield* freshGroup()
        const redis = yield* Redis.Redis
        const fields = Array.from({ length: 10_000 }, (_, i) => String(i))
        const bad = yield* redis.command("XADD", stream, "*", ...fields)
        yield* StreamProducer.send(producer, order(1))
        assert.strictEqual(yield* good(group), 1)
        assert.deepStrictEqual((yield* pendingOf(group)).map(({ id }) => id), [bad])
      }))

    it.scoped("L19: one that cannot be decoded and is deleted before it is moved is reported", () =>
      Effect.gen(function*() {
        const { group, producer, stream } = yield* freshGroup()
        const redis = yield* Redis.Redis
        const bad = yield* redis.command("XADD", stream, "*", "data", "{")
        yield* StreamProducer.send(producer, order(1))
        const deleting: Redis.Service = {
          ...redis,
          script: (...args) => Effect.zipRight(redis.command("XDEL", stream, String(bad)), redis.script(...args))
        }
        assert.strictEqual(yield* Effect.provideService(good(group), Redis.Redis, deleting), 1)
        assert.strictEqual(Metrics.messagesDeleted.unsafeValue(Metrics.labels(stream)).count, 1)
        yield* expectNothingLeft(group)
      }))

    it("L17: why an entry does not fit is told without its values and the keys of its records", () => {
      const schema = Schema.Struct({
        names: Schema.Record({ key: Schema.String, value: Schema.Int }),
        list: Schema.Array(Schema.Int)
      })
      const error = ParseResult.decodeUnknownEither(Schema.parseJson(schema), { errors: "all" })(
        `{"names":{"secret":"x"},"list":[1,"y"]}`
      )
      assert.strictEqual(
        withoutValues(ParseResult.parseError(Either.getOrThrow(Either.flip(error)))),
        "Type at names.*, Type at list.1"
      )
    })
  })
})
