import { expect, layer } from "@effect/vitest"
import * as StreamConsumer from "@safesync/redis-streams/StreamConsumer"
import * as Disposition from "@safesync/worker/Disposition"
import * as Worker from "@safesync/worker/Worker"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import {
  balance,
  bench,
  credit,
  holdAt,
  logs,
  mysqlBehind,
  one,
  payments,
  plain,
  redisBehind,
  refuse,
  Servers,
  source,
  stoppable,
  until,
  worked
} from "./fixture.js"

layer(Servers, { excludeTestServices: true })("Worker, when it stops", (it) => {
  for (const form of ["run", "runBatch"] as const) {
    it.effect(`L26: an ack that is under way when the time to drain is over does not hold up the end of ${form}`, () =>
      bench(Effect.gen(function*() {
        const { group, pending, send } = yield* payments()
        yield* send(one)
        const { behind, proxy } = yield* redisBehind
        const acking = yield* holdAt(proxy, "$4\r\nXACK\r\n", "replies")
        const broken = yield* Deferred.make<never, "broken">()
        const deliveries = Stream.merge(
          StreamConsumer.stream(group, { consumer: "a" }),
          Stream.fromEffect(Deferred.await(broken))
        )
        const overdue = logs("Drain timeout")
        const options = { ...plain, drainTimeout: 1 }
        const worker = yield* Effect.fork(Effect.provide(
          form === "run"
            ? Worker.run(deliveries, credit, options)
            : Worker.runBatch(deliveries, (all) => Effect.forEach(all, ({ value }) => credit(value)), {
              ...options,
              concurrency: 1,
              size: 1,
              within: 1
            }),
          Layer.merge(Layer.succeedContext(behind), overdue.logger)
        ))
        yield* acking
        yield* Deferred.fail(broken, "broken")
        yield* overdue.seen
        yield* proxy.resume()
        expect(yield* Fiber.await(worker)).toEqual(Exit.fail("broken"))
        expect(yield* pending).toBe(0)
        expect(yield* balance(1)).toBe(1)
      })))
  }

  it.effect("L26: the time to drain bounds all of it, though Redis does not answer", () =>
    bench(Effect.gen(function*() {
      const { group, pending, send } = yield* payments({ left: 2 })
      yield* send(one, one)
      const { behind, proxy } = yield* redisBehind
      const begun = yield* Deferred.make<void>()
      const worker = yield* Effect.fork(Effect.provide(
        Worker.run(
          StreamConsumer.stream(group, { consumer: "a" }),
          () => Effect.zipRight(Deferred.succeed(begun, undefined), Effect.never),
          { ...plain, concurrency: 1, drainTimeout: "200 millis" }
        ),
        behind
      ))
      yield* Deferred.await(begun)
      yield* until(pending, (n) => n === 2)
      yield* proxy.stall()
      const asked = performance.now()
      yield* Fiber.interrupt(worker)
      expect(performance.now() - asked).toBeLessThan(3_000)
      yield* proxy.resume()
    })))

  it.effect("L22: an interruption that comes while COMMIT is under way does not undo it: it is acked", () =>
    bench(Effect.gen(function*() {
      const { group, pending, send } = yield* payments()
      yield* send(one)
      const { behind, proxy } = yield* mysqlBehind
      const committing = yield* holdAt(proxy, "COMMIT", "replies")
      const overdue = logs("Drain timeout")
      const worker = yield* Effect.provide(
        stoppable(Worker.make(StreamConsumer.stream(group, { consumer: "a" }), credit, {
          ...plain,
          inbox: "off",
          drainTimeout: 1
        })),
        Layer.merge(Layer.succeedContext(behind), overdue.logger)
      )
      yield* committing
      const stopping = yield* worker.drain
      yield* overdue.seen
      yield* proxy.resume()
      yield* Fiber.join(stopping)
      expect(yield* pending).toBe(0)
      expect(yield* balance(1)).toBe(1)
    })))

  for (const form of ["run", "runBatch"] as const) {
    it.effect(`a drain is logged with what was finished and handed back, and so is a finalizer that dies meanwhile: ${form}`, () =>
      bench(Effect.gen(function*() {
        const { group, pending, send } = yield* payments({ left: 3 })
        yield* send(...[1, 2, 3, 3].map((account) => ({ account, pence: 1 })))
        const begun = yield* Effect.makeSemaphore(2)
        yield* begun.take(2)
        const finish = yield* Deferred.make<void>()
        const lines: Array<readonly [level: string, text: string, annotations: unknown]> = []
        const logger = Logger.replace(
          Logger.defaultLogger,
          Logger.make(({ annotations, logLevel, message }) => {
            lines.push([logLevel.label, String(message), Object.fromEntries(annotations)])
          })
        )
        const handler = (payment: { readonly account: number; readonly pence: number }) =>
          Effect.gen(function*() {
            yield* credit(payment)
            yield* Effect.addFinalizer((exit) => Exit.isInterrupted(exit) ? Effect.die("no lid") : Effect.void)
            yield* begun.release(1)
            yield* payment.account === 1 ? Deferred.await(finish) : Effect.never
          })
        const options = { ...plain, concurrency: 2, drainTimeout: 2_000 }
        const deliveries = StreamConsumer.stream(group, { consumer: "a" })
        const worker = yield* Effect.provide(
          stoppable(
            form === "run"
              ? Worker.make(deliveries, (payment) => Effect.scoped(handler(payment)), options)
              : Worker.makeBatch(deliveries, ([first]) => Effect.scoped(handler(first.value)), {
                ...options,
                size: 1,
                within: 1
              })
          ),
          logger
        )
        yield* begun.take(2)
        yield* until(pending, (n) => n === 4)
        const stopping = yield* worker.drain
        yield* Deferred.succeed(finish, undefined)
        yield* Fiber.join(stopping)
        expect(yield* pending).toBe(3)
        const told = (text: string) => lines.filter(([, message]) => message.includes(text))
        const [first, ...others] = told("drains")
        const [level, , begins] = first!
        expect([level, others, begins]).toEqual(["INFO", [], expect.objectContaining({ running: 2 })])
        // The last read may be on its way: what it brings is handed back by the stream.
        const { unbegun } = begins as { readonly unbegun: number }
        expect(unbegun).toBeLessThanOrEqual(2)
        expect(told("has stopped")).toEqual([[
          "INFO",
          expect.anything(),
          expect.objectContaining({ finished: 1, interrupted: 1, handedBack: unbegun + 1 })
        ]])
        expect(told("has died while the worker stopped").map(([level]) => level)).toEqual(["ERROR"])
      })))
  }

  it.effect("L20: a message whose turn had come after it was held is handed back too", () =>
    bench(Effect.gen(function*() {
      const { group, pending, send } = yield* payments()
      yield* send({ account: 1, pence: 1 }, { account: 2, pence: 2 })
      const busy = yield* Deferred.make<void>()
      const go = yield* Deferred.make<void>()
      const worker = yield* stoppable(Worker.make(
        source(group, "a"),
        (payment) =>
          payment.account === 1
            ? refuse("not here")
            : Effect.zipRight(Deferred.succeed(busy, undefined), Effect.zipRight(Deferred.await(go), credit(payment))),
        {
          ...plain,
          concurrency: 1,
          key: ({ account }) => String(account),
          onFailure: () => Disposition.retry(Schedule.spaced("20 millis"))
        }
      ))
      yield* Deferred.await(busy)
      // its retry is due, and the one slot is taken
      yield* until(worker.status, ({ waiting }) => waiting === 0)
      const stopping = yield* worker.drain
      yield* Deferred.succeed(go, undefined)
      yield* Fiber.join(stopping)
      expect(yield* pending).toBe(1)
      // minIdle is a minute: only what was handed back can be taken at once
      const next = yield* Effect.fork(Worker.run(source(group, "b"), credit, plain))
      yield* worked(group)
      expect([yield* balance(1), yield* balance(2)]).toEqual([1, 2])
      yield* Fiber.interrupt(next)
    })))
})
