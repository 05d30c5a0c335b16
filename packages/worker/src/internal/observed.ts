/**
 * The time that a delivery took, and its span.
 *
 * @internal
 */
import type { Delivery } from "@safesync/redis-streams/Delivery"
import * as RedisStreamsMetrics from "@safesync/redis-streams/RedisStreamsMetrics"
import * as TraceContext from "@safesync/redis-streams/TraceContext"
import * as Chunk from "effect/Chunk"
import * as Effect from "effect/Effect"
import type * as Tracer from "effect/Tracer"
import * as WorkerMetrics from "../WorkerMetrics.js"

export const observed = <A, E, R>(
  delivery: Delivery<unknown>,
  trace: "link" | "child",
  handle: Effect.Effect<A, E, R>
): Effect.Effect<A, E, R> =>
  TraceContext.useSpan(`process ${delivery.stream}`, () => options(delivery, trace), () => {
    const start = performance.now()
    return Effect.map(handle, (value) => {
      WorkerMetrics.handlerDuration.unsafeUpdate(
        (performance.now() - start) / 1000,
        RedisStreamsMetrics.labels(delivery.stream)
      )
      return value
    })
  })

/** A batch is one transaction for messages of many traces: it begins a trace of its own, which links to all of theirs. */
export const observedBatch = <A, E, R>(
  batch: Chunk.Chunk<Delivery<unknown>>,
  handle: Effect.Effect<A, E, R>
): Effect.Effect<A, E, R> => {
  const { consumer, group, stream } = Chunk.unsafeHead(batch)
  return TraceContext.useSpan(
    `process ${stream}`,
    () => ({
      kind: "consumer",
      root: true,
      attributes: TraceContext.attributes(stream, "process", { group, consumer, count: batch.length }),
      links: Chunk.toReadonlyArray(batch).flatMap(({ headers, messageId }) => {
        const sender = TraceContext.fromHeaders(headers)
        return sender._tag === "None" ? [] : [{
          _tag: "SpanLink" as const,
          span: sender.value,
          attributes: { "messaging.message.id": messageId }
        }]
      })
    }),
    () => {
      const start = performance.now()
      return Effect.map(handle, (value) => {
        const seconds = (performance.now() - start) / 1000
        for (const delivery of batch) {
          WorkerMetrics.handlerDuration.unsafeUpdate(seconds, RedisStreamsMetrics.labels(delivery.stream))
        }
        return value
      })
    }
  )
}

/** Whatever is open where the worker was started is not its messages' trace. */
const options = (delivery: Delivery<unknown>, trace: "link" | "child"): Tracer.SpanOptions => {
  const { attempt, consumer, group, headers, messageId, stream } = delivery
  const sender = TraceContext.fromHeaders(headers)
  const attributes = TraceContext.attributes(stream, "process", { group, consumer, messageId, attempt })
  return sender._tag === "None"
    ? { kind: "consumer", attributes, root: true }
    : trace === "child"
    ? { kind: "consumer", attributes, parent: sender.value }
    : { kind: "consumer", attributes, root: true, links: [{ _tag: "SpanLink", span: sender.value, attributes: {} }] }
}
