/**
 * Counts, times and logs what became of a delivery.
 *
 * @internal
 */
import type { Delivery } from "@safesync/redis-streams/Delivery"
import * as Effect from "effect/Effect"
import * as WorkerMetrics from "../WorkerMetrics.js"
import type { State } from "./state.js"

export const count = (
  disposition: WorkerMetrics.DispositionLabel,
  { stream }: Delivery<unknown>
): void => WorkerMetrics.deliveries.unsafeUpdate(1, WorkerMetrics.deliveryLabels(stream, disposition))

/** It stays pending. One line tells of all that do so in a row. */
export const left = (state: State, delivery: Delivery<unknown>, error: Error): Effect.Effect<void> =>
  Effect.sync(() => {
    count("left", delivery)
    state.left(delivery, error)
  })

/** Its transaction was rolled back, and what it did to the delivery cannot be. */
export const byHandler = (delivery: Delivery<unknown>, error: string): Effect.Effect<void> =>
  Effect.logWarning(
    "A handler failed after it had settled its delivery itself: the message stays as the handler left it"
  ).pipe(
    Effect.annotateLogs({ stream: delivery.stream, group: delivery.group, id: delivery.id, error })
  )

/** Nobody may be looking at the dead letters: what is given up is said where somebody looks. The metric counts it as well. */
export const deadLettered = (delivery: Delivery<unknown>, error: string): Effect.Effect<void> =>
  Effect.logWarning("A message has gone to the dead letters").pipe(
    Effect.annotateLogs({
      stream: delivery.stream,
      group: delivery.group,
      id: delivery.id,
      attempt: delivery.attempt,
      error
    })
  )
