/** What is on the wire, in both directions, as COTI SafeSync for Python writes and reads it: `json.dumps` in the field `data`. */
import { assert, describe, layer } from "@effect/vitest"
import * as DeadLetter from "@safesync/redis-streams/DeadLetter"
import * as Delivery from "@safesync/redis-streams/Delivery"
import * as Redis from "@safesync/redis-streams/Redis"
import * as StreamEntry from "@safesync/redis-streams/StreamEntry"
import * as StreamProducer from "@safesync/redis-streams/StreamProducer"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { isUtf8 } from "node:buffer"
import { deliveries, expectNothingLeft, freshGroup, freshStream, Order, order, RedisLive } from "./fixture.js"
import { recording } from "./recording.js"

const Message = Schema.Struct({
  text: Schema.String,
  number: Schema.Int,
  whole: Schema.Int,
  ratio: Schema.Number,
  big: Schema.Number,
  tiny: Schema.Number,
  note: Schema.NullOr(Schema.String),
  flags: Schema.Array(Schema.Boolean),
  empty: Schema.Array(Schema.Int),
  at: Schema.DateFromString,
  account: Schema.NumberFromString,
  nested: Schema.Struct({ list: Schema.Tuple(Schema.Int, Schema.Tuple(Schema.Struct({ deep: Schema.Null }))) }),
  names: Schema.Record({ key: Schema.String, value: Schema.String })
})

const message: typeof Message.Type = {
  text: "café 🎈 \"q\" \\ / \u2028 \u0007\n\ud800",
  number: 7,
  whole: 5,
  ratio: 0.1,
  big: 1e22,
  tiny: 1e-7,
  note: null,
  flags: [true, false],
  empty: [],
  at: new Date("2026-11-25T23:51:32.123Z"),
  account: 12345678901,
  nested: { list: [1, [{ deep: null }]] },
  names: { "ключ": "значение" }
}

/** What Python 3 writes for it: spaces after the separators, all beyond ASCII escaped, a sign and two digits in exponents. */
const byPython = [
  String.raw`{"text": "caf\u00e9 \ud83c\udf88 \"q\" \\ / \u2028 \u0007\n\ud800", "number": 7, "whole": 5.0, `,
  String.raw`"ratio": 0.1, "big": 1e+22, "tiny": 1e-07, "note": null, "flags": [true, false], "empty": [], `,
  String.raw`"at": "2026-11-25T23:51:32.123000+00:00", "account": "12345678901", `,
  String.raw`"nested": {"list": [1, [{"deep": null}]]}, `,
  String.raw`"names": {"\u043a\u043b\u044e\u0447": "\u0437\u043d\u0430\u0447\u0435\u043d\u0438\u0435"}}`
].join("")

const freshMessages = freshStream(Message)

/** The fields of every entry, as bytes. */
const rawOf = (stream: string) =>
  Effect.flatMap(
    Redis.Redis,
    (redis) =>
      Effect.map(redis.read("XRANGE", stream, "-", "+"), (reply) =>
        (reply as ReadonlyArray<readonly [Buffer, ReadonlyArray<Buffer>]>).map(([, fields]) => fields))
  )

/** The text that Python's consumer gives to `json.loads`. It refuses what is not one field `data`, or no UTF-8. */
const readByPython = (fields: ReadonlyArray<Buffer>) => {
  assert.strictEqual(fields.length, 2)
  assert.deepStrictEqual(fields[0], Buffer.from("data"))
  assert.isTrue(isUtf8(fields[1]!))
  return fields[1]!.toString()
}

