import { SqlClient } from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import { expect, layer } from "@effect/vitest"
import * as ConsumerGroup from "@safesync/redis-streams/ConsumerGroup"
import * as Redis from "@safesync/redis-streams/Redis"
import * as StreamConsumer from "@safesync/redis-streams/StreamConsumer"
import * as Disposition from "@safesync/worker/Disposition"
import * as Worker from "@safesync/worker/Worker"
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import {
  balance,
  bench,
  credit,
  holdAt,
  mysqlBehind,
  one,
  payments,
  plain,
  redisBehind,
  Servers,
  source,
  stoppable,
  until,
  worked
} from "./fixture.js"

layer(Servers, { excludeTestServices: true })("Worker", (it) => {
  it.effect("L22: everything is committed, then acked", () =>
    bench(Effect.gen(function*() {
      const { group, pending, send } = yield* payments()
      yield* send(...Array.from({ length: 200 }, () => one))
      const worker = yield* Effect.fork(Worker.run(source(group, "a"), credit, plain))
      yield* until(balance(1), (n) => n === 200)
      yield* until(pending, (n) => n === 0)
      yield* Fiber.interrupt(worker)
      expect(yield* balance(1)).toBe(200)
    })))

  it.effect("L22: nothing is acked before COMMIT", () =>
    bench(Effect.gen(function*() {
      const { group, pending, send } = yield* payments()
      yield* send(one)
      const { behind, proxy } = yield* mysqlBehind
      const committing = yield* holdAt(proxy, "COMMIT", "requests")
      const worker = yield* Effect.fork(Effect.provide(Worker.run(source(group, "a"), credit, plain), behind))
      // the handler has succeeded, and COMMIT is on its way
      yield* committing
      for (let i = 0; i < 20; i++) {
        yield* Effect.yieldNow()
        expect(yield* pending).toBe(1)
      }
      expect(yield* balance(1)).toBe(0)
      yield* proxy.resume()
      yield* until(pending, (n) => n === 0)
      expect(yield* balance(1)).toBe(1)
      yield* Fiber.interrupt(worker)
    })))

  it.effect("a slot begins the next message while the ack of the one before is under way; draining waits for it", () =>
    bench(Effect.gen(function*() {
      const { group, pending, send } = yield* payments()
      yield* send(one, { account: 2, pence: 1 })
      const { behind, proxy } = yield* redisBehind
      const acking = yield* holdAt(proxy, "$4\r\nXACK\r\n", "replies")
      const worker = yield* Effect.provide(
        stoppable(Worker.make(source(group, "a"), credit, { ...plain, concurrency: 1 })),
        behind
      )
      yield* acking
      yield* until(balance(2), (n) => n === 1)
      const stopping = yield* worker.drain
      expect(yield* worker.status).toMatchObject({ state: "draining", inFlight: 2 })
      yield* proxy.resume()
      yield* Fiber.join(stopping)
      // it has waited for the answers
      expect(yield* worker.status).toMatchObject({ state: "stopped", inFlight: 0, lastSuccess: { _tag: "Some" } })
      expect(yield* pending).toBe(0)
    })))

  it.effect("L23: a message that is delivered again is not applied again, but acked", () =>
    bench(Effect.gen(function*() {
      const { group, pending, send } = yield* payments({ minIdle: 1 })
      yield* send(one, one, one)
      // handled and committed, but the worker dies before its acks: they are read and left pending
      const [deliveries] = [
        yield* Stream.runCollect(Stream.take(StreamConsumer.stream(group, { consumer: "dead" }), 3))
      ]
      expect(deliveries.length).toBe(3)
      for (let round = 0; round < 2; round++) {
        const worker = yield* Effect.fork(Worker.run(source(group, "a"), credit, {
          ...plain,
          inbox: (payment) => `the same id for all of them ${payment.account}`
        }))
        yield* until(pending, (n) => n === 0)
        yield* Fiber.interrupt(worker)
        yield* send(one)
      }
      expect(yield* balance(1)).toBe(1)
    })))

  it.effect("L23: the same id in another stream, read by a group of the same name, is another message", () =>
    bench(Effect.gen(function*() {
      const one = yield* payments()
      const redis = yield* Redis.Redis
      const stream = `${one.stream}-2`
      const group = { ...one.group, stream }
      yield* ConsumerGroup.create(group)
      yield* Effect.addFinalizer(() => Effect.ignore(redis.command("DEL", stream)))
      const data = JSON.stringify({ account: 1, pence: 1 })
      yield* redis.command("XADD", one.stream, "7-7", "data", data)
      yield* redis.command("XADD", stream, "7-7", "data", data)
      for (const which of [one.group, group]) {
        const source = Stream.take(StreamConsumer.stream(which, { consumer: "a" }), 1)
        yield* Worker.run(source, credit, plain)
      }
      expect(yield* balance(1)).toBe(2)
    })))

  it.effect("stop: the worker fails with the handler's error, typed, and the message stays pending", () =>
    bench(Effect.gen(function*() {
      const { group, pending, send } = yield* payments({ left: 1 })
      yield* send(one)
      const exit = yield* Effect.exit(
        Worker.run(source(group, "a"), (payment) => Effect.zipRight(credit(payment), Effect.fail("no" as const)), plain)
      )
      expect(Exit.isFailure(exit) && Cause.failureOption(exit.cause)).toEqual(Option.some("no"))
      expect(yield* pending).toBe(1)
      expect(yield* balance(1)).toBe(0)
    })))

  it.effect("L24: retry delivers again after the schedule's delays, then dead-letters with the cause", () =>
    bench(Effect.gen(function*() {
      const { deadLetters, group, pending, send } = yield* payments({ minIdle: 500 })
      yield* send({ account: 1, pence: 1 }, { account: 2, pence: 2 })
      const attempts: Array<number> = []
      const worker = yield* Effect.fork(Worker.run(
        source(group, "a"),
        (payment, delivery) =>
          payment.account === 2
            ? Effect.zipRight(credit(payment), Effect.die(`attempt ${attempts.push(delivery.attempt)}`))
            : credit(payment),
        { ...plain, onFailure: () => Disposition.retry(Schedule.recurs(2)) }
      ))
      yield* until(deadLetters, (n) => n === 1)
      expect(yield* pending).toBe(0)
      expect(attempts).toEqual([1, 2, 3])
      expect(yield* balance(1)).toBe(1)
      expect(yield* balance(2)).toBe(0)
      yield* Fiber.interrupt(worker)
    })))

  it.effect("L24: discard acks, deadLetter moves at once", () =>
    bench(Effect.gen(function*() {
      const { deadLetters, group, pending, send } = yield* payments()
      yield* send({ account: 1, pence: 1 }, { account: 2, pence: 2 }, { account: 3, pence: 3 })
      const worker = yield* Effect.fork(Worker.run(
        source(group, "a"),
        (payment): Effect.Effect<unknown, SqlError | number, SqlClient> =>
          payment.account === 3 ? credit(payment) : Effect.fail(payment.account),
        {
          ...plain,
          onFailure: (cause) =>
            Option.contains(Cause.failureOption(cause), 1) ? Disposition.discard : Disposition.deadLetter
        }
      ))
      yield* until(balance(3), (n) => n === 3)
      yield* until(pending, (n) => n === 0)
      expect(yield* deadLetters).toBe(1)
      yield* Fiber.interrupt(worker)
    })))

  it.effect("a conflict is retried in a new transaction, by the caller's schedule and only then", () =>
    bench(Effect.gen(function*() {
      const { group, pending, send } = yield* payments()
      yield* send({ account: 1, pence: 1 }, { account: 2, pence: 1 })
      const sql = yield* SqlClient
      let failures = 0
      // both messages lock the two rows crosswise, once
      const handler = (payment: typeof one) =>
        Effect.gen(function*() {
          yield* credit(payment)
          if (failures < 1) {
            yield* latch
            yield* sql`UPDATE account SET balance = balance + 0 WHERE id = ${3 - payment.account}`.pipe(
              Effect.tapError(() => Effect.sync(() => failures++))
            )
          }
        })
      let arrived = 0
      const both = yield* Deferred.make<void>()
      const latch = Effect.suspend(() =>
        ++arrived === 2 ? Effect.asVoid(Deferred.succeed(both, undefined)) : Deferred.await(both)
      )
      const worker = yield* Effect.fork(
        Worker.run(source(group, "a"), handler, { ...plain, transaction: { retry: Schedule.recurs(3) } })
      )
      yield* until(pending, (n) => n === 0)
      yield* until(balance(1), (n) => n === 1)
      yield* until(balance(2), (n) => n === 1)
      expect(failures).toBe(1)
      yield* Fiber.interrupt(worker)
    })))

  it.effect("L26: interruption finishes what runs, commits and acks it, and hands back what was not begun", () =>
    bench(Effect.gen(function*() {
      const { group, pending, send } = yield* payments()
      yield* send(one, one, one, one, one)
      const begun = yield* Deferred.make<void>()
      const go = yield* Deferred.make<void>()
      const worker = yield* stoppable(Worker.make(
        source(group, "a"),
        (payment) =>
          Effect.zipRight(Deferred.succeed(begun, undefined), Effect.zipRight(Deferred.await(go), credit(payment))),
        { ...plain, concurrency: 2 }
      ))
      // Two that run, and two that are ready.
      yield* until(pending, (n) => n >= 4)
      yield* Deferred.await(begun)
      const stopping = yield* worker.drain
      yield* Deferred.succeed(go, undefined)
      yield* Fiber.join(stopping)
      expect(yield* balance(1)).toBe(2)
      expect(yield* pending).toBeGreaterThanOrEqual(2)
      // minIdle is a minute: only what was handed back can be taken at once
      const next = yield* Effect.fork(Worker.run(source(group, "b"), credit, plain))
      yield* worked(group)
      yield* Fiber.interrupt(next)
      expect(yield* balance(1)).toBe(5)
    })))

  it.effect("L26: what does not finish within drainTimeout is interrupted and rolled back", () =>
    bench(Effect.gen(function*() {
      const { group, pending, send } = yield* payments({ left: 1 })
      yield* send(one)
      const begun = yield* Deferred.make<void>()
      const worker = yield* Effect.fork(Worker.run(
        source(group, "a"),
        (payment) =>
          Effect.zipRight(credit(payment), Effect.zipRight(Deferred.succeed(begun, undefined), Effect.never)),
        { ...plain, drainTimeout: "50 millis" }
      ))
      yield* Deferred.await(begun)
      yield* Fiber.interrupt(worker)
      expect(yield* balance(1)).toBe(0)
      expect(yield* pending).toBe(1)
    })))

  it.effect("a source that ends is worked off, and one that fails is the worker's failure", () =>
    bench(Effect.gen(function*() {
      const { group, pending, send } = yield* payments()
      yield* send(...Array.from({ length: 10 }, () => one))
      const ten = Stream.take(StreamConsumer.stream(group, { consumer: "a" }), 10)
      yield* Worker.run(ten, credit, plain)
      expect(yield* pending).toBe(0)
      expect(yield* balance(1)).toBe(10)
      const exit = yield* Effect.exit(Worker.run(Stream.fail("gone" as const), credit, plain))
      expect(exit).toEqual(Exit.fail("gone"))
    })))
})
