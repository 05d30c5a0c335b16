import { type ConsumerGroup, Delivery, StreamConsumer } from "@safesync/redis-streams"
import type { Effect } from "effect"

/** `n` deliveries at a time, each acked when its handler has succeeded. The first failure ends all of them. */
export const useMany = <A, E, R>(
  group: ConsumerGroup.ConsumerGroup<A>,
  n: number,
  handle: (value: A) => Effect.Effect<unknown, E, R>
) =>
  StreamConsumer.stream(group, { consumer: "billing-1" }).pipe(
    StreamConsumer.runForEach(Delivery.use(handle), { concurrency: n })
  )