layer(RedisLive, { excludeTestServices: true })("StreamEntry", (it) => {
  describe("Python writes, and it is read here", () => {
    it.scoped("escapes, floats, null and what is nested come out as they went in", () =>
      Effect.gen(function*() {
        const { group, redis, stream } = yield* freshMessages
        yield* redis.command("XADD", stream, "*", "data", byPython)
        const [delivery] = yield* deliveries(group, 1)
        assert.deepStrictEqual(delivery!.value, message)
        assert.deepStrictEqual({ ...delivery!.headers }, {})
      }))

    it.scoped("UTF-8 that nobody has escaped is the same message", () =>
      Effect.gen(function*() {
        const { group, redis, stream } = yield* freshMessages
        const unescaped = byPython.replace(String.raw`caf\u00e9 \ud83c\udf88`, "café 🎈")
        assert.notStrictEqual(unescaped, byPython)
        yield* redis.command("XADD", stream, "*", "data", unescaped)
        assert.deepStrictEqual((yield* deliveries(group, 1))[0]!.value, message)
      }))

    it.scoped("L17: NaN and Infinity, which Python writes and JSON does not have, go to the dead letters as they are", () =>
      Effect.gen(function*() {
        const { group, redis, stream } = yield* freshMessages
        const notJson = ["NaN", "Infinity", "-Infinity"].map((number) => byPython.replace("0.1", number))
        for (const data of notJson) {
          yield* redis.command("XADD", stream, "*", "data", data)
        }
        yield* redis.command("XADD", stream, "*", "data", byPython)
        assert.deepStrictEqual((yield* deliveries(group, 1))[0]!.value, message)
        const dead = yield* rawOf(group.deadLetterStream)
        assert.deepStrictEqual(dead.map((fields) => fields.slice(0, 2).map(String)), notJson.map((_) => ["data", _]))
      }))
  })

  describe("what is sent here, Python reads", () => {
    it.scoped("one field, data, that holds JSON in UTF-8: to the byte", () =>
      Effect.gen(function*() {
        const { group, producer, stream } = yield* freshMessages
        yield* StreamProducer.send(producer, message)
        const [fields] = yield* rawOf(stream)
        assert.strictEqual(
          readByPython(fields!),
          [
            "{\"text\":\"café 🎈 \\\"q\\\" \\\\ / \u2028 \\u0007\\n\\ud800\",\"number\":7,\"whole\":5,\"ratio\":0.1,",
            `"big":1e+22,"tiny":1e-7,"note":null,"flags":[true,false],"empty":[],"at":"2026-11-25T23:51:32.123Z",`,
            `"account":"12345678901","nested":{"list":[1,[{"deep":null}]]},"names":{"ключ":"значение"}}`
          ].join("")
        )
        assert.deepStrictEqual((yield* deliveries(group, 1))[0]!.value, message)
      }))

    it.scoped("however it is sent, and whatever span is open, no other field is written unasked", () =>
      Effect.gen(function*() {
        const { group, stream } = yield* freshGroup()
        const redis = yield* Redis.Redis
        const { tracer } = recording()
        let sent = 0
        const trims = [undefined, { maxLength: 1000 }, { maxLength: 1000, exact: true, unacked: "drop" }] as const
        for (const trim of trims) {
          const producer = yield* StreamProducer.make({ stream, schema: Order, trim })
          yield* Effect.all([
            StreamProducer.send(producer, order(++sent)),
            StreamProducer.send(producer, order(++sent), { headers: {} }),
            StreamProducer.sendAll(producer, [order(++sent), order(++sent)]),
            StreamProducer.sendOnce(producer, order(++sent), { key: `${sent}`, remember: "1 minute" })
          ]).pipe(Effect.withSpan("open"), Effect.withTracer(tracer))
          yield* redis.command("DEL", `{${stream}}:sent:${sent}`)
        }
        const data = (yield* rawOf(stream)).map(readByPython)
        assert.deepStrictEqual(data, Array.from({ length: sent }, (_, i) => `{"number":${i + 1}}`))
        const read = yield* deliveries(group, sent)
        assert.deepStrictEqual(read.map(({ headers }) => ({ ...headers })), data.map(() => ({})))
      }))

    it.scoped("a value that JSON has no text for is a ParseError, and nothing is sent", () =>
      Effect.gen(function*() {
        const { group, stream } = yield* freshGroup()
        const producer = yield* StreamProducer.make({ stream, schema: Schema.UndefinedOr(Schema.BigIntFromSelf) })
        for (const value of [undefined, 1n]) {
          assert.strictEqual((yield* Effect.flip(StreamProducer.send(producer, value)))._tag, "ParseError")
        }
        assert.deepStrictEqual(yield* rawOf(stream), [])
        yield* expectNothingLeft(group)
      }))
  })

  describe("headers", () => {
    it.scoped("are further fields, and only written when there are some", () =>
      Effect.gen(function*() {
        const { producer, stream } = yield* freshGroup()
        const redis = yield* Redis.Redis
        const id = yield* StreamProducer.send(producer, order(7), { headers: { key: "c-1" } })
        const fields = ["data", `{"number":7}`, "key", "c-1"]
        assert.deepStrictEqual(yield* redis.command("XRANGE", stream, "-", "+"), [[id, fields]])
        const decoded = yield* StreamEntry.make(Order).decode(fields)
        assert.deepStrictEqual({ ...decoded.headers }, { key: "c-1" })
        assert.deepStrictEqual(decoded.value, order(7))
      }))

    it.scoped("a header called data is refused: it would take the value's place", () =>
      Effect.gen(function*() {
        const { producer, stream } = yield* freshGroup()
        const redis = yield* Redis.Redis
        const headers = JSON.parse(`{"data":"x"}`) as StreamEntry.Headers
        const error = yield* Effect.flip(StreamProducer.send(producer, order(7), { headers }))
        assert.strictEqual(error._tag, "ParseError")
        assert.strictEqual(yield* redis.command("XLEN", stream), 0)
      }))

    it.scoped("more headers than a script can pass on are refused; the most that are taken also die and are replayed", () =>
      Effect.gen(function*() {
        const { group, producer, stream } = yield* freshGroup()
        const redis = yield* Redis.Redis
        const headers = (count: number) => Object.fromEntries(Array.from({ length: count }, (_, i) => [`h${i}`, "x"]))
        const ways = [
          (headers: StreamEntry.Headers) => StreamProducer.send(producer, order(7), { headers }),
          (headers: StreamEntry.Headers) =>
            StreamProducer.send({ ...producer, trim: { maxLength: 10 } }, order(7), { headers }),
          (headers: StreamEntry.Headers) =>
            Effect.asVoid(StreamProducer.sendOnce(producer, order(7), { key: "a", remember: "1 minute", headers }))
        ]
        for (const way of ways) {
          assert.strictEqual((yield* Effect.flip(Effect.asVoid(way(headers(3_901)))))._tag, "ParseError")
          assert.strictEqual(yield* redis.command("XLEN", stream), 0)
        }
        for (const way of ways) yield* Effect.asVoid(way(headers(3_900)))
        for (const delivery of yield* deliveries(group, 3)) yield* Delivery.deadLetter(delivery, "given up")
        for (const letter of yield* Stream.runCollect(DeadLetter.stream(group))) yield* DeadLetter.replay(group, letter)
        const [again] = yield* deliveries(group, 3)
        assert.strictEqual(again!.headers["h3899"], "x")
        yield* redis.command("DEL", `{${stream}}:sent:a`)
      }))
  })
})
