/** A value that does not come back from its JSON is refused by whoever sends it, and not by everybody who reads it. */
import { assert, expect, layer } from "@effect/vitest"
import type * as Redis from "@safesync/redis-streams/Redis"
import * as StreamConsumer from "@safesync/redis-streams/StreamConsumer"
import * as StreamEntry from "@safesync/redis-streams/StreamEntry"
import * as StreamProducer from "@safesync/redis-streams/StreamProducer"
import * as Effect from "effect/Effect"
import * as FastCheck from "effect/FastCheck"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import { isLossless } from "../src/internal/json.js"
import { deliveries, freshStream, Order, RedisLive } from "./fixture.js"

class Customer extends Schema.Class<Customer>("Customer")({ name: Schema.String, since: Schema.Date }) {}

interface Tree {
  readonly name: string
  readonly children: ReadonlyArray<Tree>
}
const Tree: Schema.Schema<Tree> = Schema.Struct({
  name: Schema.String,
  children: Schema.Array(Schema.suspend(() => Tree))
})

/** Its encoding is no input of its decoding. */
const OneWay = Schema.transform(Schema.Literal("in"), Schema.String, {
  strict: false,
  decode: () => "x",
  encode: () => "out"
})

const refused: ReadonlyArray<readonly [name: string, schema: Schema.Schema.AnyNoContext, value: unknown, why: string]> =
  [
    ["NaN", Schema.Number, NaN, "NaN"],
    ["an infinite number", Schema.Struct({ price: Schema.Number }), { price: -Infinity }, "-Infinity, at \"price\""],
    ["a number that is infinite as its schema allows", Schema.Number.pipe(Schema.greaterThan(0)), Infinity, "Infinity"],
    ["a date under DateFromSelf", Schema.DateFromSelf, new Date(0), "Date"],
    ["a date that is none", Schema.Struct({ at: Schema.Date }), { at: new Date(NaN) }, ""],
    ["bytes", Schema.Uint8ArrayFromSelf, new Uint8Array([1]), "Uint8Array"],
    ["bytes in a Buffer", Schema.Unknown, { bytes: Buffer.from("x") }, "Uint8Array"],
    ["a bigint", Schema.BigIntFromSelf, 1n, "bigint"],
    ["a Map", Schema.MapFromSelf({ key: Schema.String, value: Schema.String }), new Map([["a", "b"]]), "Map"],
    ["a Set in an open schema", Schema.Unknown, { tags: new Set(["a"]) }, "Set, at \"tags\""],
    ["an error", Schema.Unknown, new Error("x"), "Error"],
    ["a function", Schema.Unknown, { func: (x: unknown) => x }, "function, at \"func\""],
    ["a symbol", Schema.Object, { symbol: Symbol("x") }, "symbol"],
    ["undefined", Schema.Unknown, undefined, "undefined"],
    ["undefined where nothing may be missing", Schema.UndefinedOr(Schema.String), undefined, "undefined"],
    ["undefined among elements", Schema.Array(Schema.UndefinedOr(Schema.Int)), [1, undefined], "undefined"],
    ["a hole in an array", Schema.Unknown, [, 1], "undefined"],
    ["an Option", Schema.OptionFromSelf(Schema.Int), Option.some(1), "form of its own"],
    ["a function where all is taken", Schema.Struct({}), () => 1, "function"],
    ["a cycle", Schema.Unknown, ((a: Record<string, unknown>) => (a.a = a))({}), "circular"],
    ["an encoding that is not decoded", OneWay, "x", "in"]
  ]

const taken: ReadonlyArray<readonly [name: string, schema: Schema.Schema.AnyNoContext, value: unknown]> = [
  ["a class", Customer, new Customer({ name: "é", since: new Date(5) })],
  ["a property that may be missing", Schema.Struct({ a: Schema.optional(Schema.Int), b: Schema.Int }), { b: 1 }],
  ["a property that is undefined", Schema.Struct({ a: Schema.UndefinedOr(Schema.Int) }), { a: undefined }],
  ["an Option as JSON has it", Schema.Struct({ a: Schema.OptionFromNullOr(Schema.Int) }), { a: Option.none() }],
  ["a bigint as a text", Schema.BigInt, 2n ** 80n],
  ["bytes as a text", Schema.Uint8Array, new Uint8Array([0, 255])],
  ["a tree", Tree, { name: "a", children: [{ name: "b", children: [] }] }],
  ["what only looks like a long number", Schema.Unknown, { "12345678901234567890": "a \"12345678901234567891\\" }],
  ["null in an open schema", Schema.Unknown, [null, { a: [{}] }, 1.5, "x", false]]
]

