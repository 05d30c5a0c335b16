/** What every way of sending does around its command: the span, the entry's fields, the count. */
import * as Effect from "effect/Effect"
import type { ParseError } from "effect/ParseResult"
import type * as Tracer from "effect/Tracer"
import * as Metrics from "../RedisStreamsMetrics.js"
import type { Fields, Headers } from "../StreamEntry.js"
import type { StreamProducer } from "../StreamProducer.js"
import * as TraceContext from "../TraceContext.js"

export const sending = <A, B, E, R>(
  { stream }: StreamProducer<A>,
  body: (span: Tracer.Span | undefined) => Effect.Effect<B, E, R>
): Effect.Effect<B, E, R> =>
  TraceContext.useSpan(
    `send ${stream}`,
    () => ({ kind: "producer", attributes: TraceContext.attributes(stream, "send") }),
    body
  )

export const encode = <A>(
  { entry, traceContext }: StreamProducer<A>,
  value: A,
  headers: Headers | undefined
): Effect.Effect<Fields, ParseError> =>
  traceContext
    ? Effect.flatMap(TraceContext.inject(headers), (headers) => entry.encode(value, headers))
    : entry.encode(value, headers)

/** Counts an entry that was made, and answers with its id. */
export const sent = <A>({ stream }: StreamProducer<A>, span: Tracer.Span | undefined, id: string): string => {
  Metrics.messagesSent.unsafeUpdate(1, Metrics.labels(stream))
  span?.attribute("messaging.message.id", id)
  return id
}
