import { describe, expect, it } from "@effect/vitest"
import * as Otlp from "@safesync/opentelemetry/Otlp"
import * as Sampling from "@safesync/opentelemetry/Sampling"
import * as Telemetry from "@safesync/opentelemetry/Telemetry"
import * as ConfigProvider from "effect/ConfigProvider"
import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Tracer from "effect/Tracer"
import { collector } from "./collector.js"

const withVariables = (variables: Record<string, string>) =>
  Effect.withConfigProvider(ConfigProvider.fromMap(new Map(Object.entries(variables))))

describe("Telemetry", () => {
  it.effect("without a variable nothing is exported, and the tracer is Effect's own", () =>
    Effect.gen(function*() {
      const before = yield* Effect.tracer
      const tracer = yield* Effect.provide(Effect.tracer, Telemetry.layer)
      expect(tracer).toBe(before)
      const { prometheus, pushMetrics, pushTraces } = yield* Telemetry.config
      expect([prometheus, pushMetrics, pushTraces]).toEqual([undefined, undefined, undefined])
    }).pipe(withVariables({})))

  it.effect("the variables of OpenTelemetry are read", () =>
    Effect.gen(function*() {
      const { otlp, prometheus, pushMetrics, pushTraces } = yield* Telemetry.config
      expect(prometheus).toEqual({ host: "127.0.0.1", port: 9000 })
      expect(pushMetrics).toEqual({ everyMillis: 100 })
      expect(pushTraces).toEqual({ everyMillis: 5_000, ratio: 0.25 })
      expect(otlp.serviceName).toBe("billing")
      expect(otlp.attributes).toEqual({ "deployment.environment": "test" })
      expect(Redacted.value(otlp.headers!["authorization"]!)).toBe("Bearer a=b")
      expect(JSON.stringify(otlp)).not.toContain("Bearer")
    }).pipe(withVariables({
      OTEL_METRICS_EXPORTER: "prometheus, otlp",
      OTEL_TRACES_EXPORTER: "otlp",
      OTEL_EXPORTER_PROMETHEUS_PORT: "9000",
      OTEL_METRIC_EXPORT_INTERVAL: "100",
      OTEL_TRACES_SAMPLER_ARG: "0.25",
      OTEL_SERVICE_NAME: "billing",
      OTEL_RESOURCE_ATTRIBUTES: "deployment.environment=test",
      OTEL_EXPORTER_OTLP_HEADERS: "authorization=Bearer%20a%3Db",
      OTEL_BSP_SCHEDULE_DELAY: ""
    })))

  it.effect("what is written wrong is an error that says where, and shows no credentials", () =>
    Effect.gen(function*() {
      const wrong = (name: string, value: string) =>
        Effect.map(Effect.flip(withVariables({ [name]: value })(Telemetry.config)), String)
      expect(yield* wrong("OTEL_METRICS_EXPORTER", "statsd")).toContain("OTEL_METRICS_EXPORTER")
      expect(yield* wrong("OTEL_TRACES_SAMPLER_ARG", "2")).toContain("from 0 to 1")
      for (const port of ["web", "94.5"]) {
        expect(yield* wrong("OTEL_EXPORTER_PROMETHEUS_PORT", port)).toContain("OTEL_EXPORTER_PROMETHEUS_PORT")
      }
      const headers = yield* wrong("OTEL_EXPORTER_OTLP_HEADERS", "secret")
      expect(headers).toContain("OTEL_EXPORTER_OTLP_HEADERS")
      expect(headers).not.toContain("secret")
    }))

  it.effect("OTEL_SDK_DISABLED switches everything off", () =>
    Effect.gen(function*() {
      const { prometheus, pushMetrics, pushTraces } = yield* Telemetry.config
      expect([prometheus, pushMetrics, pushTraces]).toEqual([undefined, undefined, undefined])
    }).pipe(withVariables({
      OTEL_SDK_DISABLED: "TRUE",
      OTEL_METRICS_EXPORTER: "prometheus,otlp",
      OTEL_TRACES_EXPORTER: "otlp"
    })))
})

describe("Otlp", () => {
  it.scopedLive("metrics and spans arrive at a collector under their own names, with the resource and the headers", () =>
    Effect.gen(function*() {
      const { endpoint, received } = yield* collector
      const options = {
        endpoint,
        serviceName: "billing",
        headers: { authorization: Redacted.make("Bearer secret") }
      }
      yield* Metric.increment(
        Metric.tagged(Metric.counter("o_pushed_total", { incremental: true }), "stream", "orders")
      )
      yield* Effect.scoped(Effect.provide(
        Effect.withSpan(Effect.void, "send orders", { kind: "producer" }),
        [Otlp.metrics(options), Otlp.traces(options)]
      ))
      // both were sent at the end of their scope
      expect(received.metrics.map(({ name }) => name)).toContain("o_pushed_total")
      expect(received.spans.map(({ kind, name }) => [name, kind])).toEqual([["send orders", 4]])
      expect(received.services).toEqual(new Set(["billing"]))
      expect(received.authorizations).toEqual(new Set(["Bearer secret"]))
    }))
})

describe("Sampling", () => {
  const recorded: Array<string> = []
  const inner = Tracer.make({
    span: (name, parent, context, links, startTime, kind) => {
      recorded.push(name)
      return {
        _tag: "Span",
        name,
        spanId: "1".repeat(16),
        traceId: Option.isSome(parent) ? parent.value.traceId : "2".repeat(32),
        parent,
        context,
        status: { _tag: "Started", startTime },
        attributes: new Map(),
        links,
        sampled: true,
        kind,
        end: () => {},
        attribute: () => {},
        event: () => {},
        addLinks: () => {}
      }
    },
    context: (f) => f()
  })

  it.effect("what has a parent does as the parent did; a trace is recorded as a whole or not at all", () =>
    Effect.gen(function*() {
      const run = (ratio: number, sampled?: boolean) =>
        Effect.gen(function*() {
          recorded.length = 0
          const ids = yield* Effect.withSpan(
            Effect.map(Effect.withSpan(Effect.currentSpan, "child"), ({ sampled, spanId, traceId }) => ({
              sampled,
              ids: spanId.length === 16 && traceId.length === 32
            })),
            "first",
            sampled === undefined ? {} : {
              parent: Tracer.externalSpan({ spanId: "3".repeat(16), traceId: "4".repeat(32), sampled })
            }
          ).pipe(Effect.withTracer(Sampling.parentBased(inner, ratio)))
          return { ...ids, recorded: [...recorded] }
        })
      expect(yield* run(1)).toEqual({ sampled: true, ids: true, recorded: ["first", "child"] })
      expect(yield* run(0)).toEqual({ sampled: false, ids: true, recorded: [] })
      expect(yield* run(0, true)).toEqual({ sampled: true, ids: true, recorded: ["first", "child"] })
      expect(yield* run(1, false)).toEqual({ sampled: false, ids: true, recorded: [] })
    }))
})
