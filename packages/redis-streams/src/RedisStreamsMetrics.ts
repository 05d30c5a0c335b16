/**
 * The metrics of this package. Names and labels are those that dashboards of COTI SafeSync already use; those that are
 * new carry the same prefix.
 *
 * @since 0.1.0
 */
import * as Metric from "effect/Metric"
import * as MetricBoundaries from "effect/MetricBoundaries"
import * as MetricLabel from "effect/MetricLabel"

const counter = (name: string, description: string): Metric.Metric.Counter<number> =>
  Metric.counter(`coti_safesync_queue_${name}_total`, { description, incremental: true })

/**
 * Entries sent to a stream. Label: `stream`.
 *
 * @category metrics
 * @since 0.1.0
 */
export const messagesSent: Metric.Metric.Counter<number> = counter("messages_sent", "Entries sent to a stream")

/**
 * New entries read through a consumer group. Label: `stream`.
 *
 * @category metrics
 * @since 0.1.0
 */
export const messagesRead: Metric.Metric.Counter<number> = counter(
  "messages_read",
  "New entries read through a consumer group"
)

/**
 * Entries acknowledged. Label: `stream`.
 *
 * @category metrics
 * @since 0.1.0
 */
export const messagesAcked: Metric.Metric.Counter<number> = counter("messages_ack", "Entries acknowledged")

/**
 * Pending entries taken over, from other consumers or from an earlier life of the same one. Label: `stream`.
 *
 * @category metrics
 * @since 0.1.0
 */
export const messagesClaimed: Metric.Metric.Counter<number> = counter("messages_claimed", "Pending entries taken over")

/**
 * Entries moved to the dead-letter stream. Label: `stream`.
 *
 * @category metrics
 * @since 0.1.0
 */
export const messagesDeadLettered: Metric.Metric.Counter<number> = counter(
  "messages_dead_lettered",
  "Entries moved to the dead-letter stream"
)

/**
 * Entries that were fetched, not begun, and handed back when their stream closed. Label: `stream`.
 *
 * @category metrics
 * @since 0.1.0
 */
export const messagesHandedBack: Metric.Metric.Counter<number> = counter(
  "messages_handed_back",
  "Entries handed back before they were begun"
)

/**
 * Entries that were deleted or trimmed while they were pending. Label: `stream`.
 *
 * @category metrics
 * @since 0.1.0
 */
export const messagesDeleted: Metric.Metric.Counter<number> = counter(
  "messages_deleted",
  "Pending entries whose content was deleted or trimmed"
)

/**
 * Deliveries that were taken over by another consumer while they were held here. Label: `stream`.
 *
 * @category metrics
 * @since 0.1.0
 */
export const leasesLost: Metric.Metric.Counter<number> = counter(
  "leases_lost",
  "Deliveries taken over by another consumer"
)

/**
 * Times that a consumer came back after Redis went away. Label: `stream`.
 *
 * @category metrics
 * @since 0.1.0
 */
export const reconnects: Metric.Metric.Counter<number> = counter(
  "reconnects",
  "Times that a consumer came back after Redis went away"
)

/**
 * Groups that were lost and created again. Label: `stream`.
 *
 * @category metrics
 * @since 0.1.0
 */
export const groupsRecreated: Metric.Metric.Counter<number> = counter("groups_recreated", "Lost groups created again")

/**
 * How long a read that brought entries took, the time that it blocked included. Label: `stream`.
 *
 * @category metrics
 * @since 0.1.0
 */
export const readLatency: Metric.Metric.Histogram<number> = Metric.histogram(
  "coti_safesync_queue_read_latency_seconds",
  MetricBoundaries.fromIterable([0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10]),
  "Seconds that a read which brought entries took"
)

/**
 * The labels of a stream's metrics.
 *
 * @category labels
 * @since 0.1.0
 */
export const labels = (stream: string): ReadonlyArray<MetricLabel.MetricLabel> => {
  let labels = known.get(stream)
  if (labels === undefined) {
    labels = [MetricLabel.make("stream", stream)]
    known.set(stream, labels)
  }
  return labels
}

// internal

/** The registry of metrics keeps one entry for each stream anyway, so this map grows no faster than it. */
const known = new Map<string, ReadonlyArray<MetricLabel.MetricLabel>>()
