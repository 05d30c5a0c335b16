import { SqlClient } from "@effect/sql/SqlClient"
import { expect, layer } from "@effect/vitest"
import * as Redis from "@safesync/redis-streams/Redis"
import * as StreamConsumer from "@safesync/redis-streams/StreamConsumer"
import * as Disposition from "@safesync/worker/Disposition"
import * as Worker from "@safesync/worker/Worker"
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import {
  balance,
  bench,
  credit,
  mysqlBehind,
  payments,
  refuse,
  Servers,
  source,
  stoppable,
  until,
  worked
} from "./fixture.js"

const plain = {
  size: 16,
  within: "1 second",
  inbox: "message-id",
  onFailure: () => Disposition.deadLetter
} as const

const of = (count: number) => Array.from({ length: count }, (_, i) => ({ account: 1, pence: i }))
const sum = (count: number) => count * (count - 1) / 2

layer(Servers, { excludeTestServices: true })("Worker.runBatch", (it) => {
  it.effect("L22: many messages share one transaction and one ack", () =>
    bench(Effect.gen(function*() {
      const { group, send } = yield* payments()
      const sql = yield* SqlClient
      yield* sql`CREATE TABLE batch (id INT PRIMARY KEY AUTO_INCREMENT, messages INT NOT NULL, connection INT NOT NULL)`
      yield* send(...of(64))
      const worker = yield* Effect.fork(Worker.runBatch(
        StreamConsumer.stream(group, { consumer: "a" }),
        (deliveries) =>
          Effect.zipRight(
            Effect.forEach(deliveries, ({ value }) => credit(value)),
            sql`INSERT INTO batch (messages, connection) VALUES (${deliveries.length}, CONNECTION_ID())`
          ),
        plain
      ))
      yield* worked(group)
      expect(yield* balance(1)).toBe(sum(64))
      expect(yield* sql`SELECT messages FROM batch`).toEqual(Array.from({ length: 4 }, () => ({ messages: 16 })))
      // fewer than a batch do not wait for ever
      yield* send({ account: 2, pence: 5 })
      yield* until(balance(2), (n) => n === 5)
      yield* Fiber.interrupt(worker)
    })))

  it.effect("L24: a batch that fails is split until the bad messages fail alone; each goes its own way", () =>
    bench(Effect.gen(function*() {
      const { deadLetters, group, send } = yield* payments()
      yield* send(...of(32))
      const parts: Array<number> = []
      const failed: Array<number> = []
      const worker = yield* Effect.fork(Worker.runBatch(source(group, "a"), (deliveries) =>
        Effect.zipRight(
          Effect.sync(() => parts.push(deliveries.length)),
          Effect.forEach(deliveries, ({ value }) =>
            value.pence === 5 || value.pence === 20 ? refuse(`bad ${value.pence}`) : credit(value))
        ), {
        ...plain,
        onFailure: (_, { value }) => {
          failed.push(value.pence)
          return value.pence === 5 ? Disposition.deadLetter : Disposition.discard
        }
      }))
      yield* worked(group)
      expect(failed).toEqual([5, 20])
      expect(yield* deadLetters).toBe(1)
      expect(yield* balance(1)).toBe(sum(32) - 25)
      // the batch, its first half, that one's first half, and so on, each bad message among eight others at last
      expect(parts).toEqual([16, 8, 4, 4, 2, 1, 1, 2, 8, 16, 8, 4, 4, 2, 1, 1, 2, 8])
      yield* Fiber.interrupt(worker)
    })))

  it.effect("L24: what is no single message's fault is not looked for in halves", () =>
    bench(Effect.gen(function*() {
      const { group, send } = yield* payments()
      const { behind, proxy } = yield* mysqlBehind
      const cases = [
        ["CommitOutcomeUnknown", proxy.loseReplies("COMMIT"), Effect.void, 1],
        ["BeginFailed", Effect.zipRight(proxy.refuse, proxy.cut), proxy.accept, 0]
      ] as const
      for (const [tag, break_, mend, times] of cases) {
        yield* send(...of(4))
        yield* break_
        let handled = 0
        const failed: Array<unknown> = []
        const worker = yield* Effect.fork(Effect.provide(
          Worker.runBatch(source(group, "a"), (all) =>
            Effect.zipRight(
              Effect.sync(() => handled++),
              Effect.forEach(
                all,
                ({ value }) => credit(value)
              )
            ), {
            ...plain,
            size: 4,
            inbox: "off",
            onFailure: (cause) => {
              failed.push(Option.getOrThrow(Cause.failureOption(cause))._tag)
              return Disposition.discard
            }
          }),
          behind
        ))
        yield* worked(group)
        expect([tag, handled, failed]).toEqual([tag, times, [tag, tag, tag, tag]])
        yield* Fiber.interrupt(worker)
        yield* mend
      }
    })))

  it.effect("L23: messages that come again, and twice in one batch, are applied once and acked", () =>
    bench(Effect.gen(function*() {
      const { group, send } = yield* payments({ minIdle: 100 })
      yield* send(...of(20), ...of(20))
      const seen: Array<number> = []
      const handler = (deliveries: ReadonlyArray<{ readonly value: { account: number; pence: number } }>) =>
        Effect.forEach(deliveries, ({ value }) => {
          seen.push(value.pence)
          return credit(value)
        })
      const options = { ...plain, inbox: ({ pence }: { readonly pence: number }) => `payment ${pence}` }
      const worker = yield* Effect.fork(Worker.runBatch(source(group, "a"), handler, options))
      yield* worked(group)
      yield* send(...of(25))
      yield* worked(group)
      expect(seen.toSorted((a, b) => a - b)).toEqual(of(25).map(({ pence }) => pence))
      expect(yield* balance(1)).toBe(sum(25))
      yield* Fiber.interrupt(worker)
    })))

  it.effect("L24: a message of a batch that is to be retried comes again, and counts its attempts", () =>
    bench(Effect.gen(function*() {
      const { deadLetters, group, send } = yield* payments({ minIdle: 300 })
      yield* send(...of(8))
      const attempts: Array<number> = []
      const worker = yield* Effect.fork(
        Worker.runBatch(source(group, "a"), (deliveries) =>
          Effect.forEach(deliveries, ({ attempt, value }) => {
            if (value.pence !== 3) return credit(value)
            if (deliveries.length === 1) attempts.push(attempt)
            return refuse("bad")
          }), { ...plain, onFailure: () => Disposition.retry(Schedule.recurs(2)) })
      )
      yield* until(deadLetters, (n) => n === 1)
      yield* worked(group)
      expect(attempts).toEqual([1, 2, 3])
      expect(yield* balance(1)).toBe(sum(8) - 3)
      yield* Fiber.interrupt(worker)
    })))

  it.effect("L18: a lost lease rolls the batch back, and the others are handled without that message", () =>
    bench(Effect.gen(function*() {
      const { group, pending, send } = yield* payments({ minIdle: 300, left: 1 })
      const ids = yield* send(...of(4))
      const redis = yield* Redis.Redis
      const begun = yield* Deferred.make<void>()
      const worker = yield* Effect.fork(Worker.runBatch(
        StreamConsumer.stream(group, { consumer: "a" }),
        (deliveries) =>
          Effect.zipRight(
            Effect.forEach(deliveries, ({ value }) => credit(value)),
            deliveries.length === 4
              ? Effect.zipRight(Deferred.succeed(begun, undefined), Effect.never)
              : Effect.void
          ),
        { ...plain, size: 4 }
      ))
      yield* Deferred.await(begun)
      yield* redis.command("XCLAIM", group.stream, group.group, "thief", "0", ids[2]!)
      yield* until(pending, (n) => n === 1)
      expect(yield* balance(1)).toBe(sum(4) - 2)
      yield* Fiber.interrupt(worker)
    })))

  it.effect("L26: interruption finishes the batch that runs, and hands back what was not begun", () =>
    bench(Effect.gen(function*() {
      const { group, pending, send } = yield* payments()
      yield* send(...of(40))
      const begun = yield* Deferred.make<void>()
      const go = yield* Deferred.make<void>()
      const worker = yield* stoppable(Worker.makeBatch(
        source(group, "a"),
        (deliveries) =>
          Effect.zipRight(
            Deferred.succeed(begun, undefined),
            Effect.zipRight(Deferred.await(go), Effect.forEach(deliveries, ({ value }) => credit(value)))
          ),
        plain
      ))
      yield* Deferred.await(begun)
      const stopping = yield* worker.drain
      yield* Deferred.succeed(go, undefined)
      yield* Fiber.join(stopping)
      expect(yield* balance(1)).toBe(sum(16))
      expect(yield* pending).toBe(24)
      const next = yield* Effect.fork(
        Worker.runBatch(source(group, "b"), (all) => Effect.forEach(all, ({ value }) => credit(value)), plain)
      )
      yield* worked(group)
      expect(yield* balance(1)).toBe(sum(40))
      yield* Fiber.interrupt(next)
    })))
})
