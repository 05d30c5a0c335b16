/** The end of a history: everybody stops, whoever comes then finds all that was not done, and nothing is lost. */
import { assert } from "@effect/vitest"
import * as Delivery from "@safesync/redis-streams/Delivery"
import * as Reclaim from "@safesync/redis-streams/Reclaim"
import * as StreamConsumer from "@safesync/redis-streams/StreamConsumer"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Scope from "effect/Scope"
import { age, type Order, pendingOf } from "../fixture.js"
import type { Fleet } from "./Fleet.js"

export const ending = ({ close, group, model, redis, restore, start }: Fleet) =>
  Effect.gen(function*() {
    for (const process of model.processes.values()) {
      yield* Fiber.interruptAll([...process.held].flatMap(({ handler }) => handler?.fiber ?? []))
      yield* close(process)
      yield* Scope.close(process.layer, Exit.void)
    }
    if (model.isLost) {
      yield* restore
    }
    const left = (yield* pendingOf(group)).map(({ id }) => id)
    if (left.length > 0) {
      yield* age(group, left, 7_200_000, "x")
    }
    model.pending.clear()
    const finish = (delivery: Delivery.Delivery<Order>) =>
      Effect.map(Delivery.use(delivery, () => Effect.void), () => model.done.add(delivery.id))
    const last = yield* start("z")
    yield* Effect.gen(function*() {
      yield* Effect.flatMap(Reclaim.once(group, { consumer: "z", count: 10_000 }), Effect.forEach(finish))
      const rest = model.takeNew(last, 10_000)
      for (const id of rest) {
        const delivery = Option.getOrThrow(yield* StreamConsumer.next(group, { consumer: "z" }))
        assert.strictEqual(delivery.id, id)
        yield* finish(delivery)
      }
      assert.isTrue(Option.isNone(yield* StreamConsumer.next(group, { consumer: "z" })))
    }).pipe(Effect.scoped, Effect.provide(last.redis))
    assert.deepStrictEqual(model.there.filter((id) => !model.bad.has(id) && !model.done.has(id)), [], "nothing is lost")
    assert.deepStrictEqual((yield* pendingOf(group)).filter(({ id }) => !model.deleted.has(id)), [])
    const dead = (yield* redis.command("XRANGE", group.deadLetterStream, "-", "+")) as Array<[string, Array<string>]>
    assert.deepStrictEqual(
      dead.map(([, fields]) => fields[fields.indexOf("dead.id") + 1]),
      model.buried,
      "nor is anything buried that was not to be"
    )
  })
