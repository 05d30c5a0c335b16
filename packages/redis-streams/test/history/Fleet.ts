/** The processes of a history: what they do, held against the model as they do it. */
import { assert } from "@effect/vitest"
import * as Delivery from "@safesync/redis-streams/Delivery"
import * as Redis from "@safesync/redis-streams/Redis"
import * as StreamConsumer from "@safesync/redis-streams/StreamConsumer"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import type * as Either from "effect/Either"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { freshGroup, type Order, RedisFromServer } from "../fixture.js"
import { type Failure, type Held, Model, type Process } from "./Model.js"

export const batchSize = 3

export const make = Effect.gen(function*() {
  const { group, producer, stream } = yield* freshGroup({ minIdle: "1 hour", whenLost: { recreateFrom: "0" } })
  const redis = yield* Redis.Redis
  const scope = yield* Effect.scope
  const model = new Model((yield* redis.capabilities).has("release"))
  const { processes } = model

  const start = (name: string) =>
    Effect.gen(function*() {
      const running = processes.get(name)
      if (running !== undefined) {
        return running
      }
      const layer = yield* Scope.fork(scope, { _tag: "Sequential" })
      const redis = yield* Layer.buildWithScope(RedisFromServer, layer)
      const process: Process = { name, redis, layer, held: new Set(), stream: undefined, own: 0 }
      processes.set(name, process)
      return process
    })

  /** The scope of all that a process has fetched, open for as long as its stream is. */
  const fetching = (process: Process) =>
    Effect.map(process.stream === undefined ? Scope.make() : Effect.succeed(process.stream.scope), (scope) => {
      process.stream ??= { scope, pull: undefined }
      return scope
    })

  const open = (process: Process) =>
    Effect.gen(function*() {
      if (process.stream?.pull !== undefined) {
        return process.stream.pull
      }
      const scope = yield* fetching(process)
      const pull = yield* Stream.toPull(
        StreamConsumer.stream(group, { consumer: process.name, batchSize, block: "20 millis" })
      ).pipe(Scope.extend(scope), Effect.provide(process.redis), Effect.map(Effect.provide(process.redis)))
      process.stream = { scope, pull }
      return pull
    })

  const close = (process: Process) =>
    Effect.gen(function*() {
      const { stream } = process
      process.stream = undefined
      if (stream !== undefined) {
        yield* Scope.close(stream.scope, Exit.void)
        for (const held of process.held) {
          if (held.state === "fetched") model.handBack(held)
        }
      }
    })

  const take = (process: Process, deliveries: Iterable<Delivery.Delivery<Order>>) => {
    for (const delivery of deliveries) {
      assert.strictEqual(delivery.value.number, model.indexOf(delivery.id) + 1)
      assert.deepStrictEqual(
        [delivery.consumer, delivery.attempt],
        [model.pending.get(delivery.id)?.owner, model.pending.get(delivery.id)?.attempts],
        `the delivery of ${delivery.id} tells what the server holds`
      )
      assert.isUndefined(model.inFlight(process, delivery.id), `${delivery.id} is not given out twice`)
      process.held.add({ delivery, process, state: "fetched", fence: delivery.attempt, handler: undefined })
    }
  }

  /** `Reclaim` or `next`, of which nothing is expected but `NoGroup` while there is no group. */
  const taking = <R>(
    process: Process,
    taking: Effect.Effect<Iterable<Delivery.Delivery<Order>>, Failure, R>,
    expected: () => ReadonlyArray<string>
  ) =>
    Effect.gen(function*() {
      const taken = yield* Effect.either(taking).pipe(
        Scope.extend(yield* fetching(process)),
        Effect.provide(process.redis)
      )
      if (taken._tag === "Left") {
        assert.deepStrictEqual([taken.left._tag, model.isLost], ["NoGroup", true])
        return
      }
      const deliveries = [...taken.right]
      assert.isFalse(model.isLost)
      assert.deepStrictEqual(deliveries.map(({ id }) => id), expected())
      take(process, deliveries)
    })

  const restore = Effect.map(
    redis.command("XGROUP", "CREATE", stream, group.group, "0", "MKSTREAM"),
    () => model.regain()
  )

  const allHeld = (isRunning: boolean) =>
    [...processes.values()].flatMap(({ held }) => [...held]).filter(({ state }) => (state === "running") === isRunning)

  /** Whether what was done with a delivery came out as it must; if not because it is held no more, it is not looked at again. */
  const isDone = (held: Held, free: boolean, wanted: string, result: Either.Either<unknown, string | Failure>) => {
    const { delivery: { id }, process } = held
    const outcome = result._tag === "Right"
      ? "done"
      : typeof result.left === "string"
      ? result.left
      : result.left._tag
    if (free) {
      assert.strictEqual(outcome, wanted, id)
      return true
    }
    if (model.isLost && !model.isReplaced(held)) {
      assert.strictEqual(outcome, "NoGroup", id)
      held.state = "released"
      return false
    }
    if (model.isReplaced(held) || !model.stillHolds(held) || (model.deleted.has(id) && outcome === "LeaseLost")) {
      // Of a deleted entry: the server has dropped it, or keeps it until it is next asked for.
      assert.strictEqual(outcome, "LeaseLost", id)
      process.held.delete(held)
      return false
    }
    assert.strictEqual(outcome, wanted, id)
    return true
  }

  /** `isDone` for a handler that has succeeded without a question to the server before it. */
  const isAcked = (held: Held, result: Either.Either<unknown, string | Failure>) => {
    // The server may have dropped a deleted entry by now.
    const anew = model.hasBegunAnew(held) && !(model.deleted.has(held.delivery.id) && result._tag === "Right")
    isDone(held, true, anew ? "LeaseLost" : "done", result)
    if (anew) held.process.held.delete(held)
    return !anew
  }

  const begin = (held: Held) =>
    Effect.gen(function*() {
      const begun = yield* Deferred.make<void>()
      const end = yield* Deferred.make<void, "refused">()
      const fiber = yield* Effect.forkIn(
        Delivery.use(held.delivery, () => Effect.zipRight(Deferred.succeed(begun, undefined), Deferred.await(end))),
        scope
      )
      const free = held.state === "fetched"
      const result = yield* Effect.either(Effect.raceFirst(Deferred.await(begun), Fiber.join(fiber)))
      if (isDone(held, free, "done", result)) {
        if (!free) model.asked(held)
        Object.assign(held, { state: "running", handler: { end, fiber } })
      }
    })

  return {
    group,
    producer,
    stream,
    redis,
    model,
    start,
    open,
    close,
    take,
    taking,
    restore,
    allHeld,
    isAcked,
    isDone,
    begin
  }
})

export type Fleet = Effect.Effect.Success<typeof make>
