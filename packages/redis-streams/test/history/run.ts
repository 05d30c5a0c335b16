/** Runs a history against a server, and compares what is there with the model after each step. */
import { assert } from "@effect/vitest"
import * as Delivery from "@safesync/redis-streams/Delivery"
import * as Reclaim from "@safesync/redis-streams/Reclaim"
import * as Redis from "@safesync/redis-streams/Redis"
import * as StreamConsumer from "@safesync/redis-streams/StreamConsumer"
import * as StreamProducer from "@safesync/redis-streams/StreamProducer"
import type * as RedisServer from "@safesync/testkit/RedisServer"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import type * as Either from "effect/Either"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as LogLevel from "effect/LogLevel"
import * as Option from "effect/Option"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { age, freshGroup, type Order, pendingOf, RedisFromServer } from "../fixture.js"
import { type Failure, type Held, Model, nobody, type Process } from "./Model.js"
import type { Step } from "./Step.js"

const batchSize = 3

export const run = (steps: ReadonlyArray<Step>) =>
  Effect.gen(function*() {
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

    const restore = Effect.map(redis.command("XGROUP", "CREATE", stream, group.group, "0", "MKSTREAM"), () =>
      model.regain())

    const allHeld = (isRunning: boolean) =>
      [...processes.values()].flatMap(({ held }) => [...held]).filter(({ state }) =>
        (state === "running") === isRunning
      )

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

    const act = (step: Step): Effect.Effect<unknown, unknown, Redis.Redis | RedisServer.RedisServer> =>
      Effect.gen(function*() {
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
            if (!isDone(held, free, step.step === "fail" ? "refused" : "done", result)) {
              return
            }
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
            isDone(held, true, step.success ? "done" : "refused", result)
            if (step.success) {
              // Whoever else has been given it in the meantime.
              model.pending.delete(id)
              model.done.add(id)
              process.held.delete(held)
            } else {
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

    const compare = Effect.map(Effect.either(pendingOf(group)), (actual) => {
      if (actual._tag === "Left") {
        assert.deepStrictEqual([actual.left._tag, model.isLost], ["NoGroup", true])
        return
      }
      assert.isFalse(model.isLost)
      assert.deepStrictEqual(
        actual.right.filter(({ id }) => !model.deleted.has(id))
          .map(({ attempts, consumer, id }) => [id, consumer, attempts]),
        model.alive.map(([id, { attempts, owner }]) => [id, owner, attempts])
      )
    })

    for (const step of steps) {
      yield* act(step)
      yield* compare
    }

    // Everybody stops. Whoever comes then finds all that was not done.
    for (const process of processes.values()) {
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
  }).pipe(Effect.scoped, Logger.withMinimumLogLevel(LogLevel.None))
