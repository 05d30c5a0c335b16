import { SqlClient } from "@effect/sql/SqlClient"
import { expect, layer } from "@effect/vitest"
import type * as ConsumerGroup from "@safesync/redis-streams/ConsumerGroup"
import * as DeadLetter from "@safesync/redis-streams/DeadLetter"
import type * as Delivery from "@safesync/redis-streams/Delivery"
import * as Redis from "@safesync/redis-streams/Redis"
import * as Disposition from "@safesync/worker/Disposition"
import * as Worker from "@safesync/worker/Worker"
import type * as Cause from "effect/Cause"
import * as Chunk from "effect/Chunk"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import {
  balance,
  bench,
  credit,
  mysqlBehind,
  one,
  payments,
  plain,
  refuse,
  Servers,
  source,
  until,
  worked
} from "./fixture.js"

/** As the guide has it: as long as it takes where it is an outage, and three times otherwise. */
const onFailure = (cause: Cause.Cause<unknown>) =>
  Disposition.isOutage(cause)
    ? Disposition.retry(Schedule.spaced("10 millis"))
    : Disposition.retry(Schedule.intersect(Schedule.spaced("10 millis"), Schedule.recurs(2)))

const counts = (stream: string) =>
  Effect.flatMap(
    Redis.Redis,
    (redis) => Effect.map(redis.command("KEYS", `{${stream}}:failed:*`), (keys) => keys as ReadonlyArray<string>)
  )

const letters = <A>(group: ConsumerGroup.ConsumerGroup<A>) =>
  Effect.map(Stream.runCollect(DeadLetter.stream(group)), Chunk.toReadonlyArray)

const breaksItsConnection = Effect.flatMap(SqlClient, (sql) =>
  Effect.flatMap(
    sql<{ id: number }>`SELECT CONNECTION_ID() AS id`,
    ([row]) => Effect.zipRight(Effect.ignore(sql.unsafe(`KILL ${row!.id}`)), sql`SELECT 1`)
  ))

