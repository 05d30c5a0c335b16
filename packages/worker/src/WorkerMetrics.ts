/**
 * The metrics of this package, under the prefix of COTI SafeSync.
 *
 * @since 0.1.0
 */
import * as Metric from "effect/Metric"
import * as MetricBoundaries from "effect/MetricBoundaries"

/**
 * Deliveries by what became of them. Label `disposition`: `acked`, `retry`, `dead_letter`, `discard`, `stop`, `left`
 * (could not be settled: it stays pending and is delivered again).
 *
 * @since 0.1.0
 * @category metrics
 */
export const deliveries: Metric.Metric.Counter<number> = Metric.counter("coti_safesync_worker_deliveries_total", {
  description: "Deliveries by what became of them",
  incremental: true
})

/**
 * How long a delivery was worked on, in seconds: from when a free place took it until it was settled, so with its
 * transactions, their retries and the ack. Label `stream`.
 *
 * @since 0.1.0
 * @category metrics
 */
export const handlerDuration: Metric.Metric.Histogram<number> = Metric.histogram(
  "coti_safesync_worker_handler_duration_seconds",
  MetricBoundaries.fromIterable([0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300]),
  "Seconds that a delivery was worked on, its transaction and its ack included"
)

/**
 * Messages of the outbox that were published, also those that were published again. Label `stream`.
 *
 * @since 0.1.0
 * @category metrics
 */
export const outboxPublished: Metric.Metric.Counter<number> = Metric.counter(
  "coti_safesync_worker_outbox_published_total",
  {
    description: "Messages of the outbox that were published",
    incremental: true
  }
)
