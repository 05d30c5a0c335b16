/**
 * Counts, times and logs what became of a delivery.
 *
 * @internal
 */
import type { Delivery } from "@safesync/redis-streams/Delivery"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as MetricLabel from "effect/MetricLabel"
import * as WorkerMetrics from "../WorkerMetrics.js"

const counted = (disposition: string): Effect.Effect<void> => {
  const labels = [MetricLabel.make("disposition", disposition)]
  return Effect.sync(() => WorkerMetrics.deliveries.unsafeUpdate(1, labels))
}

// Built once, each with labels of its own: tagging a metric costs more than counting.
const counts = {
  acked: counted("acked"),
  retry: counted("retry"),
  dead_letter: counted("dead_letter"),
  discard: counted("discard"),
  stop: counted("stop"),
  left: counted("left")
}

export const count = (disposition: keyof typeof counts): Effect.Effect<void> => counts[disposition]

/** It stays pending: the consumer's own pending list or `Reclaim` delivers it again. */
export const left = (delivery: Delivery<unknown>, error: Error): Effect.Effect<void> =>
  Effect.zipRight(
    counts.left,
    Effect.logWarning("A delivery could not be settled and stays pending", Cause.fail(error)).pipe(
      Effect.annotateLogs({ stream: delivery.stream, group: delivery.group, id: delivery.id })
    )
  )
