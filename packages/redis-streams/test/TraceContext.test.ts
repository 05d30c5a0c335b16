import { assert, layer } from "@effect/vitest"
import * as Delivery from "@safesync/redis-streams/Delivery"
import * as StreamProducer from "@safesync/redis-streams/StreamProducer"
import * as TraceContext from "@safesync/redis-streams/TraceContext"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Tracer from "effect/Tracer"
import { deliveries, freshGroup, Order, order, RedisLive } from "./fixture.js"
import { type Recorded, recording } from "./recording.js"

layer(RedisLive, { excludeTestServices: true })("TraceContext", (it) => {
  it.effect("a header that nobody can have written is none", () =>
    Effect.sync(() => {
      const span = Tracer.externalSpan({ traceId: "a".repeat(32), spanId: "b".repeat(16), sampled: false })
      const headers = TraceContext.toHeaders(span)
      assert.deepStrictEqual(headers, { traceparent: `00-${span.traceId}-${span.spanId}-00` })
      const { context: _, ...back } = Option.getOrThrow(TraceContext.fromHeaders(headers))
      const { context: __, ...sent } = span
      assert.deepStrictEqual(back, sent)
      for (
        const traceparent of [
          "",
          "00",
          `ff-${span.traceId}-${span.spanId}-01`,
          `00-${"0".repeat(32)}-${span.spanId}-01`,
          `00-${span.traceId}-${"0".repeat(16)}-01`,
          `00-${span.traceId.toUpperCase()}-${span.spanId}-01`
        ]
      ) {
        assert.isTrue(Option.isNone(TraceContext.fromHeaders({ traceparent })), traceparent)
      }
    }))

  it.scoped("send, receive and ack are spans, by the conventions for messaging", () =>
    Effect.gen(function*() {
      const { spans, tracer } = recording()
      const { group, stream } = yield* freshGroup()
      const producer = yield* StreamProducer.make({ stream, schema: Order, traceContext: true })
      yield* Effect.gen(function*() {
        const id = yield* StreamProducer.send(producer, order(1), { headers: { tenant: "a" } })
        yield* StreamProducer.sendAll(producer, [order(2), order(3)])
        const [first, second] = yield* deliveries(group, 3)
        yield* Delivery.use(first!, () => Effect.void)
        assert.deepStrictEqual(spans.map(({ kind, name }) => [name, kind]), [
          [`send ${stream}`, "producer"],
          [`send ${stream}`, "producer"],
          [`receive ${stream}`, "client"],
          [`ack ${stream}`, "client"]
        ])
        const [one, many, received, acked] = spans
        assert.strictEqual(first!.headers["tenant"], "a")
        assert.strictEqual(first!.headers["traceparent"], `00-${one!.traceId}-${one!.spanId}-01`)
        assert.strictEqual(second!.headers["traceparent"], `00-${many!.traceId}-${many!.spanId}-01`)
        assert.deepInclude(Object.fromEntries(one!.attributes), {
          "messaging.system": "redis",
          "messaging.destination.name": stream,
          "messaging.operation.type": "send",
          "messaging.message.id": id
        })
        assert.strictEqual(many!.attributes.get("messaging.batch.message_count"), 2)
        assert.deepInclude(Object.fromEntries(received!.attributes), {
          "messaging.operation.type": "receive",
          "messaging.consumer.group.name": group.group,
          "messaging.client.id": "a",
          "messaging.batch.message_count": 3
        })
        assert.deepInclude(Object.fromEntries(acked!.attributes), {
          "messaging.operation.name": "ack",
          "messaging.operation.type": "settle",
          "messaging.message.id": id
        })
        assert.isTrue(spans.every((span) => span.status._tag === "Ended"))
      }).pipe(Effect.withTracer(tracer))
    }))

  it.scoped("without a tracer there is no span and no header, and an open span that is not recorded stays so", () =>
    Effect.gen(function*() {
      const { spans, tracer } = recording()
      const { group, stream } = yield* freshGroup()
      const producer = yield* StreamProducer.make({ stream, schema: Order, traceContext: true })
      yield* Effect.withSpan(StreamProducer.send(producer, order(1)), "of Effect's own tracer")
      const unsampled = Tracer.externalSpan({ traceId: "a".repeat(32), spanId: "b".repeat(16), sampled: false })
      yield* StreamProducer.send(producer, order(2)).pipe(Effect.withParentSpan(unsampled), Effect.withTracer(tracer))
      const [first, second] = yield* deliveries(group, 2)
      assert.deepStrictEqual({ ...first!.headers }, {})
      assert.deepStrictEqual({ ...second!.headers }, { ...TraceContext.toHeaders(unsampled) })
      assert.deepStrictEqual(spans, [])
    }))

  it.scoped("a value that does not fit its schema is not told to the trace", () =>
    Effect.gen(function*() {
      const { spans, tracer } = recording()
      const { stream } = yield* freshGroup()
      const producer = yield* StreamProducer.make({
        stream,
        schema: Schema.Struct({ name: Schema.NonEmptyString.pipe(Schema.maxLength(3)) })
      })
      const refused = yield* Effect.flip(StreamProducer.send(producer, { name: "Miller" })).pipe(
        Effect.withTracer(tracer)
      )
      assert.include(refused.message, "Miller")
      const [{ attributes, status }] = spans as [Recorded]
      assert.strictEqual(attributes.get("error.type"), "ParseError")
      assert.notInclude(String(status._tag === "Ended" && status.exit), "Miller")
    }))

  it.scoped("headers are opt-in, since other consumers may refuse them", () =>
    Effect.gen(function*() {
      const { spans, tracer } = recording()
      const { group, producer } = yield* freshGroup()
      yield* Effect.withTracer(StreamProducer.send(producer, order(1)), tracer)
      const [first] = yield* deliveries(group, 1)
      assert.strictEqual(spans.length, 1)
      assert.deepStrictEqual({ ...first!.headers }, {})
    }))
})
