/**
 * Pushes metrics and traces to a collector by OTLP over HTTP.
 *
 * It stands on the exporters of `@effect/opentelemetry` that need nothing of OpenTelemetry's SDK: spans of Effect go out as
 * they are. Who has the SDK anyway, with its processors and propagators, uses `NodeSdk` of that package instead: the other
 * packages of SafeSync only know Effect's `Metric` and `Tracer`.
 *
 * @since 0.1.0
 */
import * as OtlpMetrics from "@effect/opentelemetry/OtlpMetrics"
import * as OtlpSerialization from "@effect/opentelemetry/OtlpSerialization"
import * as OtlpTracer from "@effect/opentelemetry/OtlpTracer"
import * as FetchHttpClient from "@effect/platform/FetchHttpClient"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { pipe } from "effect/Function"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Sampling from "./Sampling.js"

/**
 * Where to push to, and as whom.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /** The collector's address, such as `http://127.0.0.1:4318`; `/v1/traces` and `/v1/metrics` are added to it. */
  readonly endpoint: string
  readonly serviceName: string
  readonly serviceVersion?: string | undefined
  /** Attributes of the resource beside the service's name and version. */
  readonly attributes?: Readonly<Record<string, string>> | undefined
  /** Sent with each request: credentials, mostly. */
  readonly headers?: Readonly<Record<string, Redacted.Redacted<string>>> | undefined
  /** How long the end of the scope may wait for what is still to be sent. Default: 3 seconds. */
  readonly shutdownTimeout?: Duration.DurationInput | undefined
}

/**
 * Pushes all metrics of the process, cumulative, every so often and once more at the end. A collector that does not answer fails
 * nothing.
 *
 * @example
 * import * as Otlp from "@safesync/opentelemetry/Otlp"
 *
 * const Metrics = Otlp.metrics({ endpoint: "http://127.0.0.1:4318", serviceName: "billing", every: "30 seconds" })
 *
 * @since 0.1.0
 * @category layers
 */
export const metrics = (
  options: Options & {
    /** Default: 60 seconds. */
    readonly every?: Duration.DurationInput | undefined
  }
): Layer.Layer<never> =>
  OtlpMetrics.layer({ ...target(options, "/v1/metrics"), exportInterval: options.every ?? "60 seconds" }).pipe(
    Layer.provide(transport)
  )

/**
 * Pushes spans. Effect's tracer is replaced for whatever this layer is provided to, which is what switches the spans of
 * SafeSync on: without a tracer they are not made. A collector that does not answer fails nothing: its spans are dropped.
 *
 * @example
 * import * as Otlp from "@safesync/opentelemetry/Otlp"
 *
 * const Traces = Otlp.traces({ endpoint: "http://127.0.0.1:4318", serviceName: "billing", ratio: 0.1 })
 *
 * @since 0.1.0
 * @category layers
 */
export const traces = (
  options: Options & {
    /** How often what has ended is sent, if there are not enough for a batch before. Default: 5 seconds. */
    readonly every?: Duration.DurationInput | undefined
    /** The part of the traces that is recorded, 0 to 1 (see `Sampling.parentBased`). Default: 1. */
    readonly ratio?: number | undefined
  }
): Layer.Layer<never> =>
  pipe(
    OtlpTracer.make({ ...target(options, "/v1/traces"), exportInterval: options.every ?? "5 seconds" }),
    Effect.map((tracer) => Layer.setTracer(Sampling.parentBased(tracer, options.ratio ?? 1))),
    Layer.unwrapScoped,
    Layer.provide(transport)
  )

// internal

const transport = Layer.merge(FetchHttpClient.layer, OtlpSerialization.layerJson)

const target = (options: Options, path: string) => ({
  url: `${options.endpoint.replace(/\/+$/, "")}${path}`,
  resource: {
    serviceName: options.serviceName,
    serviceVersion: options.serviceVersion,
    attributes: { ...options.attributes }
  },
  headers: Object.fromEntries(
    Object.entries(options.headers ?? {}).map(([name, value]) => [name, Redacted.value(value)])
  ),
  shutdownTimeout: options.shutdownTimeout
})
