import * as Delivery from "@safesync/redis-streams/Delivery"
import * as Effect from "effect/Effect"
import * as Mailbox from "effect/Mailbox"
import type * as Stream from "effect/Stream"

/** `n` deliveries at a time, each in a fiber that lasts. The first failure ends all of them. */
export const useAll = <A, E, R, E2, R2>(
  deliveries: Stream.Stream<Delivery.Delivery<A>, E, R>,
  n: number,
  handle: (value: A) => Effect.Effect<unknown, E2, R2>
) =>
  Effect.scoped(Effect.gen(function*() {
    const fetched = yield* Mailbox.fromStream(deliveries, { capacity: n })
    const next = Effect.catchTag(fetched.take, "NoSuchElementException", () => Effect.succeed(undefined)) // the end
    const worker = Effect.gen(function*() {
      for (let delivery = yield* next; delivery !== undefined; delivery = yield* next) {
        yield* Delivery.use(delivery, handle)
      }
    })
    yield* Effect.replicateEffect(worker, n, { concurrency: "unbounded", discard: true })
  }))
