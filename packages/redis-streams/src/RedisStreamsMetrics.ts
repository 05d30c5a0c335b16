/**
 * The metrics of this package. Names and labels are those that dashboards of COTI SafeSync already use; those that are
 * new carry the same prefix.
 *
 * The first 200 streams that a process names have a label of their own, all others share `other`. The gauges of a group
 * cannot be shared: those of the first 200 groups are set.
 *
 * @since 0.1.0
 */
import * as Metric from "effect/Metric"
import * as MetricBoundaries from "effect/MetricBoundaries"
import type * as MetricLabel from "effect/MetricLabel"
import * as known from "./internal/labels.js"

const counter = (name: string, description: string): Metric.Metric.Counter<number> =>
  Metric.counter(`coti_safesync_queue_${name}_total`, { description, incremental: true })

const gauge = (name: string, description: string): Metric.Metric.Gauge<number> =>
  Metric.gauge(`coti_safesync_queue_${name}`, { description })

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
 * Stale pending entries taken over, by `Reclaim` or by a read with the option `reclaim`, from whichever consumer: retries that are
 * due and what was handed back among them. Label: `stream`.
 *
 * @category metrics
 * @since 0.1.0
 */
export const messagesClaimed: Metric.Metric.Counter<number> = counter(
  "messages_claimed",
  "Stale pending entries taken over"
)

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
 * Deliveries made to this process, by how often the server has delivered the entry, this time included. Labels: `stream`
 * and `attempt`: `1` to `5`, and `more`.
 *
 * @category metrics
 * @since 0.1.0
 */
export const deliveries: Metric.Metric.Counter<number> = counter("deliveries", "Deliveries, by the entry's attempt")

/**
 * Leases that were renewed while their handlers ran, once for each entry and renewal. Label: `stream`.
 *
 * @category metrics
 * @since 0.1.0
 */
export const leaseRenewals: Metric.Metric.Counter<number> = counter(
  "lease_renewals",
  "Leases renewed while their handlers ran"
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
 * Entries that were delivered to the group and not acked. Labels: `stream`, `group`. This and the gauges below are what
 * `GroupMetrics` has last seen.
 *
 * @category metrics
 * @since 0.1.0
 */
export const pending: Metric.Metric.Gauge<number> = gauge("pending", "Entries delivered to the group and not acked")

/**
 * Entries of the stream that were not yet delivered to the group. Labels: `stream`, `group`. As long as the server cannot tell
 * (before Redis 7.0, or after entries were deleted) it is 0 when there is none, and else stays as it was, or unset.
 *
 * @category metrics
 * @since 0.1.0
 */
export const lag: Metric.Metric.Gauge<number> = gauge("lag", "Entries not yet delivered to the group")

/**
 * How long ago the oldest pending entry was sent, in seconds, by the server's clock; 0 if nothing is pending. Labels:
 * `stream`, `group`. However often it was tried since: an entry that fails again and again makes this grow.
 *
 * @category metrics
 * @since 0.1.0
 */
export const oldestPending: Metric.Metric.Gauge<number> = gauge(
  "oldest_pending_seconds",
  "Seconds since the oldest pending entry was sent"
)

/**
 * The group's own entries in its dead-letter stream, which others may share. Labels: `stream`, `group`.
 *
 * @category metrics
 * @since 0.1.0
 */
export const deadLetters: Metric.Metric.Gauge<number> = gauge(
  "dead_letters",
  "Entries of the group in its dead-letter stream"
)

/**
 * Entries of the stream that the group has read, as the server counts them. Labels: `stream`, `group`. It is not set as long
 * as the server cannot tell (before Redis 7.0, or after entries were deleted).
 *
 * @category metrics
 * @since 0.1.0
 */
export const entriesRead: Metric.Metric.Gauge<number> = gauge(
  "entries_read",
  "Entries of the stream that the group has read"
)

/**
 * When the gauges of a group were last seen, in seconds since 1970 by this process's clock: the others stay as they are when
 * Redis cannot be asked. Labels: `stream`, `group`.
 *
 * @category metrics
 * @since 0.1.0
 */
export const gaugesUpdated: Metric.Metric.Gauge<number> = gauge(
  "gauges_updated_timestamp_seconds",
  "When the gauges of the group were last seen"
)

/**
 * The labels of a stream's metrics: the same array for the same stream, by which a metric finds its state without hashing.
 *
 * @category labels
 * @since 0.1.0
 */
export const labels = (stream: string): Labels =>
  known.ofStream(stream, (labels) => {
    // An exporter must have shown 0 once for the first increment to be seen as one.
    for (const counter of counters) counter.unsafeUpdate(0, labels)
  })

/**
 * The label of a stream: its name, or `other` once there are too many.
 *
 * @category labels
 * @since 0.1.0
 */
export const streamLabel: (stream: string) => string = known.streamLabel

/**
 * The labels of a group's gauges; none once there are too many groups.
 *
 * @category labels
 * @since 0.1.0
 */
export const groupLabels: (stream: string, group: string) => Labels | undefined = known.ofGroup

/**
 * The labels of `deliveries`.
 *
 * @category labels
 * @since 0.1.0
 */
export const attemptLabels: (stream: string, attempt: number) => Labels = known.ofAttempt

// internal

type Labels = ReadonlyArray<MetricLabel.MetricLabel>

const counters = [
  messagesSent,
  messagesRead,
  messagesAcked,
  messagesClaimed,
  messagesDeadLettered,
  messagesHandedBack,
  messagesDeleted,
  leaseRenewals,
  leasesLost,
  reconnects,
  groupsRecreated
]
