/**
 * The metrics of this package, under the prefix of COTI SafeSync.
 *
 * @since 0.1.0
 */
import * as Metric from "effect/Metric"

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
