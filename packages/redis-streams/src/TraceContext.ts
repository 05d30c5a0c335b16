/**
 * The trace that a message belongs to, in its headers as W3C Trace Context, and the spans of sending, receiving, handling
 * and acking it, by OpenTelemetry's conventions for messaging.
 *
 * Spans are made only while somebody collects them: a tracer other than Effect's own is there, and what goes on is recorded
 * at all. Otherwise their cost is one comparison.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as DefaultServices from "effect/DefaultServices"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as ParseResult from "effect/ParseResult"
import * as Tracer from "effect/Tracer"
import * as described from "./internal/described.js"
import type { Headers } from "./StreamEntry.js"

/**
 * The header that holds the trace: https://www.w3.org/TR/trace-context/#traceparent-header
 *
 * @category headers
 * @since 0.1.0
 */
export const header = "traceparent"

/**
 * The header that holds what tracing systems have to say to each other. It goes on with its trace as it came:
 * https://www.w3.org/TR/trace-context/#tracestate-header
 *
 * @category headers
 * @since 0.1.0
 */
export const stateHeader = "tracestate"

/**
 * The headers that hand a span on to whoever reads the message: `traceparent`, and the `tracestate` that its trace came with.
 *
 * @category headers
 * @since 0.1.0
 */
export const toHeaders = (span: Tracer.AnySpan): Headers => {
  const traceparent = `00-${span.traceId}-${span.spanId}-${span.sampled ? "01" : "00"}`
  const state = stateOf(span)
  return state === undefined ? { [header]: traceparent } : { [header]: traceparent, [stateHeader]: state }
}

/**
 * The span that a message's headers hand on; none if there is none, or one that nobody can have written.
 *
 * @category headers
 * @since 0.1.0
 */
export const fromHeaders = (headers: Headers): Option.Option<Tracer.ExternalSpan> => {
  const found = /^(?!ff)[\da-f]{2}-(?!0{32})([\da-f]{32})-(?!0{16})([\da-f]{16})-([\da-f]{2})/.exec(
    headers[header] ?? ""
  )
  if (found === null) return Option.none()
  const state = headers[stateHeader]
  return Option.some(Tracer.externalSpan({
    traceId: found[1]!,
    spanId: found[2]!,
    sampled: (Number.parseInt(found[3]!, 16) & 1) === 1,
    // Longer than a header that everybody must pass on is nobody's.
    context: state === undefined || !/^[\x20-\x7e]{1,512}$/.test(state) ? Context.empty() : Context.make(State, state)
  }))
}

/**
 * The given headers with those of the span that is open, if there is one and spans are collected.
 *
 * @category headers
 * @since 0.1.0
 */
export const inject = (headers: Headers | undefined): Effect.Effect<Headers | undefined> =>
  Effect.withFiberRuntime((fiber) => {
    const span = isCollected(fiber) ? openSpan(fiber) : undefined
    return Effect.succeed(span === undefined ? headers : { ...headers, ...toHeaders(span) })
  })

/**
 * Runs an effect in a span of its own, which it is given; in none where spans are not collected or what is open is not
 * recorded. If the effect fails, the span has the `error.type` of its cause. `options` are asked for only if there is a span.
 *
 * @category spans
 * @since 0.1.0
 */
export const useSpan = <A, E, R>(
  name: string,
  options: () => Tracer.SpanOptions,
  body: (span: Tracer.Span | undefined) => Effect.Effect<A, E, R>
): Effect.Effect<A, E, R> =>
  Effect.withFiberRuntime<A, E, R>((fiber) => {
    if (!isCollected(fiber)) {
      return body(undefined)
    }
    const given = { captureStackTrace: false, ...options() }
    const parent = given.parent ?? (given.root === true ? undefined : openSpan(fiber))
    if (parent?.sampled === false) {
      return given.parent === undefined ? body(undefined) : inSpan(body(undefined), given.parent)
    }
    let withheld: Cause.Cause<E> | undefined
    const traced = Effect.useSpan(name, given, (span) =>
      inSpan(
        Effect.catchAllCause(body(span), (cause): Effect.Effect<never, E | ValuesWithheld | string> => {
          span.attribute("error.type", errorType(cause))
          const told: Cause.Cause<E | ValuesWithheld | string> = quotesValues(cause)
            ? Cause.fail(new ValuesWithheld())
            : described.loggable(cause)
          if (told !== cause) withheld = cause
          return Effect.failCause(told)
        }),
        span
      ))
    return Effect.catchAllCause(traced, (cause) => Effect.failCause(withheld ?? cause as Cause.Cause<E>))
  })

