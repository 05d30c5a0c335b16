import { assert, describe, layer } from "@effect/vitest"
import * as Redis from "@safesync/redis-streams/Redis"
import * as Metrics from "@safesync/redis-streams/RedisStreamsMetrics"
import * as StreamProducer from "@safesync/redis-streams/StreamProducer"
import * as RedisServer from "@safesync/testkit/RedisServer"
import * as TcpProxy from "@safesync/testkit/TcpProxy"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import { freshGroup, Order, order, orders, RedisLive, until } from "./fixture.js"
import { recording } from "./recording.js"

/** The numbers of the orders that are there. */
const numbersOf = (stream: string) =>
  Effect.flatMap(Redis.Redis, (redis) =>
    Effect.map(
      redis.command("XRANGE", stream, "-", "+"),
      (entries) =>
        (entries as Array<[string, [string, string]]>).map(([, [, data]]) => JSON.parse(data).number as number)
    ))

layer(RedisLive, { excludeTestServices: true })("StreamProducer", (it) => {
  it.scoped("sendAll keeps the order and answers with the ids in order, of a long generator too", () =>
    Effect.gen(function*() {
      const { producer, stream } = yield* freshGroup()
      const redis = yield* Redis.Redis
      const values = function*() {
        for (let i = 0; i < 1000; i++) {
          yield order(i)
        }
      }
      const ids = yield* StreamProducer.sendAll(producer, values())
      const entries = (yield* redis.command("XRANGE", stream, "-", "+")) as Array<[string, [string, string]]>
      assert.deepStrictEqual(entries.map(([id]) => id), ids)
      assert.deepStrictEqual(entries.map(([, [, data]]) => JSON.parse(data).number), ids.map((_, i) => i))
    }))

  describe("sendAll", () => {
    it.scoped("hands its trace on with every entry, in every batch", () =>
      Effect.gen(function*() {
        const { stream } = yield* freshGroup()
        const redis = yield* Redis.Redis
        const { spans, tracer } = recording()
        const producer = yield* StreamProducer.make({ stream, schema: Order, traceContext: true })
        yield* Effect.withTracer(StreamProducer.sendAll(producer, orders(600)), tracer)
        const entries = (yield* redis.command("XRANGE", stream, "-", "+")) as Array<[string, Array<string>]>
        const { spanId, traceId } = spans[0]!
        assert.deepStrictEqual(
          entries.map(([, fields]) => fields),
          orders(600).map(({ number }) => ["data", `{"number":${number}}`, "traceparent", `00-${traceId}-${spanId}-01`])
        )
      }))

    it.scoped("fails with the value that does not fit, asks for no other, and what was sent before it stays sent", () =>
      Effect.gen(function*() {
        const { producer, stream } = yield* freshGroup()
        let asked = 0
        const values = function*() {
          for (const value of orders(1000)) {
            asked++
            yield value.number === 300 ? ({ number: 1.5 } as Order) : value
          }
        }
        assert.strictEqual((yield* Effect.flip(StreamProducer.sendAll(producer, values())))._tag, "ParseError")
        assert.strictEqual(asked, 300)
        const sent = yield* numbersOf(stream)
        assert.deepStrictEqual(sent, orders(256).map(({ number }) => number))
        assert.strictEqual(Metrics.messagesSent.unsafeValue(Metrics.labels(stream)).count, sent.length)
      }))

    it.scoped("a batch of long values is sent before it is full, and is no matter of the count alone", () =>
      Effect.gen(function*() {
        const { stream } = yield* freshGroup()
        const redis = yield* Redis.Redis
        const Long = Schema.String.pipe(Schema.maxLength(3_000_000))
        const producer = yield* StreamProducer.make({ stream, schema: Long })
        const values = [2, 3, 1, 4].map((megabytes) => "x".repeat(megabytes * 1_000_000))
        assert.strictEqual((yield* Effect.flip(StreamProducer.sendAll(producer, values)))._tag, "ParseError")
        assert.strictEqual(yield* redis.command("XLEN", stream), 2)
      }))

    it.scoped("fails with what the server refuses in the midst of a batch, and what was sent before it stays sent", () =>
      Effect.gen(function*() {
        const { producer, stream } = yield* freshGroup()
        const redis = yield* Redis.Redis
        // There are five ids left.
        yield* redis.commands([["XADD", stream, "1", "data", "{}"], ["XDEL", stream, "1-0"]])
        yield* redis.command("XSETID", stream, "18446744073709551615-18446744073709551610")
        const error = yield* Effect.flip(StreamProducer.sendAll(producer, orders(300)))
        assert.strictEqual(error._tag, "CommandFailed")
        assert.deepStrictEqual(yield* numbersOf(stream), [1, 2, 3, 4, 5])
      }))

    it.scoped("a connection that is lost between batches is an unknown outcome, and what was sent before stays sent", () =>
      Effect.gen(function*() {
        const { producer, stream } = yield* freshGroup()
        const { url } = yield* RedisServer.RedisServer
        const proxy = yield* TcpProxy.make(url)
        yield* proxy.loseRequest(`{"number":257}`)
        const error = yield* StreamProducer.sendAll(producer, orders(1000)).pipe(
          Effect.flip,
          Effect.provide(Layer.fresh(Redis.layer({ url: proxy.through(url) })))
        )
        assert.strictEqual(error._tag === "RedisConnectionLost" && error.outcome, "unknown")
        assert.deepStrictEqual(yield* numbersOf(stream), orders(256).map(({ number }) => number))
      }))
  })

  describe("sendOnce", () => {
    it.scoped("a second send under the same key is the first entry", () =>
      Effect.gen(function*() {
        const { producer, stream } = yield* freshGroup()
        const redis = yield* Redis.Redis
        const first = yield* StreamProducer.sendOnce(producer, order(1), { key: "a", remember: "1 minute" })
        const again = yield* StreamProducer.sendOnce(producer, order(1), { key: "a", remember: "1 minute" })
        const other = yield* StreamProducer.sendOnce(producer, order(2), {
          key: "b",
          remember: "1 minute",
          headers: { key: "c-1" }
        })
        assert.deepStrictEqual([first.isNew, again, other.isNew], [true, { id: first.id, isNew: false }, true])
        assert.deepStrictEqual(yield* redis.command("XRANGE", stream, "-", "+"), [
          [first.id, ["data", `{"number":1}`]],
          [other.id, ["data", `{"number":2}`, "key", "c-1"]]
        ])
        yield* redis.command("DEL", `{${stream}}:sent:a`, `{${stream}}:sent:b`)
      }))

    it.scoped("many at once under one key, from several connections, make one entry", () =>
      Effect.gen(function*() {
        const { producer, stream } = yield* freshGroup()
        const redis = yield* Redis.Redis
        const { url } = yield* RedisServer.RedisServer
        const send = Effect.forEach(
          Array.from({ length: 50 }),
          () => StreamProducer.sendOnce(producer, order(1), { key: "a", remember: "1 minute" }),
          { concurrency: "unbounded" }
        )
        const sent = yield* Effect.all(
          [send, send, send].map((send) => Effect.provide(send, Layer.fresh(Redis.layer({ url })))),
          { concurrency: 3 }
        )
        assert.strictEqual(sent.flat().filter(({ isNew }) => isNew).length, 1)
        assert.strictEqual(new Set(sent.flat().map(({ id }) => id)).size, 1)
        assert.strictEqual(yield* redis.command("XLEN", stream), 1)
        yield* redis.command("DEL", `{${stream}}:sent:a`)
      }))

    it.scoped("L21: a lost reply and a retry make one entry; what was remembered outlives a killed server", () =>
      Effect.gen(function*() {
        const { control, url } = yield* RedisServer.RedisServer
        const proxy = yield* TcpProxy.make(url)
        yield* Effect.gen(function*() {
          const { producer, stream } = yield* freshGroup()
          const redis = yield* Redis.Redis
          const send = StreamProducer.sendOnce(producer, order(1), { key: "a", remember: "1 minute" })
          yield* StreamProducer.sendOnce(producer, order(0), { key: "warm", remember: "1 minute" })
          const lost = yield* proxy.loseReplies("sent:a")
          const failure = yield* Effect.flip(send)
          assert.strictEqual(failure._tag === "RedisConnectionLost" && failure.outcome, "unknown")
          yield* lost
          const { kill, start } = Option.getOrThrow(control)
          yield* Effect.zipRight(kill, start)
          const sent = yield* Effect.retry(send, Schedule.spaced("10 millis"))
          assert.isFalse(sent.isNew)
          const entries = (yield* redis.command("XRANGE", stream, "-", "+")) as Array<[string, unknown]>
          assert.deepStrictEqual(entries.map(([id]) => id).slice(1), [sent.id])
        }).pipe(Effect.scoped, Effect.provide(Redis.layer({ url: proxy.through(url) })))
      }).pipe(Effect.provide(RedisServer.layerOwn({ appendonly: true }))))

    it.scoped("a key is forgotten when it was remembered for long enough, and not before", () =>
      Effect.gen(function*() {
        const { producer, stream } = yield* freshGroup()
        const redis = yield* Redis.Redis
        const send = StreamProducer.sendOnce(producer, order(1), { key: "a", remember: "1 hour" })
        yield* send
        const left = (yield* redis.command("PTTL", `{${stream}}:sent:a`)) as number
        assert.isTrue(left > 3_590_000 && left <= 3_600_000)
        yield* redis.command("PEXPIRE", `{${stream}}:sent:a`, "1")
        assert.isTrue((yield* until(send, ({ isNew }) => isNew)).isNew)
        assert.strictEqual(yield* redis.command("XLEN", stream), 2)
        yield* redis.command("DEL", `{${stream}}:sent:a`)
      }))

    it.scoped("sendOnce refuses what can never work, and says what the server refuses", () =>
      Effect.gen(function*() {
        const { producer, stream } = yield* freshGroup()
        const redis = yield* Redis.Redis
        const refusal = (settings: { readonly key: string; readonly remember: Duration.DurationInput }) =>
          Effect.map(
            Effect.flip(StreamProducer.sendOnce(producer, order(1), settings)),
            (error) => error._tag === "InvalidOptions" ? error.option : error._tag
          )
        assert.strictEqual(yield* refusal({ key: "", remember: "1 minute" }), "key")
        assert.strictEqual(yield* refusal({ key: "a", remember: 0 }), "remember")
        yield* redis.commands([["DEL", stream], ["SET", stream, "text"]])
        assert.strictEqual(yield* refusal({ key: "a", remember: "1 minute" }), "WrongType")
        // Nothing is remembered that was not sent.
        assert.strictEqual(yield* redis.command("EXISTS", `{${stream}}:sent:a`), 0)
      }))
  })

  describe("sendIdempotent", () => {
    it.scoped("a repetition after a lost reply is the first entry where the server has IDMP, and refused where it has not", () =>
      Effect.gen(function*() {
        const { producer, stream } = yield* freshGroup()
        const redis = yield* Redis.Redis
        const { url } = yield* RedisServer.RedisServer
        const proxy = yield* TcpProxy.make(url)
        const send = (number: number, settings: { readonly producerId: string; readonly idempotentId: string }) =>
          StreamProducer.sendIdempotent({ ...producer, trim: { maxLength: 1000 } }, order(number), settings)
        if (!(yield* redis.capabilities).has("idempotent-add")) {
          const refused = yield* Effect.flip(send(1, { producerId: "p", idempotentId: "1" }))
          assert.strictEqual(refused._tag, "ServerTooOld")
          assert.include(refused.message, "Redis 8.6")
          assert.deepStrictEqual(yield* numbersOf(stream), [])
          return
        }
        yield* proxy.loseReplies("XADD")
        const lost = yield* send(1, { producerId: "p", idempotentId: "1" }).pipe(
          Effect.flip,
          Effect.provide(Layer.fresh(Redis.layer({ url: proxy.through(url) })))
        )
        assert.strictEqual(lost._tag === "RedisConnectionLost" && lost.outcome, "unknown")
        const sent = [
          yield* send(1, { producerId: "p", idempotentId: "1" }),
          yield* send(2, { producerId: "p", idempotentId: "2" }),
          yield* send(3, { producerId: "q", idempotentId: "1" })
        ]
        const entries = (yield* redis.command("XRANGE", stream, "-", "+")) as ReadonlyArray<[id: string]>
        assert.deepStrictEqual(entries.map(([id]) => id), sent)
      }))

    it.scoped("an empty id is refused before anything is sent", () =>
      Effect.gen(function*() {
        const { producer, stream } = yield* freshGroup()
        for (const settings of [{ producerId: "", idempotentId: "1" }, { producerId: "p", idempotentId: "" }]) {
          const refused = yield* Effect.flip(StreamProducer.sendIdempotent(producer, order(1), settings))
          assert.strictEqual(refused._tag, "InvalidOptions")
        }
        assert.deepStrictEqual(yield* numbersOf(stream), [])
      }))
  })

  it.scoped("what the server refuses is a typed error", () =>
    Effect.gen(function*() {
      const { producer, stream } = yield* freshGroup()
      const redis = yield* Redis.Redis
      yield* redis.command("DEL", stream)
      yield* redis.command("SET", stream, "text")
      assert.strictEqual((yield* Effect.flip(StreamProducer.send(producer, order(1))))._tag, "WrongType")
      assert.strictEqual((yield* Effect.flip(StreamProducer.sendAll(producer, [order(1)])))._tag, "WrongType")
    }))

  it.scoped("a value that does not fit its schema is a ParseError, and nothing is sent", () =>
    Effect.gen(function*() {
      const { producer, stream } = yield* freshGroup()
      const redis = yield* Redis.Redis
      const error = yield* Effect.flip(StreamProducer.send(producer, { number: 1.5 } as Order))
      assert.strictEqual(error._tag, "ParseError")
      assert.strictEqual(yield* redis.command("XLEN", stream), 0)
    }))

  it.effect("make refuses what can never work", () =>
    Effect.gen(function*() {
      const refusal = (settings: { readonly stream?: string; readonly trim?: StreamProducer.Trim }) =>
        Effect.map(
          Effect.flip(StreamProducer.make({ stream: "s", schema: Order, ...settings })),
          (error) => error.option
        )
      assert.strictEqual(yield* refusal({ stream: "" }), "stream")
      assert.strictEqual(yield* refusal({ trim: { maxLength: 0 } }), "trim.maxLength")
      assert.strictEqual(yield* refusal({ trim: { maxAge: 0 } }), "trim.maxAge")
    }))
})
