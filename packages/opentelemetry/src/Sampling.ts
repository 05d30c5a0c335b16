/**
 * Which traces are recorded. A span that is not still has ids, so that whoever is called knows that it is not to be
 * recorded there either.
 *
 * @since 0.1.0
 */
import * as Option from "effect/Option"
import * as Tracer from "effect/Tracer"

/**
 * A tracer that records a part of the traces, `ratio` from 0 (none) to 1 (all), decided at the first span of each: what has a
 * parent, here or in another process, does as the parent did. (OpenTelemetry calls it `parentbased_traceidratio`.)
 *
 * @since 0.1.0
 * @category combinators
 */
export const parentBased = (tracer: Tracer.Tracer, ratio: number): Tracer.Tracer =>
  Tracer.make({
    span: (name, parent, context, links, startTime, kind, options) =>
      (Option.isSome(parent) ? parent.value.sampled : Math.random() < ratio)
        ? tracer.span(name, parent, context, links, startTime, kind, options)
        : new Unsampled(name, parent, context, links, startTime, kind),
    context: (f, fiber) => tracer.context(f, fiber)
  })

// internal

const none: ReadonlyMap<string, unknown> = new Map()

const hex = (length: number): string => {
  let text = ""
  while (text.length < length) text += Math.floor(Math.random() * 0x1_0000_0000).toString(16).padStart(8, "0")
  return text
}

class Unsampled implements Tracer.Span {
  readonly _tag = "Span"
  readonly sampled = false
  readonly attributes = none
  readonly spanId = hex(16)
  readonly traceId: string
  status: Tracer.SpanStatus

  constructor(
    readonly name: string,
    readonly parent: Option.Option<Tracer.AnySpan>,
    readonly context: Tracer.Span["context"],
    readonly links: ReadonlyArray<Tracer.SpanLink>,
    startTime: bigint,
    readonly kind: Tracer.SpanKind
  ) {
    this.traceId = Option.isSome(parent) ? parent.value.traceId : hex(32)
    this.status = { _tag: "Started", startTime }
  }

  end(endTime: bigint, exit: Parameters<Tracer.Span["end"]>[1]): void {
    this.status = { _tag: "Ended", startTime: this.status.startTime, endTime, exit }
  }
  attribute(): void {}
  event(): void {}
  addLinks(): void {}
}