layer(Servers, { excludeTestServices: true })("What a retry's schedule counts", (it) => {
  for (const key of [undefined, () => "one"]) {
    const form = key === undefined ? "run" : "by key"
    it.effect(`L24: an outage spends nothing of it, and the failures of several processes add up: ${form}`, () =>
      bench(Effect.gen(function*() {
        const { deadLetters, group, send, stream } = yield* payments()
        const { behind, proxy } = yield* mysqlBehind
        let outages = 0
        let failures = 0
        let attempt = 0
        const work = (consumer: string) =>
          Effect.provide(
            Worker.run(
              source(group, consumer),
              (_, delivery: Delivery.Delivery<unknown>) => {
                failures++
                attempt = delivery.attempt
                return refuse("not yet")
              },
              {
                ...plain,
                ...(key === undefined ? {} : { key }),
                onFailure: (cause) => {
                  if (Disposition.isOutage(cause)) outages++
                  return onFailure(cause)
                }
              }
            ),
            behind
          )
        yield* proxy.refuse
        yield* proxy.cut
        yield* send(one)
        const first = yield* Effect.fork(work("a"))
        yield* until(Effect.sync(() => outages), (n) => n >= 6)
        expect(yield* counts(stream)).toEqual([])
        yield* proxy.accept
        // Another process goes on where this one ends.
        yield* until(Effect.sync(() => failures), (n) => n >= 1)
        yield* Fiber.interrupt(first)
        const second = yield* Effect.fork(work("b"))
        yield* worked(group)
        yield* Fiber.interrupt(second)
        expect(failures).toBe(3)
        expect(attempt).toBeGreaterThan(key === undefined ? 6 : 1)
        expect(yield* deadLetters).toBe(1)
        yield* until(counts(stream), (keys) => keys.length === 0)
      })))
  }

  it.effect("L24: it is forgotten when the message is handled in the end, whoever has counted", () =>
    bench(Effect.gen(function*() {
      const { group, send, stream } = yield* payments()
      yield* send(one)
      const failed = yield* Deferred.make<void>()
      const failing = yield* Effect.fork(Worker.run(
        source(group, "a"),
        () => Effect.zipRight(Deferred.succeed(failed, undefined), refuse("not yet")),
        { ...plain, onFailure: () => Disposition.retry(Schedule.spaced("50 millis")) }
      ))
      yield* until(counts(stream), (keys) => keys.length === 1)
      yield* Fiber.interrupt(failing)
      const worker = yield* Effect.fork(Worker.run(source(group, "b"), credit, plain))
      yield* worked(group)
      yield* until(counts(stream), (keys) => keys.length === 0)
      expect(yield* balance(1)).toBe(1)
      yield* Fiber.interrupt(worker)
    })))

  for (const form of ["run", "runBatch"] as const) {
    it.effect(`L24: a message that breaks its own connection is no outage, and is given up in the end: ${form}`, () =>
      bench(Effect.gen(function*() {
        const { group, send } = yield* payments()
        yield* send(one, { account: 2, pence: 1 }, { account: 3, pence: 1 })
        const options = { ...plain, concurrency: 1, onFailure }
        const handle = (payment: { readonly account: number; readonly pence: number }) =>
          payment.account === 2 ? breaksItsConnection : credit(payment)
        const worker = yield* Effect.fork(
          form === "run"
            ? Worker.run(source(group, "a"), handle, options)
            : Worker.runBatch(source(group, "a"), (all) => Effect.forEach(all, ({ value }) => handle(value)), {
              ...options,
              size: 3,
              within: "1 second"
            })
        )
        yield* worked(group)
        yield* Fiber.interrupt(worker)
        expect([yield* balance(1), yield* balance(2), yield* balance(3)]).toEqual([1, 0, 1])
        const dead = yield* letters(group)
        expect(dead.map(({ attempts }) => attempts)).toEqual([3])
      })))
  }

  it.effect("L24: two messages that break their connections at the same time are given up as well", () =>
    bench(Effect.gen(function*() {
      const { group, send } = yield* payments()
      yield* send({ account: 2, pence: 1 }, { account: 3, pence: 1 })
      const worker = yield* Effect.fork(Worker.run(
        source(group, "a"),
        () => breaksItsConnection,
        { ...plain, concurrency: 2, onFailure }
      ))
      yield* worked(group)
      yield* Fiber.interrupt(worker)
      const dead = yield* letters(group)
      expect(dead.length).toBe(2)
      for (const { attempts } of dead) expect(attempts).toBeLessThanOrEqual(3 + 3)
    })))

  it.effect("L24: connections that are lost together are an outage, though the server answers by then", () =>
    bench(Effect.gen(function*() {
      const { deadLetters, group, send } = yield* payments()
      const { behind, proxy } = yield* mysqlBehind
      const sql = yield* SqlClient
      yield* sql`CREATE TABLE gate (id INT)`
      yield* send(...Array.from({ length: 4 }, () => one))
      const begun = yield* Effect.makeSemaphore(4)
      yield* begun.take(4)
      const go = yield* Deferred.make<void>()
      const judged: Array<boolean> = []
      const worker = yield* Effect.fork(Effect.provide(
        Worker.run(
          source(group, "a"),
          (payment) =>
            credit({ account: payment.account, pence: 0 }).pipe(
              Effect.zipRight(begun.release(1)),
              Effect.zipRight(Deferred.await(go)),
              Effect.zipRight(credit(payment))
            ),
          {
            ...plain,
            lease: "1 minute",
            onFailure: (cause) => {
              judged.push(Disposition.isOutage(cause))
              return onFailure(cause)
            }
          }
        ),
        behind
      ))
      // One has the row's lock, and the others wait for it.
      yield* begun.take(1)
      yield* proxy.cut
      yield* Deferred.succeed(go, undefined)
      yield* worked(group)
      yield* Fiber.interrupt(worker)
      expect(judged.length).toBeGreaterThanOrEqual(2)
      expect(judged.every((isOutage) => isOutage)).toBe(true)
      expect([yield* balance(1), yield* deadLetters]).toEqual([4, 0])
    })))
})
