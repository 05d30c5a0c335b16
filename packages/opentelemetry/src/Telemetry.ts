/**
 * All exporters by configuration, under the names that OpenTelemetry gives its environment variables. Without any of them
 * nothing is exported and nothing runs.
 *
 * | variable | meaning |
 * |---|---|
 * | `OTEL_METRICS_EXPORTER` | `prometheus`, `otlp`, both with a comma, or `none`; default `none` |
 * | `OTEL_TRACES_EXPORTER` | `otlp` or `none`; default `none` |
 * | `OTEL_SDK_DISABLED` | `true`: none of it |
 * | `OTEL_SERVICE_NAME`, `OTEL_SERVICE_VERSION` | who this is; default `safesync`, none |
 * | `OTEL_RESOURCE_ATTRIBUTES` | further attributes of the resource: `name=value,name=value` |
 * | `OTEL_EXPORTER_PROMETHEUS_HOST`, `OTEL_EXPORTER_PROMETHEUS_PORT` | default `127.0.0.1`, 9464 |
 * | `OTEL_EXPORTER_OTLP_ENDPOINT` | default `http://localhost:4318` |
 * | `OTEL_EXPORTER_OTLP_HEADERS` | `name=value,name=value`; values may be percent-encoded |
 * | `OTEL_METRIC_EXPORT_INTERVAL` | milliseconds between pushes of metrics; default 60000 |
 * | `OTEL_BSP_SCHEDULE_DELAY` | milliseconds between pushes of spans; default 5000 |
 * | `OTEL_TRACES_SAMPLER_ARG` | the part of the traces that is recorded; default 1 |
 *
 * @since 0.1.0
 */
import * as Config from "effect/Config"
import * as ConfigError from "effect/ConfigError"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Otlp from "./Otlp.js"
import * as Prometheus from "./Prometheus.js"

/**
 * What OpenTelemetry's environment variables say, or what stands in for them.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  readonly prometheus: Prometheus.Options | undefined
  readonly otlp: Otlp.Options
  readonly pushMetrics: { readonly everyMillis: number } | undefined
  readonly pushTraces: { readonly everyMillis: number; readonly ratio: number } | undefined
}

/**
 * What the variables say.
 *
 * @since 0.1.0
 * @category config
 */
export const config: Config.Config<Options> = Config.suspend(() =>
  Config.map(variables, (set): Options => {
    const metrics = set.disabled ? [] : set.metrics
    return {
      prometheus: metrics.includes("prometheus") ? { host: set.host, port: set.port } : undefined,
      otlp: {
        endpoint: set.endpoint,
        serviceName: set.serviceName ?? set.attributes["service.name"] ?? "safesync",
        serviceVersion: set.serviceVersion,
        attributes: set.attributes,
        headers: set.headers
      },
      pushMetrics: metrics.includes("otlp") ? { everyMillis: set.metricMillis } : undefined,
      pushTraces: !set.disabled && set.traces.includes("otlp")
        ? { everyMillis: set.traceMillis, ratio: set.ratio }
        : undefined
    }
  })
)

/**
 * The exporters that the configuration asks for. Provide it to the whole program: the tracer is only there for what it is
 * provided to. Fails with a `ConfigError` that names the variable whose value can never work, and with `EndpointUnavailable` where
 * Prometheus' port is taken. A collector that cannot be reached fails nothing: spans are dropped, and metrics, which are cumulative,
 * come with the next push.
 *
 * @example
 * import * as Telemetry from "@safesync/opentelemetry/Telemetry"
 * import * as Effect from "effect/Effect"
 *
 * const program = Effect.log("the worker").pipe(Effect.provide(Telemetry.layer))
 *
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<never, ConfigError.ConfigError | Prometheus.EndpointUnavailable> = Layer.unwrapEffect(
  Effect.map(config, ({ otlp, prometheus, pushMetrics, pushTraces }) =>
    Layer.mergeAll(
      prometheus === undefined ? Layer.empty : Prometheus.layer(prometheus),
      pushMetrics === undefined ? Layer.empty : Otlp.metrics({ ...otlp, every: pushMetrics.everyMillis }),
      pushTraces === undefined
        ? Layer.empty
        : Otlp.traces({ ...otlp, every: pushTraces.everyMillis, ratio: pushTraces.ratio })
    ))
)

// internal

/** An empty variable is as good as none, as OpenTelemetry has it. */
const text = (name: string, fallback: string): Config.Config<string> =>
  Config.map(Config.withDefault(Config.string(name), ""), (value) => value.trim() === "" ? fallback : value.trim())

