/** One step of a history: done, and told to the model. */
import { assert } from "@effect/vitest"
import * as Delivery from "@safesync/redis-streams/Delivery"
import * as Reclaim from "@safesync/redis-streams/Reclaim"
import type * as Redis from "@safesync/redis-streams/Redis"
import * as StreamConsumer from "@safesync/redis-streams/StreamConsumer"
import * as StreamProducer from "@safesync/redis-streams/StreamProducer"
import type * as RedisServer from "@safesync/testkit/RedisServer"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Scope from "effect/Scope"
import { age, type Order, pendingOf } from "../fixture.js"
import { batchSize, type Fleet } from "./Fleet.js"
import { type Failure, nobody } from "./Model.js"
import type { Step } from "./Step.js"

export const act = (fleet: Fleet, step: Step): Effect.Effect<unknown, unknown, Redis.Redis | RedisServer.RedisServer> =>
  Effect.gen(function*() {
    const {
      allHeld,
      begin,
      close,
      group,
      isAcked,
      isDone,
      model,
      open,
      producer,
      redis,
      restore,
      start,
      stream,
      take,
      taking
    } = fleet
    const { processes } = model
    switch (step.step) {
      case "send": {
        for (let i = 0; i < step.count; i++) {
          const id = model.add(false)
          yield* redis.command("XADD", stream, id, "data", `{"number":${model.entries.length}}`)
        }
        return
      }
      case "sendBad": {
        return yield* redis.command("XADD", stream, model.add(true), "data", "{")
      }
      case "read": {
        const process = yield* start(step.name)
        const isFresh = process.stream?.pull === undefined
        if (model.isLost) {
          if (isFresh) {
            const pull = yield* open(process)
            const error = Option.getOrThrow(yield* Effect.flip(pull))
            assert.strictEqual(error._tag, "NoGroup", "a stream that has never seen the group does not create it")
            yield* close(process)
            return yield* restore
          }
          if (!model.hasNew(process, 0)) {
            return
          }
          model.regain()
        } else if (!model.hasNew(process) && !(isFresh && model.own(process).length > 0)) {
          return
        }
        const pull = yield* open(process)
        const mine = model.own(process)
        let chunk: ReadonlyArray<Delivery.Delivery<Order>>
        do {
          chunk = [...(yield* pull)]
        } while (chunk.length === 0)
        if (mine.includes(chunk[0]!.id)) {
          for (const { id } of chunk) {
            assert.include(mine, id)
            model.takeOwn(id)
          }
        } else {
          assert.deepStrictEqual(chunk.map(({ id }) => id), model.takeNew(process, batchSize))
        }
        return take(process, chunk)
      }
      case "next": {
        const process = yield* start(step.name)
        if (model.isLost) process.own = 0
        return yield* taking(
          process,
          Effect.map(StreamConsumer.next(group, { consumer: process.name }), Option.toArray),
          () => model.takeNext(process)
        )
      }
      case "reclaim": {
        const process = yield* start(step.name)
        return yield* taking(
          process,
          Reclaim.once(group, { consumer: process.name, count: 10_000 }),
          () => model.takeStale(process)
        )
      }
      case "close": {
        const process = processes.get(step.name)
        return process && (yield* close(process))
      }
      case "crash": {
        const process = processes.get(step.name)
        if (process !== undefined) {
          processes.delete(step.name)
          // Without a connection nothing can be handed back.
          yield* Scope.close(process.layer, Exit.void)
          yield* Fiber.interruptAll([...process.held].flatMap(({ handler }) => handler?.fiber ?? []))
          yield* process.stream === undefined ? Effect.void : Scope.close(process.stream.scope, Exit.void)
        }
        return
      }
      case "succeed":
      case "fail":
      case "bury":
      case "park": {
        const all = allHeld(false)
        const held = all[step.which % all.length]
        if (held === undefined) {
          return
        }
        const { delivery, process } = held
        const { id } = delivery
        const uses = step.step === "succeed" || step.step === "fail"
        const free = uses && held.state === "fetched"
        const result = yield* Effect.either<void, string | Failure, never>(
          step.step === "succeed"
            ? Delivery.use(delivery, () => Effect.void)
            : step.step === "fail"
            ? Delivery.use(delivery, () => Effect.fail("refused"))
            : step.step === "bury"
            ? Delivery.deadLetter(delivery, "buried")
            : Delivery.retryAfter(delivery, 0)
        )
        const isOver = free && step.step === "succeed"
          ? isAcked(held, result)
          : isDone(held, free, step.step === "fail" ? "refused" : "done", result)
        if (!isOver) return
        if (step.step === "fail") {
          if (!free) model.asked(held)
          held.state = "released"
          return
        }
        process.held.delete(held)
        if (step.step === "park") {
          Object.assign(model.pending.get(id)!, {
            attempts: delivery.attempt,
            owner: "safesync.parked",
            stale: true
          })
        } else {
          model.pending.delete(id)
          model.done.add(id)
          if (step.step === "bury" && !model.deleted.has(id)) model.buried.push(id)
        }
        return
      }
      case "begin": {
        const all = allHeld(false)
        const held = all[step.which % all.length]
        return held && (yield* begin(held))
      }
      case "end": {
        const all = allHeld(true)
        const held = all[step.which % all.length]
        if (held === undefined) {
          return
        }
        const { delivery: { id }, handler, process } = held
        yield* step.success ? Deferred.succeed(handler!.end, undefined) : Deferred.fail(handler!.end, "refused")
        const result = yield* Effect.either(Fiber.join(handler!.fiber))
        if (step.success) {
          if (!isAcked(held, result)) return
          // Whoever else has been given it in the meantime.
          model.pending.delete(id)
          model.done.add(id)
          process.held.delete(held)
        } else {
          isDone(held, true, "refused", result)
          held.state = "released"
        }
        return
      }
      case "age": {
        const { alive } = model
        const chosen = alive[step.which % alive.length]
        if (chosen !== undefined && !model.isLost && chosen[1].owner !== nobody) {
          const [id, entry] = chosen
          entry.stale = true
          yield* age(group, [id], 7_200_000, entry.owner)
        }
        return
      }
      case "delete": {
        const id = model.entries[step.which % model.entries.length]
        if (id !== undefined) {
          model.deleted.add(id)
          yield* redis.command("XDEL", stream, id)
        }
        return
      }
      case "trim": {
        yield* redis.command("XTRIM", stream, "MAXLEN", "=", String(step.keep))
        for (const id of model.there.slice(0, -step.keep || undefined)) model.deleted.add(id)
        return
      }
      case "trimAcked": {
        const { there } = model
        if (there.length === 0) {
          return
        }
        const removed = yield* StreamProducer.trimAcked(producer)
        const left = yield* redis.command("XRANGE", stream, "-", "+")
        const ids = new Set((left as Array<[string, unknown]>).map(([id]) => id))
        const gone = there.filter((id) => !ids.has(id))
        assert.strictEqual(gone.length, removed)
        for (const id of gone) {
          assert.isTrue(model.isAcked(id), `${id} is dropped and was acked`)
          model.deleted.add(id)
        }
        if (!model.isLost) {
          // A block of two, and the newest acked one.
          assert.isAtMost(model.countBelowNeeded(yield* pendingOf(group)), 1)
        }
        return
      }
      case "lose": {
        if (!model.isLost) {
          model.isLost = true
          yield* step.withStream
            ? redis.command("DEL", stream)
            : redis.command("XGROUP", "DESTROY", stream, group.group)
          if (step.withStream) {
            for (const id of model.entries) model.deleted.add(id)
          }
        }
        return
      }
      case "replace": {
        if (!model.isLost) {
          yield* redis.command("XGROUP", "DESTROY", stream, group.group)
        }
        return yield* restore
      }
    }
  })
