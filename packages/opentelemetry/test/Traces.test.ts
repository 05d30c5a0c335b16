import { SqlClient } from "@effect/sql/SqlClient"
import { expect, layer } from "@effect/vitest"
import * as Transaction from "@safesync/mysql/Transaction"
import * as Otlp from "@safesync/opentelemetry/Otlp"
import * as ConsumerGroup from "@safesync/redis-streams/ConsumerGroup"
import * as Redis from "@safesync/redis-streams/Redis"
import * as RedisStreamsMetrics from "@safesync/redis-streams/RedisStreamsMetrics"
import * as StreamConsumer from "@safesync/redis-streams/StreamConsumer"
import * as StreamProducer from "@safesync/redis-streams/StreamProducer"
import * as TraceContext from "@safesync/redis-streams/TraceContext"
import { until } from "@safesync/testkit/Eventually"
import * as MysqlServer from "@safesync/testkit/MysqlServer"
import * as Disposition from "@safesync/worker/Disposition"
import * as Worker from "@safesync/worker/Worker"
import * as WorkerMetrics from "@safesync/worker/WorkerMetrics"
import * as Chunk from "effect/Chunk"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import { collector, type Span } from "./collector.js"
import { payments, RedisLive, run, Servers } from "./fixture.js"
import { Payment } from "./processes/settings.js"

const bench = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.provide(Effect.scoped(effect), Layer.merge(MysqlServer.database(), RedisLive))

const groupOf = (stream: string) =>
  Effect.tap(
    ConsumerGroup.make({ stream, group: "g", schema: Payment, startId: "0", minIdle: "1 minute" }),
    ConsumerGroup.create
  )

const attribute = (span: Span, key: string) => Object.values(span.attributes.find((_) => _.key === key)?.value ?? {})[0]

