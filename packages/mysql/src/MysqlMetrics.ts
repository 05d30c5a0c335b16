/**
 * The metrics of this package. Names and labels of `writes`, `writeLatency` and `lockAcquireLatency` are those that
 * dashboards of COTI SafeSync already use; the others carry the same prefix.
 *
 * The label `table` is the table's name as the statement says it, without its schema. The first 200 tables that a process
 * names have a label of their own, all others share `other`.
 *
 * @since 0.1.0
 */
import * as Metric from "effect/Metric"
import * as MetricBoundaries from "effect/MetricBoundaries"
import * as MetricLabel from "effect/MetricLabel"
import * as identifier from "./internal/identifier.js"

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
  10,
  30,
  60
])

const counter = (name: string, description: string): Metric.Metric.Counter<number> =>
  Metric.counter(`coti_safesync_db_${name}_total`, { description, incremental: true })

/**
 * INSERT, REPLACE, UPDATE, DELETE and LOAD DATA statements that ran on a transaction's connection or on one that holds an
 * advisory lock. Labels: `table`, `op_type` (`insert`, `replace`, `update`, `delete`, `load`) and `status`: `success` if
 * it was committed and the server has said so; `error` if the statement failed or was interrupted, if its transaction or
 * savepoint was rolled back, and if COMMIT stayed without an answer.
 *
 * A statement of a transaction counts when the transaction has ended. A duplicate that `IdempotentInsert` expects is no error: it counts
 * as the others do. What this package writes to its own tables (`safesync_…`: inbox, outbox, tokens, markers) is not the application's, and
 * not among them.
 *
 * @since 0.1.0
 * @category metrics
 */
export const writes: Metric.Metric.Counter<number> = counter(
  "write",
  "Writes by what they came to in the end: committed, or not"
)

/**
 * How long the database took for a write, in seconds: the time of its own statement and, if it was committed, of the
 * COMMIT that made it durable. Every write of a transaction is told the whole COMMIT, since it had to wait for all of
 * it. What the application did between statement and COMMIT is not the database's: `transactionDuration` has that.
 * Writes that failed are in it too, a lock wait that timed out among them. Labels: `table`, `op_type`.
 *
 * @since 0.1.0
 * @category metrics
 */
export const writeLatency: Metric.Metric.Histogram<number> = Metric.histogram(
  "coti_safesync_db_write_latency_seconds",
  seconds,
  "Seconds that the database took for a write and its COMMIT"
)

/**
 * Wait for a lock, in seconds, whether or not it was granted in the end: a wait that times out is the longest of all.
 * Label `strategy`: `row`, `advisory`.
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
 * How long locks were held, in seconds, from when they were granted to when they were given back, for which a transaction's
 * locks wait until its COMMIT or ROLLBACK has been answered. Label `strategy` as above.
 *
 * @since 0.1.0
 * @category metrics
 */
export const lockHold: Metric.Metric.Histogram<number> = Metric.histogram(
  "coti_safesync_db_lock_hold_seconds",
  seconds,
  "Seconds for which a row lock or an advisory lock was held"
)

/**
 * Locks that were asked for. Labels: `strategy` as above, and `outcome`: `granted`, `none` where there was no row to lock or
 * it was skipped, the tag of the error in snake case (`lock_wait_timeout`, `deadlock`, `advisory_lock_timeout`…),
 * `interrupted`, or `defect`.
 *
 * @since 0.1.0
 * @category metrics
 */
export const lockRequests: Metric.Metric.Counter<number> = counter(
  "lock_requests",
  "Locks that were asked for, by what came of it"
)

/**
 * Transactions by how they ended. Label `outcome`: `committed`, `rolled_back`, `aborted`, `commit_failed`,
 * `commit_unknown`, `begin_failed`.
 *
 * @since 0.1.0
 * @category metrics
 */
export const transactions: Metric.Metric.Counter<number> = counter("transaction", "Transactions by how they ended")

/**
 * How long transactions were open, in seconds: from the request for a connection to the answer to COMMIT or ROLLBACK.
 * Label `outcome` as above.
 *
 * @since 0.1.0
 * @category metrics
 */
export const transactionDuration: Metric.Metric.Histogram<number> = Metric.histogram(
  "coti_safesync_db_transaction_duration_seconds",
  seconds,
  "Seconds from the request for a connection to the end of the transaction"
)

/**
 * Statements that were the victim of a deadlock. Label `kind`: `row` (1213), `advisory` (3058).
 *
 * @since 0.1.0
 * @category metrics
 */
