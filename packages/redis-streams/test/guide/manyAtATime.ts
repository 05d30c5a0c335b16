import type * as ConsumerGroup from "@safesync/redis-streams/ConsumerGroup"
import * as Delivery from "@safesync/redis-streams/Delivery"
import * as StreamConsumer from "@safesync/redis-streams/StreamConsumer"
import type * as Effect from "effect/Effect"

/** `n` deliveries at a time, each acked when its handler has succeeded. The first failure ends all of them. */
export const useMany = <A, E, R>(
  group: ConsumerGroup.ConsumerGroup<A>,
  n: number,
  handle: (value: A) => Effect.Effect<unknown, E, R>
) =>
  StreamConsumer.stream(group, { consumer: "billing-1" }).pipe(
    StreamConsumer.runForEach(Delivery.use(handle), { concurrency: n })
  )
