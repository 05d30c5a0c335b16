import { assert, layer } from "@effect/vitest"
import * as Delivery from "@safesync/redis-streams/Delivery"
import * as Redis from "@safesync/redis-streams/Redis"
import * as StreamConsumer from "@safesync/redis-streams/StreamConsumer"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Scheduler from "effect/Scheduler"
import type { Lease } from "../src/internal/lease.js"
import { deliveries, expectNothingLeft, freshGroup, pendingOf, RedisLive, until } from "./fixture.js"

const asLease = (delivery: Delivery.Delivery<unknown>) =>
  delivery as unknown as { freshAt: number } & Pick<Lease<unknown>, "fence">

/** The scripts of this consumer, the n-th of which is followed by an effect before its answer is told. */
const followed = (after: (n: number) => Effect.Effect<unknown>) =>
  Effect.map(Redis.Redis, (redis): Redis.Service => {
    let n = 0
    return {
      ...redis,
      script: (...args) => {
        n++
        return Effect.zipLeft(redis.script(...args), after(n))
      }
    }
  })

const yieldingAfter = (steps: number) =>
  Scheduler.make((task) => setImmediate(task), (fiber) => fiber.currentOpCount > steps ? 0 : false)

/** One turn of the event loop. */
const turn = Effect.async<void>((resume) => {
  setImmediate(() => resume(Effect.void))
})

layer(RedisLive, { excludeTestServices: true })("a delivery that has waited before it is begun", (it) => {
  it.scoped("L16: whenever its beginning is interrupted, it comes again", () =>
    Effect.gen(function*() {
      const { group, send } = yield* freshGroup({ minIdle: "1 hour" })
      const count = 600
      yield* send(count)
      const held = yield* Effect.scoped(Effect.flatMap(
        deliveries(group, count),
        Effect.forEach((delivery, i) =>
          Effect.gen(function*() {
            asLease(delivery).freshAt = -Infinity
            // Everybody else has a turn after so many steps: one of them interrupts at each of the steps of one of these.
            const using = Delivery.use(delivery, () => Effect.never)
            const fiber = yield* Effect.fork(Effect.withScheduler(using, yieldingAfter(12 + i % 20)))
            for (let turns = Math.floor(i / 20); turns > 0; turns--) yield* turn
            yield* Fiber.interrupt(fiber)
            return delivery.id
          })
        )
      ))
      const again = yield* Effect.replicateEffect(StreamConsumer.next(group, { consumer: "a" }), count)
      assert.sameMembers(again.flatMap(Option.toArray).map(({ id }) => id), held)
    }))

  it.scoped("L15: one whose beginning was interrupted when the server had answered may be used again", () =>
    Effect.gen(function*() {
      const { group, send } = yield* freshGroup({ minIdle: "900 millis" })
      yield* send(1)
      const asked = yield* Deferred.make<void>()
      const redis = yield* followed((n) =>
        n === 2 ? Effect.zipRight(Deferred.succeed(asked, undefined), Effect.never) : Effect.void
      )
      const [delivery] = yield* Effect.provideService(deliveries(group, 1), Redis.Redis, redis)
      // It waits to be begun, and does not count as delivered.
      yield* until(Effect.sync(() => asLease(delivery!).fence), (fence) => fence === 0)
      const using = yield* Effect.fork(Delivery.use(delivery!, () => Effect.void))
      yield* Deferred.await(asked)
      yield* Fiber.interrupt(using)
      yield* Delivery.use(delivery!, () => Effect.void)
      yield* expectNothingLeft(group)
    }))

  it.scoped("L24: one that is begun while the leases of others are renewed counts as an attempt", () =>
    Effect.gen(function*() {
      const { group, send } = yield* freshGroup({ minIdle: "900 millis" })
      const shared = yield* Redis.Redis
      yield* send(2)
      const renewed = yield* Deferred.make<void>()
      const begun = yield* Deferred.make<void>()
      const attempts = yield* Deferred.make<ReadonlyArray<number>>()
      const redis = yield* followed((n) => {
        if (n === 1) return Effect.zipRight(Deferred.succeed(renewed, undefined), Deferred.await(begun))
        return n !== 3 ? Effect.void : Effect.flatMap(
          Effect.provideService(Effect.orDie(pendingOf(group)), Redis.Redis, shared),
          (pending) => Deferred.succeed(attempts, pending.map(({ attempts }) => attempts))
        )
      })
      const [running, waiting] = yield* Effect.provideService(deliveries(group, 2), Redis.Redis, redis)
      yield* Effect.fork(Delivery.use(running!, () => Effect.never))
      asLease(waiting!).freshAt -= 350
      yield* Deferred.await(renewed)
      yield* Effect.fork(
        Delivery.use(waiting!, () => Effect.zipRight(Deferred.succeed(begun, undefined), Effect.never))
      )
      assert.deepStrictEqual(yield* Deferred.await(attempts), [1, 1])
    }))
})
