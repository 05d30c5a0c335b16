/**
 * Counts transactions as what they came to, and how long they were open.
 *
 * @internal
 */
import * as MysqlMetrics from "../MysqlMetrics.js"

export type Outcome = "committed" | "rolled_back" | "aborted" | "commit_failed" | "commit_unknown" | "begin_failed"

/** `began`: when a connection was asked for, by `performance.now()`. */
export const ended = (outcome: Outcome, began: number): void => {
  if (!announced) announce()
  const labels = MysqlMetrics.outcomeLabels[outcome]
  MysqlMetrics.transactions.unsafeUpdate(1, labels)
  MysqlMetrics.transactionDuration.unsafeUpdate((performance.now() - began) / 1000, labels)
}

// internal

let announced = false

/** An exporter must have shown 0 once for the first increment to be seen as one. */
const announce = (): void => {
  announced = true
  for (const labels of Object.values(MysqlMetrics.outcomeLabels)) MysqlMetrics.transactions.unsafeUpdate(0, labels)
  for (const labels of Object.values(MysqlMetrics.deadlockLabels)) MysqlMetrics.deadlocks.unsafeUpdate(0, labels)
  MysqlMetrics.connectionsDiscarded.unsafeUpdate(0, [])
  MysqlMetrics.inboxDuplicates.unsafeUpdate(0, [])
}
