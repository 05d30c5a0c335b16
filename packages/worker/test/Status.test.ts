import { expect, layer } from "@effect/vitest"
import * as Disposition from "@safesync/worker/Disposition"
import * as Worker from "@safesync/worker/Worker"
import type * as WorkerStatus from "@safesync/worker/WorkerStatus"
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import { balance, bench, credit, payments, refuse, Servers, source, stoppable, until, worked } from "./fixture.js"

const plain = { concurrency: 4, inbox: "message-id", onFailure: () => Disposition.discard } as const
const one = { account: 1, pence: 1 }

layer(Servers, { excludeTestServices: true })("Worker as a value", (it) => {
  it.effect("L26: status tells running, draining and stopped, what is in flight, and how it went", () =>
    bench(Effect.gen(function*() {
      const { group, send } = yield* payments()
      const go = yield* Deferred.make<void>()
      const worker = yield* stoppable(
        Worker.make(source(group, "a"), (payment) =>
          payment.account === 1
            ? Effect.zipRight(Deferred.await(go), credit(payment))
            : refuse("no such account"), plain)
      )
      const serving = { connected: true, since: expect.anything(), lastError: Option.none() }
      expect(yield* worker.status).toEqual({
        mysql: serving,
        redis: serving,
        state: "running",
        inFlight: 0,
        waiting: 0,
        lastSuccess: Option.none(),
        lastFailure: Option.none(),
        lag: Option.none()
      })
      yield* send(one, { account: 2, pence: 1 })
      const busy = yield* until(
        worker.status,
        ({ inFlight, lastFailure }) => inFlight === 1 && Option.isSome(lastFailure)
      )
      expect(Option.map(busy.lastFailure, ({ cause }) => Cause.failureOption(cause))).toEqual(
        Option.some(Option.some("no such account"))
      )
      const late = (status: WorkerStatus.Status) => Option.getOrElse(Option.map(status.lag, Duration.toMillis), () => 0)
      // it is that of the oldest in flight, and grows
      yield* until(worker.status, (now) => late(now) > late(busy))
      const stopping = yield* worker.drain
      expect(yield* worker.status).toMatchObject({ state: "draining", inFlight: 1 })
      yield* Deferred.succeed(go, undefined)
      yield* Fiber.join(stopping)
      const last = yield* worker.status
      expect(last).toMatchObject({ state: "stopped", inFlight: 0 })
      // who has nothing to do is not late
      expect(last.lag).toEqual(Option.none())
      expect(Option.isSome(last.lastSuccess)).toBe(true)
      // closed by its owner, it has ended well
      yield* worker.await
      yield* worked(group)
      expect(yield* balance(1)).toBe(1)
    })))

  it.effect("makeBatch, layerBatch: the same for batches", () =>
    bench(Effect.gen(function*() {
      class Billing extends Context.Tag("Billing")<Billing, Worker.Worker<unknown>>() {}
      const { group, send } = yield* payments()
      yield* send(one, one)
      const begun = yield* Deferred.make<void>()
      const go = yield* Deferred.make<void>()
      const BillingLive = Worker.layerBatch(
        Billing,
        source(group, "a"),
        (all) =>
          Effect.zipRight(
            Effect.zipRight(Deferred.succeed(begun, undefined), Deferred.await(go)),
            Effect.forEach(all, ({ value }) => credit(value))
          ),
        { size: 2, within: "1 minute", inbox: "message-id", onFailure: () => Disposition.discard }
      )
      const worker = yield* Effect.gen(function*() {
        const worker = yield* Billing
        yield* Deferred.await(begun)
        expect(yield* worker.status).toMatchObject({ state: "running", inFlight: 2 })
        yield* Deferred.succeed(go, undefined)
        yield* worked(group)
        return worker
      }).pipe(Effect.provide(BillingLive))
      expect((yield* worker.status).state).toBe("stopped")
      expect(yield* balance(1)).toBe(2)
    })))

  it.effect("a worker that fails is stopped, and await tells why", () =>
    bench(Effect.scoped(Effect.gen(function*() {
      const worker = yield* Worker.make(Stream.fail("gone" as const), credit, plain)
      expect(yield* Effect.exit(worker.await)).toEqual(Exit.fail("gone"))
      expect((yield* worker.status).state).toBe("stopped")
    }))))

  it.effect("layer: a worker under a tag lives as long as its layer", () =>
    bench(Effect.gen(function*() {
      class Billing extends Context.Tag("Billing")<Billing, Worker.Worker<unknown>>() {}
      const { group, send } = yield* payments()
      yield* send(one, one)
      const worker = yield* Effect.provide(
        Effect.zipLeft(Billing, worked(group)),
        Layer.provide(Worker.layer(Billing, source(group, "a"), credit, plain), Layer.context<never>())
      )
      expect((yield* worker.status).state).toBe("stopped")
      expect(yield* balance(1)).toBe(2)
    })))
})