const parsed = <A>(
  name: string,
  fallback: string,
  parse: (text: string) => A | undefined,
  expected: string
): Config.Config<A> =>
  Config.mapOrFail(text(name, fallback), (value) => {
    const result = parse(value)
    return result === undefined
      ? Either.left(ConfigError.InvalidData([name], `Expected ${expected}, and not "${value}"`))
      : Either.right(result)
  })

const integer = (name: string, fallback: number, least: number, most: number): Config.Config<number> =>
  parsed(name, String(fallback), (value) => {
    const result = Number(value)
    return Number.isInteger(result) && result >= least && result <= most ? result : undefined
  }, `a whole number from ${least} to ${most}`)

const part = (name: string): Config.Config<number> =>
  parsed(name, "1", (value) => {
    const result = Number(value)
    return result >= 0 && result <= 1 ? result : undefined
  }, "a number from 0 to 1")

const among = (name: string, values: ReadonlyArray<string>): Config.Config<ReadonlyArray<string>> =>
  parsed(name, "none", (value) => {
    const list = value.split(",").map((_) => _.trim().toLowerCase())
    return list.every((_) => values.includes(_)) ? list : undefined
  }, values.join(", "))

/** `name=value,name=value`, percent-encoded. Who writes it wrong is not shown it: it may hold credentials. */
const pairs = (name: string): Config.Config<Readonly<Record<string, string>>> =>
  Config.mapOrFail(text(name, ""), (list) => {
    try {
      return Either.right(Object.fromEntries(
        list.split(",").filter((_) => _.trim() !== "").map((pair) => {
          const at = pair.indexOf("=")
          if (at < 1) throw new Error("a pair without a name")
          return [pair.slice(0, at).trim(), decodeURIComponent(pair.slice(at + 1).trim())]
        })
      ))
    } catch {
      return Either.left(ConfigError.InvalidData([name], "Expected name=value,name=value, percent-encoded"))
    }
  })

const variables = Config.all({
  disabled: Config.map(text("OTEL_SDK_DISABLED", "false"), (_) => _.toLowerCase() === "true"),
  metrics: among("OTEL_METRICS_EXPORTER", ["prometheus", "otlp", "none"]),
  traces: among("OTEL_TRACES_EXPORTER", ["otlp", "none"]),
  host: text("OTEL_EXPORTER_PROMETHEUS_HOST", "127.0.0.1"),
  port: integer("OTEL_EXPORTER_PROMETHEUS_PORT", 9464, 0, 65_535),
  endpoint: text("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:4318"),
  serviceName: Config.map(text("OTEL_SERVICE_NAME", ""), (_) => _ === "" ? undefined : _),
  serviceVersion: Config.map(text("OTEL_SERVICE_VERSION", ""), (_) => _ === "" ? undefined : _),
  attributes: pairs("OTEL_RESOURCE_ATTRIBUTES"),
  headers: Config.map(
    pairs("OTEL_EXPORTER_OTLP_HEADERS"),
    (headers) => Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, Redacted.make(value)]))
  ),
  metricMillis: integer("OTEL_METRIC_EXPORT_INTERVAL", 60_000, 1, 86_400_000),
  traceMillis: integer("OTEL_BSP_SCHEDULE_DELAY", 5_000, 1, 86_400_000),
  ratio: part("OTEL_TRACES_SAMPLER_ARG")
})
