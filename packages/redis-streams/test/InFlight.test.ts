import { assert, layer } from "@effect/vitest"
import type * as ConsumerGroup from "@safesync/redis-streams/ConsumerGroup"
import * as Delivery from "@safesync/redis-streams/Delivery"
import * as Reclaim from "@safesync/redis-streams/Reclaim"
import * as Redis from "@safesync/redis-streams/Redis"
import * as StreamConsumer from "@safesync/redis-streams/StreamConsumer"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import * as v8 from "node:v8"
import * as vm from "node:vm"
import { deliveries, freshGroup, numberOf, type Order, RedisLive, until } from "./fixture.js"

v8.setFlagsFromString("--expose-gc")
const collect = vm.runInNewContext("gc") as () => void

/** Collections happen between turns of the event loop. */
const collected = Effect.async<void>((resume) => {
  collect()
  setImmediate(() => resume(Effect.void))
})

/** How many consumers the layer remembers. */
const remembered = Effect.map(
  Redis.Redis,
  ({ inFlight }) => (inFlight as unknown as { readonly held: { readonly size: number } }).held.size
)

type Group = ConsumerGroup.ConsumerGroup<Order>

const ways: Record<string, (group: Group, consumer: string) => Effect.Effect<unknown, unknown, Redis.Redis>> = {
  "StreamConsumer.next": (group, consumer) => Effect.scoped(StreamConsumer.next(group, { consumer })),
  "Reclaim.once": (group, consumer) => Effect.scoped(Reclaim.once(group, { consumer, count: 1 })),
  "StreamConsumer.stream": (group, consumer) =>
    Effect.flatMap(Redis.Redis, (redis) =>
      Effect.zipRight(
        redis.command("XADD", group.stream, "*", "data", `{"number":1}`),
        Stream.runDrain(Stream.take(Stream.tap(StreamConsumer.stream(group, { consumer }), numberOf), 1))
      ))
}

const names = (count: number) => Array.from({ length: count }, (_, i) => `${count}-${i}`)

layer(RedisLive, { excludeTestServices: true })("consumers whose names come and go", (it) => {
  for (const [name, use] of Object.entries(ways)) {
    it.scoped(`are forgotten in the process that has used them: ${name}`, () =>
      Effect.gen(function*() {
        // Leases are looked after for as long as a third of it, whether there are any or not.
        const { group } = yield* freshGroup({ minIdle: "1 second" })
        yield* Effect.forEach(names(300), (consumer) => use(group, consumer))
        // Those of the last hundred are kept.
        yield* until(Effect.zipRight(collected, remembered), (count) => count <= 100)
      }))
  }

  it.scoped("cost no memory", () =>
    Effect.gen(function*() {
      const { group } = yield* freshGroup()
      const used = (count: number) =>
        Effect.forEach(names(count), (consumer) => Effect.scoped(Reclaim.once(group, { consumer, count: 1 })), {
          discard: true
        }).pipe(
          Effect.zipRight(until(Effect.zipRight(collected, remembered), (count) => count <= 100)),
          Effect.map(() => process.memoryUsage().heapUsed)
        )
      const before = yield* used(2_000)
      const after = yield* used(5_000)
      assert.isBelow((after - before) / 5_000, 300)
    }))

  it.scoped("are known for as long as something of theirs is held here", () =>
    Effect.gen(function*() {
      const { group, send } = yield* freshGroup()
      yield* send(2)
      const [held, other] = yield* deliveries(group, 2, "holder")
      yield* Effect.forEach(Array.from({ length: 300 }), (_, i) =>
        Effect.scoped(Reclaim.once(group, { consumer: `c${i}`, count: 1 })))
      yield* collected
      yield* Delivery.use(held!, () =>
        Effect.gen(function*() {
          yield* collected
          // It runs here, and is not given again; the other one was not begun, and is held as well.
          assert.isTrue(Option.isNone(yield* StreamConsumer.next(group, { consumer: "holder" })))
        }))
      assert.strictEqual(yield* numberOf(other!), 2)
    }))
})
