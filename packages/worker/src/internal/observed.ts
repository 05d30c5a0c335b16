/**
 * The time that a delivery took, and its span.
 *
 * @internal
 */
import type { Delivery } from "@safesync/redis-streams/Delivery"
import * as RedisStreamsMetrics from "@safesync/redis-streams/RedisStreamsMetrics"
import * as TraceContext from "@safesync/redis-streams/TraceContext"
import * as Effect from "effect/Effect"
import type * as Tracer from "effect/Tracer"
import * as WorkerMetrics from "../WorkerMetrics.js"
import type { Turn } from "./intake.js"

export const observed = <R>(
  turn: Turn<unknown>,
  trace: "link" | "child",
  handle: Effect.Effect<void, never, R>
): Effect.Effect<void, never, R> => {
  const { delivery } = turn
  return Effect.catchAll(
    TraceContext.useSpan(`process ${delivery.stream}`, () => options(delivery, trace), (span) => {
      const start = performance.now()
      return Effect.flatMap(handle, () => {
        WorkerMetrics.handlerDuration.unsafeUpdate(
          (performance.now() - start) / 1000,
          RedisStreamsMetrics.labels(delivery.stream)
        )
        return marked(span, turn.failed)
      })
    }),
    () => Effect.void
  )
}

/** What a span ends with whose message was not handled. It has no message of the handler's, which may hold values. */
class NotHandled extends Error {
  /** The span's `error.type`. */
  constructor(readonly _tag: string, disposition: string) {
    super(`${_tag}: ${disposition}`)
  }
}

const marked = (span: Tracer.Span | undefined, failed: Turn<unknown>["failed"]): Effect.Effect<void, NotHandled> => {
  if (span === undefined || failed === undefined) return Effect.void
  span.attribute("safesync.disposition", failed.disposition)
  return Effect.fail(new NotHandled(failed.type, failed.disposition))
}

/** A batch is one transaction for messages of many traces: it begins a trace of its own, which links to all of theirs. */
export const observedBatch = <R>(
  batch: ReadonlyArray<Turn<unknown>>,
  handle: Effect.Effect<void, never, R>
): Effect.Effect<void, never, R> => {
  const { consumer, group, stream } = batch[0]!.delivery
  return Effect.catchAll(
    TraceContext.useSpan(
      `process ${stream}`,
      () => ({
        kind: "consumer",
        root: true,
        attributes: TraceContext.attributes(stream, "process", { group, consumer, count: batch.length }),
        links: batch.flatMap(({ delivery: { headers, messageId } }) => {
          const sender = TraceContext.fromHeaders(headers)
          return sender._tag === "None" ? [] : [{
            _tag: "SpanLink" as const,
            span: sender.value,
            attributes: { "messaging.message.id": messageId }
          }]
        })
      }),
      (span) => {
        const start = performance.now()
        return Effect.flatMap(handle, () => {
          const seconds = (performance.now() - start) / 1000
          for (const { delivery } of batch) {
            WorkerMetrics.handlerDuration.unsafeUpdate(seconds, RedisStreamsMetrics.labels(delivery.stream))
          }
          return marked(span, batch.find(({ failed }) => failed !== undefined)?.failed)
        })
      }
    ),
    () => Effect.void
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