export const deadlocks: Metric.Metric.Counter<number> = counter("deadlock", "Statements that a deadlock has ended")

/**
 * Connections that were thrown away since they were lost or in doubt.
 *
 * @since 0.1.0
 * @category metrics
 */
export const connectionsDiscarded: Metric.Metric.Counter<number> = counter(
  "connections_discarded",
  "Connections thrown away because they were lost or in doubt"
)

/**
 * Optimistic updates that were tried. Label `table`.
 *
 * @since 0.1.0
 * @category metrics
 */
export const occAttempts: Metric.Metric.Counter<number> = counter("occ_attempt", "Optimistic updates that were tried")

/**
 * Updates that lost an optimistic race. Label `table`.
 *
 * @since 0.1.0
 * @category metrics
 */
export const occConflicts: Metric.Metric.Counter<number> = counter(
  "occ_conflict",
  "Optimistic updates that found another version"
)

/**
 * Messages that the inbox knew already, counted when the transaction that asked for them has committed.
 *
 * @since 0.1.0
 * @category metrics
 */
export const inboxDuplicates: Metric.Metric.Counter<number> = counter(
  "inbox_duplicate",
  "Messages that the inbox knew already"
)

/**
 * Messages of the outbox that are not published yet.
 *
 * @since 0.1.0
 * @category metrics
 */
export const outboxBacklog: Metric.Metric.Gauge<number> = Metric.gauge("coti_safesync_db_outbox_backlog", {
  description: "Messages of the outbox that are not published yet"
})

/**
 * How long the oldest unpublished message of the outbox has waited, in seconds; 0 if there is none.
 *
 * @since 0.1.0
 * @category metrics
 */
export const outboxOldestAge: Metric.Metric.Gauge<number> = Metric.gauge("coti_safesync_db_outbox_oldest_age_seconds", {
  description: "Seconds that the oldest unpublished message of the outbox has waited"
})

/**
 * When the gauges of the outbox were last seen, in seconds since 1970 by this process's clock: they stay as they are when the
 * server cannot be asked.
 *
 * @since 0.1.0
 * @category metrics
 */
export const outboxUpdated: Metric.Metric.Gauge<number> = Metric.gauge(
  "coti_safesync_db_outbox_updated_timestamp_seconds",
  { description: "When the gauges of the outbox were last seen" }
)

/**
 * Labels, the same array for the same values: a metric finds its state by it without hashing. Give it only values of which
 * there are few.
 *
 * @since 0.1.0
 * @category labels
 */
export const labels = (values: Readonly<Record<string, string>>): ReadonlyArray<MetricLabel.MetricLabel> => {
  const key = JSON.stringify(values)
  let found = known.get(key)
  if (found === undefined) {
    found = Object.entries(values).map(([name, value]) => MetricLabel.make(name, value))
    known.set(key, found)
  }
  return found
}

/**
 * The labels of `transactions` and `transactionDuration`.
 *
 * @since 0.1.0
 * @category labels
 */
export const outcomeLabels: Readonly<
  Record<
    "committed" | "rolled_back" | "aborted" | "commit_failed" | "commit_unknown" | "begin_failed",
    ReadonlyArray<MetricLabel.MetricLabel>
  >
> = {
  committed: [MetricLabel.make("outcome", "committed")],
  rolled_back: [MetricLabel.make("outcome", "rolled_back")],
  aborted: [MetricLabel.make("outcome", "aborted")],
  commit_failed: [MetricLabel.make("outcome", "commit_failed")],
  commit_unknown: [MetricLabel.make("outcome", "commit_unknown")],
  begin_failed: [MetricLabel.make("outcome", "begin_failed")]
}

/**
 * The labels of `deadlocks`.
 *
 * @since 0.1.0
 * @category labels
 */
export const deadlockLabels: Readonly<Record<"row" | "advisory", ReadonlyArray<MetricLabel.MetricLabel>>> = {
  row: [MetricLabel.make("kind", "row")],
  advisory: [MetricLabel.make("kind", "advisory")]
}

/**
 * The label of a table: its own name, or `other` once there are too many.
 *
 * @since 0.1.0
 * @category labels
 */
export const tableLabel = (name: string): string => {
  const table = identifier.ownName(name)
  if (!tables.has(table)) {
    if (tables.size >= mostTables) return "other"
    tables.add(table)
  }
  return table
}

// internal

const known = new Map<string, ReadonlyArray<MetricLabel.MetricLabel>>()
const tables = new Set<string>()
const mostTables = 200
