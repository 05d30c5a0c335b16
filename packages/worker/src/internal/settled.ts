/**
 * Counts and logs what became of a delivery.
 *
 * @internal
 */
import type { Delivery } from "@safesync/redis-streams/Delivery"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"
import * as WorkerMetrics from "../WorkerMetrics.js"

const counted = (disposition: string): Effect.Effect<void> =>
  Metric.increment(Metric.tagged(WorkerMetrics.deliveries, "disposition", disposition))

// Built once: tagging a metric costs more than counting.
const counts = {
  retry: counted("retry"),
  dead_letter: counted("dead_letter"),
  discard: counted("discard"),
  stop: counted("stop")
}
const countAcked = counted("acked")
const countLeft = counted("left")

export const as = <A, E, R>(
  disposition: keyof typeof counts,
  effect: Effect.Effect<A, E, R>
): Effect.Effect<void, E, R> => Effect.zipRight(effect, counts[disposition])

export const acked = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<void, E, R> =>
  Effect.zipRight(effect, countAcked)

/** It stays pending: the consumer's own pending list or `Reclaim` delivers it again. */
export const left = (delivery: Delivery<unknown>, error: Error): Effect.Effect<void> =>
  Effect.zipRight(
    countLeft,
    Effect.logWarning("A delivery could not be settled and stays pending", Cause.fail(error)).pipe(
      Effect.annotateLogs({ stream: delivery.stream, group: delivery.group, id: delivery.id })
    )
  )
