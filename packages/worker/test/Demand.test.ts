import { expect, layer } from "@effect/vitest"
import * as Redis from "@safesync/redis-streams/Redis"
import * as StreamConsumer from "@safesync/redis-streams/StreamConsumer"
import * as Worker from "@safesync/worker/Worker"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Schedule from "effect/Schedule"
import { bench, one, payments, plain, Servers, until, worked } from "./fixture.js"

layer(Servers, { excludeTestServices: true })("Worker, what it reads", (it) => {
  /** How many of so many messages a worker takes that can begin four at a time, and ends none. */
  const taken = (
    form: "run" | "runBatch",
    settings: { readonly reclaim: boolean; readonly size?: number; readonly messages: number }
  ) =>
    bench(Effect.gen(function*() {
      const { group, send, stream } = yield* payments()
      const redis = yield* Redis.Redis
      yield* send(...Array.from({ length: settings.messages }, () => one))
      const full = yield* Effect.makeSemaphore(4)
      yield* full.take(4)
      const end = yield* Deferred.make<void>()
      const hold = Effect.zipRight(full.release(1), Deferred.await(end))
      const source = StreamConsumer.stream(group, {
        consumer: "a",
        block: "1 second",
        ...(settings.reclaim ? { reclaim: { every: Schedule.spaced("1 second") } } : {})
      })
      const options = { ...plain, inbox: "off", concurrency: 4 } as const
      const busy = yield* Effect.fork(
        form === "run"
          ? Worker.run(source, () => hold, options)
          : Worker.runBatch(source, () => hold, { ...options, size: settings.size!, within: "1 minute" })
      )
      yield* full.take(4)
      // A colleague that is idle is given the rest.
      const others = yield* Effect.fork(
        StreamConsumer.stream(group, { consumer: "b", batchSize: 1_000 }).pipe(
          StreamConsumer.runForEach(() => Effect.never, { concurrency: 1_000 })
        )
      )
      const byConsumer = Effect.map(redis.command("XINFO", "CONSUMERS", stream, group.group), (reply) =>
        Object.fromEntries((reply as Array<Array<unknown>>).map((fields) => [fields[1], Number(fields[3])])))
      const { a } = yield* until(byConsumer, ({ a = 0, b = 0 }) =>
        a + b === settings.messages)
      yield* Fiber.interrupt(others)
      yield* Deferred.succeed(end, undefined)
      const last = yield* Effect.fork(Worker.run(
        StreamConsumer.stream(group, { consumer: "b" }),
        () => Effect.void,
        { ...plain, inbox: "off" }
      ))
      yield* worked(group)
      yield* Fiber.interruptAll([busy, last])
      return a!
    }))

  for (const reclaim of [false, true]) {
    it.effect(`an idle colleague finds what a worker cannot begin${reclaim ? ", which also reclaims" : ""}`, () =>
      Effect.map(taken("run", { reclaim, messages: 40 }), (count) => {
        // Four that run, four that it asked for when it had just begun them, one at a time until four are ready.
        expect(count).toBeGreaterThanOrEqual(4)
        expect(count).toBeLessThanOrEqual(16)
      }))
  }

  it.effect("runBatch asks for what its batches lack", () =>
    Effect.map(taken("runBatch", { reclaim: false, size: 5, messages: 300 }), (count) => {
      expect(count).toBeGreaterThanOrEqual(20)
      expect(count).toBeLessThanOrEqual(80)
    }))
})