layer(Servers, { excludeTestServices: true })("traces", (it) => {
  it.effect(
    "one trace goes from the request to COMMIT and the ack, across two processes",
    () =>
      bench(Effect.gen(function*() {
        const { balance, settings, stream } = yield* payments([1, 1, 1])
        const { endpoint, received } = yield* collector
        const variables = (name: string) => ({
          OTEL_TRACES_EXPORTER: "otlp",
          OTEL_EXPORTER_OTLP_ENDPOINT: endpoint,
          OTEL_SERVICE_NAME: name,
          OTEL_BSP_SCHEDULE_DELAY: "100"
        })
        const worker = yield* run("worker", settings, variables("billing"))
        const producer = yield* run("producer", settings, variables("shop"))
        expect(yield* producer.ended).toBe(0)
        yield* until(balance, (n) => n === 3)
        yield* until(Effect.sync(() => received.named(`ack ${stream}`).length), (n) => n === 3)
        yield* worker.stop
        expect(yield* worker.ended).toBe(0)
        expect(received.services).toEqual(new Set(["shop", "billing"]))

        const requests = received.named("POST /payments")
        expect(new Set(requests.map((_) => _.traceId)).size).toBe(3)
        for (const request of requests) {
          const trace = received.spans.filter((span) => span.traceId === request.traceId)
          const child = (parent: Span, name: string) => {
            const found = trace.filter((span) => span.parentSpanId === parent.spanId && span.name === name)
            expect(found.map((_) => _.name)).toEqual([name])
            return found[0]!
          }
          const sent = child(request, `send ${stream}`)
          const processed = child(sent, `process ${stream}`)
          const transaction = child(processed, "transaction")
          const lock = child(transaction, "SELECT account")
          const commit = child(transaction, "COMMIT")
          const ack = child(processed, `ack ${stream}`)
          // the order of it all: what is written is durable before the message is acked
          expect(BigInt(lock.endTimeUnixNano) <= BigInt(commit.startTimeUnixNano)).toBe(true)
          expect(BigInt(commit.endTimeUnixNano) <= BigInt(ack.startTimeUnixNano)).toBe(true)
          const id = attribute(sent, "messaging.message.id")
          expect(attribute(processed, "messaging.message.id")).toBe(id)
          expect(attribute(ack, "messaging.message.id")).toBe(id)
          expect(attribute(commit, "db.operation.name")).toBe("COMMIT")
          expect(attribute(commit, "db.system.name")).toBe("mysql")
          expect(attribute(transaction, "db.namespace")).toBe(new URL(settings.mysql).pathname.slice(1))
        }
        // a read brings entries of several traces: it belongs to none of them
        expect(received.named(`receive ${stream}`).length).toBeGreaterThan(0)
      })),
    60_000
  )

  it.effect("a message's span links to its sender's by default, and that of a batch to all of them", () =>
    bench(Effect.gen(function*() {
      const { stream } = yield* payments([])
      const { endpoint, received } = yield* collector
      const group = yield* groupOf(stream)
      const producer = yield* StreamProducer.make({ stream, schema: Payment, traceContext: true })
      const send = StreamProducer.send(producer, { account: 1, pence: 1 })
      const source = (count: number) => Stream.take(StreamConsumer.stream(group, { consumer: "a" }), count)
      const options = { inbox: "message-id", onFailure: () => Disposition.stop } as const
      const before = WorkerMetrics.handlerDuration.unsafeValue(RedisStreamsMetrics.labels(stream)).count
      yield* Effect.scoped(Effect.provide(
        Effect.gen(function*() {
          yield* send
          yield* Effect.withSpan(Worker.run(source(1), () => Effect.void, { ...options, concurrency: 1 }), "main")
          yield* Effect.all([send, send, send])
          yield* Worker.runBatch(source(3), () => Effect.void, { ...options, size: 3, within: "5 seconds" })
        }),
        Otlp.traces({ endpoint, serviceName: "test" })
      ))
      const ids = ({ spanId, traceId }: { readonly spanId: string; readonly traceId: string }) => ({ spanId, traceId })
      const sent = received.named(`send ${stream}`)
      const [one, batch] = received.named(`process ${stream}`)
      expect(one!.parentSpanId).toBeUndefined()
      expect(one!.traceId).not.toBe(sent[0]!.traceId)
      expect(one!.links.map(ids)).toEqual([ids(sent[0]!)])
      expect(batch!.links.map(ids)).toEqual(sent.slice(1).map(ids))
      expect(attribute(batch!, "messaging.batch.message_count")).toBeDefined()
      expect(WorkerMetrics.handlerDuration.unsafeValue(RedisStreamsMetrics.labels(stream)).count - before).toBe(4)
    })))

  it.effect("a span that failed says with what error, and the state of a trace goes on with it", () =>
    bench(Effect.gen(function*() {
      const { stream } = yield* payments([])
      const { endpoint, received } = yield* collector
      const redis = yield* Redis.Redis
      const producer = yield* StreamProducer.make({ stream, schema: Payment, traceContext: true })
      const group = yield* groupOf(stream)
      const came = {
        traceparent: `00-${"a".repeat(32)}-${"b".repeat(16)}-01`,
        tracestate: "vendor=1,other=2"
      }
      yield* Effect.scoped(Effect.provide(
        Effect.gen(function*() {
          const parent = Option.getOrThrow(TraceContext.fromHeaders(came))
          yield* Effect.withSpan(StreamProducer.send(producer, { account: 1, pence: 1 }), "POST /payments", { parent })
          const [delivery] = Chunk.toReadonlyArray(
            yield* Stream.runCollect(Stream.take(StreamConsumer.stream(group, { consumer: "a" }), 1))
          )
          expect(delivery!.headers).toMatchObject({ tracestate: came.tracestate })
          expect(delivery!.headers["traceparent"]).toContain("a".repeat(32))
          yield* redis.command("DEL", stream)
          yield* redis.command("SET", stream, "no stream")
          yield* Effect.flip(StreamProducer.send(producer, { account: 1, pence: 1 }))
        }),
        Otlp.traces({ endpoint, serviceName: "test" })
      ))
      const [sent, failed] = received.named(`send ${stream}`)
      expect(attribute(sent!, "error.type")).toBeUndefined()
      expect(attribute(failed!, "error.type")).toBe("WrongType")
    })))

  it.effect("the server's own lists show the span of a statement, if that was asked for", () =>
    bench(Effect.gen(function*() {
      const { endpoint, received } = yield* collector
      const sql = yield* SqlClient
      const seen = (sqlComments: boolean) =>
        Transaction.run(
          Effect.map(
            sql<{ text: string }>`SELECT INFO AS text, ${"it's ?"} AS bound FROM performance_schema.processlist
              WHERE ID = CONNECTION_ID()`,
            ([row]) => row!.text
          ),
          { sqlComments }
        )
      const texts = yield* Effect.scoped(Effect.provide(
        Effect.all([seen(true), seen(false), seen(true)]),
        Otlp.traces({ endpoint, serviceName: "test" })
      ))
      const spans = received.named("transaction")
      expect(texts[0]).toContain(`/*traceparent='00-${spans[0]!.traceId}-${spans[0]!.spanId}-01'*/`)
      expect(texts[1]).not.toContain("traceparent")
      expect(texts[2]).toContain(spans[2]!.spanId)
      // each was prepared for one use, and is forgotten
      const [row] = yield* sql<{ n: number }>`SELECT COUNT(*) AS n FROM performance_schema.prepared_statements_instances
        WHERE SQL_TEXT LIKE 'SELECT INFO%traceparent=%'`
      expect(row!.n).toBe(0)
      // nobody collects spans: there is none to name
      expect(yield* seen(true)).not.toContain("traceparent")
    })))
})
