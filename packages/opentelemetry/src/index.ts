/**
 * Pushes metrics and traces to a collector by OTLP over HTTP.
 *
 * It stands on the exporters of `@effect/opentelemetry` that need nothing of OpenTelemetry's SDK: spans of Effect go out as
 * they are. Who has the SDK anyway, with its processors and propagators, uses `NodeSdk` of that package instead: the other
 * packages of SafeSync only know Effect's `Metric` and `Tracer`.
 *
 * @since 0.1.0
 */
export * as Otlp from "./Otlp.js"

/**
 * All metrics of the process, as a Prometheus server reads them.
 *
 * They come out under exactly the names and labels that they have in Effect: no unit or `_total` is added, no label says
 * which library they are from. So they do not go through OpenTelemetry's SDK, whose Prometheus exporter does all of that;
 * the text format is a page long. What is not scraped costs nothing: metrics are read when somebody asks.
 *
 * @since 0.1.0
 */
export * as Prometheus from "./Prometheus.js"

/**
 * Which traces are recorded. A span that is not still has ids, so that whoever is called knows that it is not to be
 * recorded there either.
 *
 * @since 0.1.0
 */
export * as Sampling from "./Sampling.js"

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
export * as Telemetry from "./Telemetry.js"