layer(RedisLive, { excludeTestServices: true })("A value and its JSON", (it) => {
  for (const [name, schema, value, why] of refused) {
    it.scoped(`L17: send refuses what no reader could read: ${name}`, () =>
      Effect.gen(function*() {
        const { producer, redis, stream } = yield* freshStream(schema as Schema.Schema<unknown>)
        const sent = [
          StreamProducer.send(producer, value),
          StreamProducer.sendAll(producer, [value]),
          StreamProducer.sendOnce(producer, value, { key: "k", remember: "1 minute" })
        ]
        for (const error of yield* Effect.all(sent.map((sent) => Effect.flip<unknown, unknown, Redis.Redis>(sent)))) {
          expect(error).toMatchObject({ _tag: "ParseError" })
          assert.include(String((error as Error).message), why)
        }
        assert.strictEqual(yield* redis.command("XLEN", stream), 0)
      }))
  }

  for (const [name, schema, value] of taken) {
    it.scoped(`what is sent arrives as it was: ${name}`, () =>
      Effect.gen(function*() {
        const { group, producer } = yield* freshStream(schema as Schema.Schema<unknown>)
        yield* StreamProducer.send(producer, value)
        expect((yield* deliveries(group, 1))[0]!.value).toEqual(value)
      }))
  }

  it.scoped("a number that is sent arrives as it was, whatever it is", () =>
    Effect.gen(function*() {
      const { decode, encode } = StreamEntry.make(Schema.Unknown)
      const edges = [
        2 ** 53,
        2 ** 53 + 2,
        2 ** 60,
        2 ** 63,
        2 ** 64,
        -(2 ** 64),
        1e20,
        1e21,
        1e22,
        123456789012345680000
      ]
      const finite = FastCheck.sample(FastCheck.double({ noDefaultInfinity: true, noNaN: true }), 1_000)
      for (const number of [...edges, ...finite]) {
        const { value } = yield* Effect.flatMap(encode([number]), decode)
        expect(value).toEqual([number === 0 ? 0 : number])
      }
    }))

  it.scoped("a whole number of Python's that a double cannot hold is exact, or refused where a number is asked for", () =>
    Effect.gen(function*() {
      const id = "9223372036854775807"
      const open = yield* freshStream(Schema.Unknown)
      const data =
        `{"id": ${id}, "list": [-${id}, 1, "${id}", {"a\\"": ${id}}], "exact": 9007199254740992, "ratio": 1.0e3}`
      yield* open.redis.command("XADD", open.stream, "*", "data", data)
      const exact = BigInt(id)
      expect((yield* deliveries(open.group, 1))[0]!.value).toEqual({
        id: exact,
        list: [-exact, 1, id, { "a\"": exact }],
        exact: 2 ** 53,
        ratio: 1000
      })

      const { group, redis, stream } = yield* freshStream(Schema.Struct({ list: Schema.Array(Schema.Number) }))
      yield* redis.command("XADD", stream, "*", "data", `{"list": [${id}]}`)
      yield* redis.command("XADD", stream, "*", "data", `{"list": [1], "notAskedFor": ${id}}`)
      expect((yield* deliveries(group, 1))[0]!.value).toEqual({ list: [1] })
      assert.strictEqual(yield* redis.command("XLEN", group.deadLetterStream), 1)
      yield* redis.command("DEL", group.deadLetterStream)
    }))

  it.scoped("half of a surrogate pair, which UTF-8 does not have, is refused in names and headers, and kept in a value", () =>
    Effect.gen(function*() {
      const half = "🎈".slice(0, 1)
      const { group, producer, redis, stream } = yield* freshStream(Schema.String)
      for (const headers of [{ note: half }, { [half]: "note" }]) {
        expect(yield* Effect.flip(StreamProducer.send(producer, "x", { headers }))).toMatchObject({
          _tag: "ParseError"
        })
      }
      const invalid = [
        StreamProducer.sendOnce(producer, "x", { key: half, remember: "1 minute" }),
        StreamProducer.make({ stream: half, schema: Schema.String }),
        StreamConsumer.next(group, { consumer: half })
      ]
      for (
        const error of yield* Effect.all(
          invalid.map((effect) => Effect.flip<unknown, unknown, Redis.Redis | Scope.Scope>(effect))
        )
      ) {
        expect(error).toMatchObject({ _tag: "InvalidOptions" })
      }
      assert.strictEqual(yield* redis.command("XLEN", stream), 0)
      yield* StreamProducer.send(producer, half)
      assert.strictEqual((yield* deliveries(group, 1))[0]!.value, half)
    }))

  it("a schema tells where it can that nothing gets lost, so that its values need not be read again", () => {
    const Event = Schema.Union(
      Schema.TaggedStruct("Paid", { pence: Schema.Int, note: Schema.optional(Schema.String) }),
      Schema.TaggedStruct("Sent", { to: Schema.Record({ key: Schema.String, value: Schema.Array(Schema.Finite) }) })
    )
    const told = [Event, Schema.encodedSchema(Order), Tree, Schema.NullOr(Schema.Boolean), Schema.NonEmptyString]
    assert.deepStrictEqual(told.map(({ ast }) => isLossless(ast)), [true, false, true, true, true])
    for (const [name, schema] of refused) assert.isFalse(isLossless(schema.ast), name)
  })
})
