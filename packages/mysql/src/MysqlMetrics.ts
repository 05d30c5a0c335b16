/**
 * The metrics of this package. The names and labels of the first three are those that dashboards of COTI SafeSync
 * already use; the others carry the same prefix.
 *
 * @since 0.1.0
 */
import * as Metric from "effect/Metric"
import * as MetricBoundaries from "effect/MetricBoundaries"

const seconds = MetricBoundaries.fromIterable([
  0.0005,
  0.001,
  0.0025,
  0.005,
  0.01,
  0.025,
  0.05,
  0.1,
  0.25,
  0.5,
  1,
  2.5,
  5,
  10
])

/**
 * Wait for a lock, in seconds. Label `strategy`: `row`, `advisory`.
 *
 * @since 0.1.0
 * @category metrics
 */
export const lockAcquireLatency: Metric.Metric.Histogram<number> = Metric.histogram(
  "coti_safesync_db_lock_acquire_latency_seconds",
  seconds,
  "Wait for a row lock or an advisory lock, in seconds"
)

/**
 * Transactions by how they ended. Label `outcome`: `committed`, `rolled_back`, `aborted`, `commit_failed`,
 * `commit_unknown`, `begin_failed`.
 *
 * @since 0.1.0
 * @category metrics
 */
export const transactions: Metric.Metric.Counter<number> = Metric.counter("coti_safesync_db_transaction_total", {
  description: "Transactions by how they ended",
  incremental: true
})

/**
 * Connections that were thrown away since they were lost or in doubt.
 *
 * @since 0.1.0
 * @category metrics
 */
export const connectionsDiscarded: Metric.Metric.Counter<number> = Metric.counter(
  "coti_safesync_db_connections_discarded_total",
  { description: "Connections thrown away because they were lost or in doubt", incremental: true }
)

/**
 * Updates that lost an optimistic race. Label `table`.
 *
 * @since 0.1.0
 * @category metrics
 */
export const occConflicts: Metric.Metric.Counter<number> = Metric.counter("coti_safesync_db_occ_conflict_total", {
  description: "Optimistic updates that found another version",
  incremental: true
})

/**
 * Messages that the inbox knew already.
 *
 * @since 0.1.0
 * @category metrics
 */
export const inboxDuplicates: Metric.Metric.Counter<number> = Metric.counter(
  "coti_safesync_db_inbox_duplicate_total",
  { description: "Messages that the inbox knew already", incremental: true }
)