/**
 * The attribute `error.type` of a span that ends with this cause: the tag of the error or the defect, without one the name of its
 * class, `_OTHER` for what has neither, or `interrupted`. Never its message, which may hold values.
 *
 * https://opentelemetry.io/docs/specs/semconv/registry/attributes/error/
 *
 * @category spans
 * @since 0.1.0
 */
export const errorType = (cause: Cause.Cause<unknown>): string => described.typeOf(cause)

/**
 * Records something that is over as a span that began so many milliseconds ago.
 *
 * @category spans
 * @since 0.1.0
 */
export const record = (name: string, options: () => Tracer.SpanOptions, millis: number): Effect.Effect<void> =>
  Effect.withFiberRuntime((fiber) => {
    const parent = openSpan(fiber)
    if (isCollected(fiber) && parent?.sampled !== false) {
      const { attributes = {}, kind = "internal", links = [] } = options()
      const now = Context.get(fiber.currentDefaultServices, Clock.Clock).unsafeCurrentTimeNanos()
      const start = now - BigInt(Math.round(millis * 1_000_000))
      const span = fiber.currentTracer.span(name, Option.fromNullable(parent), Context.empty(), links, start, kind)
      for (const name in attributes) {
        span.attribute(name, attributes[name])
      }
      span.end(now, Exit.void)
    }
    return Effect.void
  })

/**
 * What all spans of a stream say, and what they do with it.
 *
 * @category spans
 * @since 0.1.0
 */
export const attributes = (
  stream: string,
  operation: "send" | "receive" | "process" | "ack",
  more?: {
    readonly group?: string | undefined
    readonly consumer?: string | undefined
    readonly messageId?: string | undefined
    readonly count?: number | undefined
    readonly attempt?: number | undefined
  }
): Record<string, unknown> => {
  const all: Record<string, unknown> = {
    "messaging.system": "redis",
    "messaging.destination.name": stream,
    "messaging.operation.name": operation,
    "messaging.operation.type": operation === "ack" ? "settle" : operation
  }
  if (more?.group !== undefined) all["messaging.consumer.group.name"] = more.group
  if (more?.consumer !== undefined) all["messaging.client.id"] = more.consumer
  if (more?.messageId !== undefined) all["messaging.message.id"] = more.messageId
  if (more?.count !== undefined) all["messaging.batch.message_count"] = more.count
  if (more?.attempt !== undefined) all["safesync.delivery.attempt"] = more.attempt
  return all
}

/**
 * Whether spans are made in this fiber.
 *
 * @internal
 */
export const isCollected = (fiber: Fiber.RuntimeFiber<any, any>): boolean => fiber.currentTracer !== native

// internal

/** In the context of the span that came with it; those below it find it there. */
class State extends Context.Tag("@safesync/redis-streams/TraceContext/State")<State, string>() {}

const stateOf = (span: Tracer.AnySpan): string | undefined => {
  for (let at = span;;) {
    const state = Context.getOption(at.context as Context.Context<never>, State)
    if (Option.isSome(state)) return state.value
    if (at._tag === "ExternalSpan" || Option.isNone(at.parent)) return undefined
    at = at.parent.value
  }
}

/** What a span ends with instead of an error whose text quotes values: they must not leave with it. */
class ValuesWithheld extends Data.TaggedError("ParseError") {
  override readonly message = "A value does not fit its schema"
}

const quotesValues = (cause: Cause.Cause<unknown>): boolean =>
  Option.exists(
    Cause.failureOption(cause),
    (error) => described.property(error, ParseResult.ParseErrorTypeId) !== undefined
  )

const native = Context.get(DefaultServices.liveServices, Tracer.Tracer)

const openSpan = (fiber: Fiber.RuntimeFiber<any, any>): Tracer.AnySpan | undefined =>
  fiber.currentContext.unsafeMap.get(Tracer.ParentSpan.key)

const inSpan = <A, E, R>(effect: Effect.Effect<A, E, R>, span: Tracer.AnySpan): Effect.Effect<A, E, R> =>
  Effect.withParentSpan(effect, span) as Effect.Effect<A, E, R>
