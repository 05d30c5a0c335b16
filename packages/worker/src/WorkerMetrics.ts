/**
 * The metrics of this package, under the prefix of COTI SafeSync.
 *
 * @since 0.1.0
 */
import * as RedisStreamsMetrics from "@safesync/redis-streams/RedisStreamsMetrics"
import * as Metric from "effect/Metric"
import * as MetricBoundaries from "effect/MetricBoundaries"
import * as MetricLabel from "effect/MetricLabel"

/**
 * Deliveries by what became of them. Labels: `stream`, and `disposition`: `acked`, `retry`, `dead_letter`, `discard`, `stop`, `left`
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

/**
 * Messages of the outbox that Redis has refused, or whose rows hold no message: each holds up its key, is tried again every minute,
 * and counts each time. Label `stream`.
 *
 * @since 0.1.0
 * @category metrics
 */
export const outboxRefused: Metric.Metric.Counter<number> = Metric.counter(
  "coti_safesync_worker_outbox_refused_total",
  {
    description: "Messages of the outbox that cannot be published",
    incremental: true
  }
)

/**
 * What became of a delivery.
 *
 * @since 0.1.0
 * @category labels
 */
export type DispositionLabel = "acked" | "retry" | "dead_letter" | "discard" | "stop" | "left"

/**
 * The labels of `deliveries`, the same arrays for the same stream. All of a stream's counters are there, at 0, as soon as one
 * is asked for: what is rare is seen when it first happens.
 *
 * @since 0.1.0
 * @category labels
 */
export const deliveryLabels = (
  stream: string,
  disposition: DispositionLabel
): ReadonlyArray<MetricLabel.MetricLabel> => {
  const label = RedisStreamsMetrics.streamLabel(stream)
  let labels = byStream.get(label)
  if (labels === undefined) {
    const of = (disposition: DispositionLabel) => [
      MetricLabel.make("stream", label),
      MetricLabel.make("disposition", disposition)
    ]
    labels = {
      acked: of("acked"),
      retry: of("retry"),
      dead_letter: of("dead_letter"),
      discard: of("discard"),
      stop: of("stop"),
      left: of("left")
    }
    for (const each of Object.values(labels)) deliveries.unsafeUpdate(0, each)
    byStream.set(label, labels)
  }
  return labels[disposition]
}

// internal

const byStream = new Map<string, Readonly<Record<DispositionLabel, ReadonlyArray<MetricLabel.MetricLabel>>>>()
