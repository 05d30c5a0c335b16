import { SqlClient } from "@effect/sql/SqlClient"
import { expect, layer } from "@effect/vitest"
import * as DeadLetter from "@safesync/redis-streams/DeadLetter"
import * as Delivery from "@safesync/redis-streams/Delivery"
import * as Redis from "@safesync/redis-streams/Redis"
import * as StreamConsumer from "@safesync/redis-streams/StreamConsumer"
import * as Disposition from "@safesync/worker/Disposition"
import * as Worker from "@safesync/worker/Worker"
import * as Cause from "effect/Cause"
import * as Chunk from "effect/Chunk"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Logger from "effect/Logger"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import {
  balance,
  bench,
  credit,
  one,
  payments,
  plain,
  refuse,
  Servers,
  source,
  stale,
  until,
  worked
} from "./fixture.js"

layer(Servers, { excludeTestServices: true })("Worker, what goes wrong", (it) => {
  const often = Schedule.spaced("1 minute")
  const growing = Schedule.exponential("1 second")
  it.effect.each([
    { name: "spaced", schedule: often },
    { name: "exponential up to a bound", schedule: Schedule.union(growing, often) },
    { name: "jittered up to a bound", schedule: Schedule.union(Schedule.jittered(growing), often) },
    { name: "fibonacci up to a bound", schedule: Schedule.union(Schedule.fibonacci("1 second"), often) }
  ])(
    "L24: the retry of a message whose count is the greatest that there is has the schedule's delay: $name",
    ({ schedule }) =>
      bench(Effect.gen(function*() {
        const { group, send, stream } = yield* payments({ left: 1 })
        const redis = yield* Redis.Redis
        const [id] = yield* send(one)
        const greatest = String(Number.MAX_SAFE_INTEGER - 1)
        yield* redis.commands([
          ["XREADGROUP", "GROUP", group.group, "a", "STREAMS", stream, ">"],
          ["XCLAIM", stream, group.group, "a", "0", id!, "RETRYCOUNT", greatest, "JUSTID"]
        ])
        const worker = yield* Effect.fork(Worker.run(source(group, "a"), () => refuse("not yet"), {
          ...plain,
          onFailure: () => Disposition.retry(schedule)
        }))
        const isParked = ([entry]: ReadonlyArray<readonly [id: string, owner: string]>) =>
          entry![1] === "safesync.parked"
        yield* until(
          redis.command("XPENDING", stream, group.group, "-", "+", "1"),
          (pending) => isParked(pending as never)
        )
        yield* Fiber.interrupt(worker)
      }))
  )

  it.effect("L24: onFailure tells failures, defects and interruptions of the handler apart, and all are rolled back", () =>
    bench(Effect.gen(function*() {
      const { group, send } = yield* payments()
      yield* send(...[1, 2, 3].map((account) => ({ account, pence: account })))
      const seen: Array<string> = []
      const worker = yield* Effect.fork(Worker.run(
        source(group, "a"),
        (payment) =>
          Effect.zipRight(
            credit(payment),
            [Effect.fail("typed"), Effect.die("defect"), Effect.interrupt][payment.account - 1]!
          ),
        {
          ...plain,
          concurrency: 1,
          onFailure: (cause) => {
            seen.push(Cause.match(cause, {
              onEmpty: "empty",
              onFail: (error) => `fail ${error}`,
              onDie: (defect) => `die ${defect}`,
              onInterrupt: () => "interrupt",
              onSequential: (left) => left,
              onParallel: (left) => left
            }))
            return Disposition.discard
          }
        }
      ))
      yield* until(Effect.sync(() => seen.length), (n) => n === 3)
      yield* worked(group)
      expect(seen).toEqual(["fail typed", "die defect", "interrupt"])
      expect([yield* balance(1), yield* balance(2), yield* balance(3)]).toEqual([0, 0, 0])
      yield* Fiber.interrupt(worker)
    })))

  it.effect("L24: a handler that settles its delivery itself and fails leaves it so, and the next message has its turn", () =>
    bench(Effect.gen(function*() {
      const { group, send } = yield* payments()
      for (const key of [undefined, () => "k"]) {
        const before = yield* balance(1)
        yield* send({ account: 2, pence: 1 }, one)
        const worker = yield* Effect.fork(Worker.run(
          source(group, "a"),
          (payment, delivery) =>
            Effect.gen(function*() {
              if (payment.account === 1) return yield* credit(payment)
              yield* Delivery.deadLetter(delivery, "not for us")
              return yield* Effect.fail("no")
            }),
          { ...plain, ...(key === undefined ? {} : { key }), onFailure: () => Disposition.retry(Schedule.recurs(3)) }
        ))
        yield* until(balance(1), (n) => n === before + 1)
        yield* worked(group)
        yield* Fiber.interrupt(worker)
      }
      expect(yield* Stream.runCount(DeadLetter.stream(group))).toBe(2)
      expect(yield* balance(2)).toBe(0)
    })))

  it.effect("L24: a defect of onFailure itself is the worker's end, and the message stays pending as it is", () =>
    bench(Effect.gen(function*() {
      const { group, pending, send } = yield* payments({ left: 1 })
      yield* send(one)
      const exit = yield* Effect.exit(Worker.run(source(group, "a"), () => Effect.fail("no"), {
        ...plain,
        onFailure: () => {
          throw new Error("a mistake in the policy")
        }
      }))
      expect(Exit.isFailure(exit) && Cause.pretty(exit.cause)).toContain("a mistake in the policy")
      expect(yield* pending).toBe(1)
      // not handed back: the next process would only die of it as well
      const next = yield* Effect.fork(Worker.run(source(group, "b"), credit, plain))
      yield* send(one)
      yield* until(balance(1), (n) => n === 1)
      expect(yield* pending).toBe(1)
      yield* Fiber.interrupt(next)
    })))

  it.effect("L24: an answer of onFailure that is no Disposition is told as what it is", () =>
    bench(Effect.gen(function*() {
      const { group, pending, send } = yield* payments({ left: 1 })
      yield* send(one)
      for (const answer of [undefined, Effect.succeed(Disposition.discard)] as ReadonlyArray<unknown>) {
        const exit = yield* Effect.exit(
          Worker.run(source(group, "a"), () => Effect.fail("no"), { ...plain, onFailure: () => answer as never })
        )
        expect(Exit.isFailure(exit) && Cause.pretty(exit.cause)).toContain("onFailure must answer with a Disposition")
      }
      expect(yield* pending).toBe(1)
    })))

  it.effect("an inbox or an onFailure that can never work is a defect at once, not each message's failure", () =>
    bench(Effect.gen(function*() {
      const refused = (options: object) =>
        Effect.forEach([
          Worker.run(Stream.empty, () => Effect.void, { ...plain, ...options }),
          Worker.runBatch(Stream.empty, () => Effect.void, { ...plain, size: 1, within: 1, ...options })
        ], (worker) => Effect.map(Effect.exit(worker), (exit) => Exit.isFailure(exit) && Cause.pretty(exit.cause)))
      const both = (text: string) => [expect.stringContaining(text), expect.stringContaining(text)]
      expect(yield* refused({ inbox: "messageid" })).toEqual(
        both("inbox must be \"message-id\", \"off\" or a function, not messageid")
      )
      expect(yield* refused({ inbox: undefined })).toEqual(both("not undefined"))
      expect(yield* refused({ onFailure: undefined })).toEqual(both("onFailure must be a function"))
    })))

  it.effect("L24: what goes to the dead letters is logged, with the text of MySQL's errors and the type of others alone", () =>
    bench(Effect.gen(function*() {
      const { group, send } = yield* payments()
      const said: Array<Readonly<Record<string, unknown>>> = []
      const logger = Logger.make(({ annotations, message }) => {
        if (String(message) === "A message has gone to the dead letters") said.push(Object.fromEntries(annotations))
      })
      const [first, second] = yield* send({ account: 1, pence: 1 }, { account: 2, pence: 1 })
      const worker = yield* Effect.fork(
        Worker.run(source(group, "a"), ({ account }) =>
          account === 1
            ? Effect.flatMap(SqlClient, (sql) => sql`UPDATE nowhere SET n = 1`)
            : Effect.fail(new TypeError("with a value")), {
          ...plain,
          concurrency: 1,
          onFailure: () => Disposition.deadLetter
        }).pipe(Effect.provide(Logger.replace(Logger.defaultLogger, logger)))
      )
      yield* worked(group)
      yield* Fiber.interrupt(worker)
      const where = { stream: group.stream, group: group.group, attempt: 1 }
      expect(said).toEqual([
        { ...where, id: first, error: expect.stringMatching(/1146 .*nowhere' doesn't exist/) },
        { ...where, id: second, error: "TypeError" }
      ])
    })))

  it.effect("L24: dead letters hold the pretty-printed cause and the attempts", () =>
    bench(Effect.gen(function*() {
      const { deadLetters, group, send } = yield* payments({ minIdle: 200 })
      yield* send(one)
      const worker = yield* Effect.fork(
        Worker.run(source(group, "a"), () => Effect.die(new Error("its disk is full")), {
          ...plain,
          onFailure: () => Disposition.retry(Schedule.recurs(1))
        })
      )
      yield* until(deadLetters, (n) => n === 1)
      const [letter] = Chunk.toReadonlyArray(yield* Stream.runCollect(DeadLetter.stream(group)))
      expect(letter?.reason).toContain("Error: its disk is full")
      expect(letter?.attempts).toBe(2)
      yield* Fiber.interrupt(worker)
    })))

  it.effect("L24: a retry may wait for longer than minIdle; it comes when it is due, and the server has counted it", () =>
    bench(Effect.gen(function*() {
      const { group, send } = yield* payments({ minIdle: 200 })
      yield* send(one)
      const seen: Array<readonly [attempt: number, at: number]> = []
      const worker = yield* Effect.fork(Worker.run(source(group, "a"), (payment, { attempt }) => {
        seen.push([attempt, performance.now()])
        return attempt === 1 ? refuse("later") : credit(payment)
      }, { ...plain, onFailure: () => Disposition.retry(Schedule.spaced("900 millis")) }))
      yield* worked(group)
      expect(seen.map(([attempt]) => attempt)).toEqual([1, 2])
      expect(seen[1]![1] - seen[0]![1]).toBeGreaterThanOrEqual(890)
      yield* Fiber.interrupt(worker)
    })))

  it.effect("L24: a worker that ends meanwhile cuts what exceeds minIdle, and leaves the rest to the pending list", () =>
    bench(Effect.gen(function*() {
      const { group, send } = yield* payments({ minIdle: 500 })
      yield* send(one)
      const failed = yield* Deferred.make<void>()
      const worker = yield* Effect.fork(Worker.run(
        source(group, "a"),
        () => Effect.zipRight(Deferred.succeed(failed, undefined), Effect.fail("later")),
        { ...plain, onFailure: () => Disposition.retry(Schedule.spaced("1 hour")) }
      ))
      yield* Deferred.await(failed)
      yield* Fiber.interrupt(worker)
      const next = yield* Effect.fork(Worker.run(source(group, "b"), credit, plain))
      yield* worked(group)
      expect(yield* balance(1)).toBe(1)
      yield* Fiber.interrupt(next)
    })))

  it.effect("L18: a lost lease interrupts the handler and rolls its transaction back; who took it applies it once", () =>
    bench(Effect.gen(function*() {
      const { group, send } = yield* payments({ minIdle: 300 })
      yield* send(one)
      const redis = yield* Redis.Redis
      const begun = yield* Deferred.make<string>()
      const interrupted = yield* Deferred.make<void>()
      const robbed = yield* Effect.fork(Worker.run(
        StreamConsumer.stream(group, { consumer: "a" }),
        (payment, { id }) =>
          Effect.zipRight(credit(payment), Effect.zipRight(Deferred.succeed(begun, id), Effect.never)).pipe(
            Effect.onInterrupt(() => Deferred.succeed(interrupted, undefined))
          ),
        plain
      ))
      const id = yield* Deferred.await(begun)
      // its lease is renewed: three times minIdle later it is still nobody else's
      yield* stale(group, 3)
      expect(yield* redis.command("XCLAIM", group.stream, group.group, "thief", "300", id)).toEqual([])
      yield* redis.command("XCLAIM", group.stream, group.group, "thief", "0", id)
      yield* Deferred.await(interrupted)
      const next = yield* Effect.fork(Worker.run(source(group, "thief"), credit, plain))
      yield* worked(group)
      expect(yield* balance(1)).toBe(1)
      yield* Fiber.interrupt(next)
      yield* Fiber.interrupt(robbed)
    })))

  it.effect("lease: a handler that is not done in time is rolled back, and onFailure is told so", () =>
    bench(Effect.gen(function*() {
      const { group, pending, send } = yield* payments({ left: 1 })
      yield* send(one)
      const exit = yield* Effect.exit(Worker.run(
        source(group, "a"),
        (payment) => Effect.zipRight(credit(payment), Effect.never),
        { ...plain, lease: "50 millis" }
      ))
      expect(Option.map(Exit.causeOption(exit), Cause.failureOption)).toMatchObject({
        value: { value: { _tag: "LeaseExpired", millis: 50 } }
      })
      expect(yield* pending).toBe(1)
      expect(yield* balance(1)).toBe(0)
    })))
})
