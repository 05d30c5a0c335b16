import { Delivery } from "@safesync/redis-streams"
import { TestDelivery } from "@safesync/testkit"
import { Effect } from "effect"

/** A handler that looks at more than the value. */
const patiently = (delivery: Delivery.Delivery<{ readonly pence: number }>) =>
  delivery.attempt < 5
    ? Delivery.retryAfter(delivery, "10 seconds")
    : Delivery.deadLetter(delivery, "refused five times")

/** Its unit test, without a server. */
export const test = Effect.gen(function*() {
  const delivery = TestDelivery.make({ value: { pence: 5 }, attempt: 5 })
  yield* patiently(delivery)
  return yield* delivery.settlement // DeadLettered, refused five times
})
