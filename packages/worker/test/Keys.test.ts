import { SqlClient } from "@effect/sql/SqlClient"
import { expect, layer } from "@effect/vitest"
import * as ConsumerGroup from "@safesync/redis-streams/ConsumerGroup"
import * as Reclaim from "@safesync/redis-streams/Reclaim"
import * as Redis from "@safesync/redis-streams/Redis"
import * as StreamConsumer from "@safesync/redis-streams/StreamConsumer"
import * as Disposition from "@safesync/worker/Disposition"
import * as Worker from "@safesync/worker/Worker"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Scheduler from "effect/Scheduler"
import * as Stream from "effect/Stream"
import { balance, bench, credit, payments, refuse, Servers, source, stale, until, watched, worked } from "./fixture.js"

const keyed = {
  concurrency: 2,
  inbox: "message-id",
  onFailure: () => Disposition.stop,
  key: ({ account }: { readonly account: number }) => String(account)
} as const

const of = (account: number, ...pence: ReadonlyArray<number>) => pence.map((pence) => ({ account, pence }))

layer(Servers, { excludeTestServices: true })("Worker, by key", (it) => {
  it.effect("L24: a message that waits for its retry holds back those of its key, and no other", () =>
    bench(Effect.gen(function*() {
      const { group, pending, send } = yield* payments({ minIdle: 300, left: 4 })
      yield* send(...of(1, 13, 1, 2), ...of(2, ...Array.from({ length: 50 }, () => 1)), ...of(1, 3))
      const seen: Array<readonly [pence: number, attempt: number]> = []
      // Without Reclaim, which would take over itself what is not renewed, before anybody else can.
      const source = StreamConsumer.stream(group, { consumer: "a" })
      const worker = yield* Effect.fork(Worker.run(source, (payment, delivery) => {
        if (payment.account === 1) seen.push([payment.pence, delivery.attempt])
        return payment.pence === 13 ? refuse("not yet") : credit(payment)
      }, { ...keyed, onFailure: () => Disposition.retry(Schedule.spaced("1 hour")) }))
      yield* until(balance(2), (n) => n === 50)
      // of the other key all are done, and of this one those are left that wait
      yield* until(pending, (n) => n === 4)
      // they are leased, and waiting is no attempt
      yield* stale(group)
      expect(yield* Effect.scoped(Reclaim.once(group, { consumer: "b", count: 10 }))).toEqual([])
      const redis = yield* Redis.Redis
      const held = (yield* redis.command("XPENDING", group.stream, group.group, "-", "+", "10")) as Array<
        [string, string, number, number]
      >
      expect(held.map(([, consumer, , attempts]) => [consumer, attempts])).toEqual(
        Array.from({ length: 4 }, () => ["a", 1])
      )
      expect(seen).toEqual([[13, 1]])
      yield* Fiber.interrupt(worker)
    })))

  it.effect("L24: a retry that waits for longer than minIdle comes when it is due, before those of its key", () =>
    bench(Effect.gen(function*() {
      const { group, send } = yield* payments({ minIdle: 200 })
      yield* send(...of(1, 13, 1, 2))
      const seen: Array<readonly [pence: number, attempt: number, at: number]> = []
      const worker = yield* Effect.fork(Worker.run(source(group, "a"), (payment, { attempt }) => {
        seen.push([payment.pence, attempt, performance.now()])
        return payment.pence === 13 && attempt < 2 ? refuse("not yet") : credit(payment)
      }, { ...keyed, onFailure: () => Disposition.retry(Schedule.spaced("600 millis")) }))
      yield* worked(group)
      expect(seen.map(([pence, attempt]) => [pence, attempt])).toEqual([[13, 1], [13, 2], [1, 1], [2, 1]])
      expect(seen[1]![2] - seen[0]![2]).toBeGreaterThanOrEqual(590)
      expect(yield* balance(1)).toBe(16)
      yield* Fiber.interrupt(worker)
    })))

  it.effect("L24: messages of one key run one after another, whatever the concurrency", () =>
    bench(Effect.gen(function*() {
      const { group, send } = yield* payments()
      const sent = Array.from({ length: 60 }, (_, i) => ({ account: 1 + i % 3, pence: i }))
      yield* send(...sent)
      const running = new Set<number>()
      const seen: Array<number> = []
      // Closed until one of each key runs: they run side by side, or nobody gets on.
      const together = Effect.unsafeMakeLatch()
      const worker = yield* Effect.fork(Worker.run(source(group, "a"), (payment) =>
        Effect.suspend(() => {
          expect(running.has(payment.account)).toBe(false)
          running.add(payment.account)
          if (running.size === 3) together.unsafeOpen()
          seen.push(payment.pence)
          return Effect.ensuring(
            Effect.zipRight(together.await, credit(payment)),
            Effect.sync(() => running.delete(payment.account))
          )
        }), { ...keyed, concurrency: 8 }))
      yield* worked(group)
      for (const account of [1, 2, 3]) {
        const own = (pence: number) => 1 + pence % 3 === account
        expect(seen.filter(own)).toEqual(sent.map(({ pence }) => pence).filter(own))
      }
      yield* Fiber.interrupt(worker)
    })))

  it.effect("L20: who waits is handed back at the end, the first one first, and another process takes all at once", () =>
    bench(Effect.gen(function*() {
      const { group, pending, send } = yield* payments({ minIdle: 60_000 })
      yield* send(...of(1, 1, 2, 3), ...of(2, 9))
      const worker = yield* Effect.fork(Worker.run(
        source(group, "a"),
        (payment) => payment.pence === 1 ? refuse("not here") : credit(payment),
        { ...keyed, onFailure: () => Disposition.retry(Schedule.spaced("1 hour")) }
      ))
      yield* until(pending, (n) => n === 3)
      yield* until(balance(2), (n) => n === 9)
      yield* Fiber.interrupt(worker)
      const seen: Array<number> = []
      const next = yield* Effect.fork(Worker.run(source(group, "b"), (payment) => {
        seen.push(payment.pence)
        return credit(payment)
      }, keyed))
      yield* worked(group)
      expect(seen).toEqual([1, 2, 3])
      yield* Fiber.interrupt(next)
    })))

  it.effect("reading pauses while maxWaiting messages stand behind others, and goes on", () =>
    bench(Effect.gen(function*() {
      const { group, pending, send } = yield* payments()
      yield* send(...of(1, ...Array.from({ length: 40 }, () => 1)))
      const go = yield* Deferred.make<void>()
      const begun = yield* Deferred.make<void>()
      const { reading, source } = watched(StreamConsumer.stream(group, { consumer: "a", batchSize: 2 }))
      yield* Effect.scoped(Effect.gen(function*() {
        const worker = yield* Worker.make(
          source,
          (payment) =>
            Effect.zipRight(Deferred.succeed(begun, undefined), Effect.zipRight(Deferred.await(go), credit(payment))),
          { ...keyed, maxWaiting: 5 }
        )
        yield* Deferred.await(begun)
        const { waiting } = yield* until(worker.status, ({ waiting }) => waiting >= 5)
        // nothing more is read: 1 runs, 5 wait, and 1 more may have come in the same batch
        expect(reading()).toBe(false)
        expect(waiting).toBeLessThanOrEqual(6)
        expect(yield* pending).toBe(1 + waiting)
        yield* Deferred.succeed(go, undefined)
        yield* worked(group)
        expect(yield* balance(1)).toBe(40)
      }))
    })))

  it.effect("maxWaiting: a key behind which so many wait keeps back all others too, until it is settled", () =>
    bench(Effect.gen(function*() {
      const { group, send } = yield* payments()
      yield* send(...of(1, 13, 1, 2, 3, 4), ...of(2, 9))
      const seen: Array<number> = []
      const go = yield* Deferred.make<void>()
      const { reading, source } = watched(StreamConsumer.stream(group, { consumer: "a", batchSize: 1 }))
      yield* Effect.scoped(Effect.gen(function*() {
        const worker = yield* Worker.make(
          source,
          (payment) => {
            seen.push(payment.pence)
            return Effect.zipRight(payment.pence === 13 ? Deferred.await(go) : Effect.void, credit(payment))
          },
          { ...keyed, maxWaiting: 4 }
        )
        yield* until(worker.status, ({ waiting }) => waiting === 4 && seen.length > 0)
        // one slot is free, and the other key's message is not read
        expect(reading()).toBe(false)
        expect(seen).toEqual([13])
        expect((yield* ConsumerGroup.info(group)).lag).toEqual(Option.some(1))
        yield* Deferred.succeed(go, undefined)
        yield* worked(group)
        expect([yield* balance(1), yield* balance(2)]).toEqual([23, 9])
      }))
    })))

  it.effect("a source that ends is worked off by key too", () =>
    bench(Effect.gen(function*() {
      const { group, pending, send } = yield* payments()
      yield* send(...of(1, 1, 2), ...of(2, 3), ...of(1, 4))
      const four = Stream.take(StreamConsumer.stream(group, { consumer: "a" }), 4)
      yield* Worker.run(
        four,
        (payment, { attempt }) => payment.pence === 1 && attempt === 1 ? refuse("once") : credit(payment),
        {
          ...keyed,
          onFailure: () => Disposition.retry(Schedule.spaced("50 millis"))
        }
      )
      expect(yield* pending).toBe(0)
      expect([yield* balance(1), yield* balance(2)]).toEqual([7, 3])
    })))

  it.effect("L18: those whose turn comes while the leases of many are being taken care of are begun once", () =>
    bench(Effect.gen(function*() {
      const { group, send } = yield* payments({ minIdle: 300 })
      yield* send(...Array.from({ length: 900 }, (_, i) => ({ account: i % 300, pence: 1 })))
      // Everybody else has a turn after a few steps, and not only after 2,048: so in between any two things that are done for many.
      const yielding = Scheduler.make((task) => setImmediate(task), (fiber) => fiber.currentOpCount > 40 ? 0 : false)
      const worker = yield* Effect.fork(Effect.withScheduler(
        Worker.run(StreamConsumer.stream(group, { consumer: "a", batchSize: 1000 }), () => Effect.void, {
          ...keyed,
          inbox: "off"
        }),
        yielding
      ))
      // The worker does not end before.
      yield* Effect.raceFirst(worked(group), Fiber.join(worker))
      yield* Fiber.interrupt(worker)
    })))

  it.effect("L24: a poison message is dead-lettered after the caller's attempts and delays no other key", () =>
    bench(Effect.gen(function*() {
      const { deadLetters, group, send } = yield* payments()
      const sql = yield* SqlClient
      yield* sql`INSERT INTO account SELECT n + 3, 0 FROM (
        WITH RECURSIVE s (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < 40) SELECT n FROM s) seq`
      yield* send(...Array.from({ length: 400 }, (_, i) => ({ account: i === 100 ? 43 : 1 + i % 42, pence: 1 })))
      const others = yield* Deferred.make<void>()
      let attempts = 0
      const worker = yield* Effect.fork(Worker.run(source(group, "a"), (payment) =>
        payment.account === 43
          ? Effect.zipRight(++attempts === 2 ? Deferred.await(others) : Effect.void, refuse("poison"))
          : credit(payment), {
        ...keyed,
        concurrency: 8,
        onFailure: () => Disposition.retry(Schedule.intersect(Schedule.spaced("50 millis"), Schedule.recurs(2)))
      }))
      yield* until(
        Effect.map(sql<{ n: number }>`SELECT SUM(balance) AS n FROM account`, ([row]) => Number(row!.n)),
        (n) => n === 399
      )
      expect(attempts).toBeLessThan(3)
      yield* Deferred.succeed(others, undefined)
      yield* until(deadLetters, (n) => n === 1)
      expect(attempts).toBe(3)
      yield* worked(group)
      yield* Fiber.interrupt(worker)
    })))
})
