import { expect, layer } from "@effect/vitest"
import * as Transaction from "@safesync/mysql/Transaction"
import * as DeadLetter from "@safesync/redis-streams/DeadLetter"
import * as Delivery from "@safesync/redis-streams/Delivery"
import * as RedisError from "@safesync/redis-streams/RedisError"
import * as StreamConsumer from "@safesync/redis-streams/StreamConsumer"
import * as TraceContext from "@safesync/redis-streams/TraceContext"
import * as Disposition from "@safesync/worker/Disposition"
import * as Worker from "@safesync/worker/Worker"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Logger from "effect/Logger"
import * as LogLevel from "effect/LogLevel"
import * as Stream from "effect/Stream"
import * as Tracer from "effect/Tracer"
import { inspect } from "node:util"
import { bench, payments, plain, Servers, source, worked } from "./fixture.js"

const throws = (): never => {
  throw new Error("a getter has thrown")
}

const revoked = () => {
  const { proxy, revoke } = Proxy.revocable({ _tag: "Revoked" }, {})
  revoke()
  return proxy
}

class Endless extends Error {
  override get cause(): unknown {
    return new Endless("and so on")
  }
}

/** Failures and defects that a handler may have, and a word that its dead letter holds. */
const nasty: Readonly<Record<string, readonly [make: () => unknown, told: string]>> = {
  "a BigInt in an object": [() => ({ _tag: "LimitExceeded", limit: 10_000n }), "LimitExceeded"],
  "a BigInt": [() => 10n, "10"],
  "a symbol": [() => Symbol("a symbol"), ""],
  "undefined": [() => undefined, ""],
  "null": [() => null, "null"],
  "a function": [() => throws, ""],
  "an object without a prototype": [() => Object.assign(Object.create(null), { word: "bare" }), "bare"],
  "an object that holds itself": [() => {
    const self: Record<string, unknown> = { word: "circle", limit: 1n }
    return Object.assign(self, { self })
  }, "circle"],
  "an object whose getters throw": [() => Object.defineProperty({}, "x", { enumerable: true, get: throws }), ""],
  "a tag that throws": [
    () => Object.defineProperty(new Error("here"), "_tag", { enumerable: true, get: throws }),
    "here"
  ],
  "a tag that is no text": [() => Object.assign(new Error("here"), { _tag: { toString: throws } }), "here"],
  "an error whose message throws": [() => Object.defineProperty(new Error("x"), "message", { get: throws }), ""],
  "an error whose name throws": [() => Object.defineProperty(new Error("here"), "name", { get: throws }), "here"],
  "an error whose stack throws": [() => Object.defineProperty(new Error("here"), "stack", { get: throws }), "here"],
  "an error whose stack is no text": [() => Object.assign(new Error("here"), { stack: { length: 1 } }), "here"],
  "an error whose stack is a number": [() => Object.assign(new Error("here"), { stack: 7 }), "here"],
  "an error whose name is no text": [() => Object.assign(new Error("here"), { name: Symbol("name") }), ""],
  "an error whose message is no text": [() => Object.assign(new Error("x"), { message: Symbol("here") }), ""],
  "an error with a property that throws": [
    () => Object.defineProperty(new Error("here"), "detail", { enumerable: true, get: throws }),
    "here"
  ],
  "toJSON that throws": [() => ({ word: "json", toJSON: throws }), "json"],
  "toString that throws": [() => ({ word: "string", toString: throws }), "string"],
  "toString that gives no text": [() => ({ word: "string", toString: () => Symbol("x") }), ""],
  "inspect that throws": [() => ({ word: "inspect", limit: 1n, [inspect.custom]: throws }), "inspect"],
  "a proxy that refuses all": [
    () =>
      new Proxy({}, {
        get: throws,
        has: throws,
        ownKeys: throws,
        getPrototypeOf: throws,
        getOwnPropertyDescriptor: throws
      }),
    ""
  ],
  "a proxy that was revoked": [revoked, ""],
  "an error that holds a proxy that was revoked": [
    () => Object.assign(new Error("here"), { cause: revoked() }),
    "here"
  ],
  "an error that is its own cause": [() => {
    const error = new Error("here")
    return Object.assign(error, { cause: error })
  }, "here"],
  "an endless chain of causes": [() => new Endless("the first one"), "the first one"],
  "a message of 2 MB": [() => new Error("long ".repeat(400_000)), "long"],
  "a text of 2 MB": [() => "é€😀".repeat(300_000), "é€😀"],
  "a tag of 2 MB": [() => ({ _tag: "tag ".repeat(500_000) }), "tag"],
  "a stack of 2 MB that nothing is found in quickly": [
    () => Object.assign(new Error("x"), { name: "Other", stack: `here\n${"at ".repeat(700_000)}` }),
    ""
  ]
}

/** A tracer that prints what a span ends with, as an exporter does. */
const exporter = (ended: Array<string>) =>
  Tracer.make({
    span: (name, parent, context, links, startTime, kind) => {
      const attributes = new Map<string, unknown>()
      return {
        ...{ _tag: "Span", name, kind, parent, context, links, attributes, sampled: true, spanId: "1".repeat(16) },
        ...{ traceId: "1".repeat(32), status: { _tag: "Started", startTime } },
        attribute: (key: string, value: unknown) => void attributes.set(key, value),
        event: () => {},
        addLinks: () => {},
        end: (_: bigint, exit: Exit.Exit<unknown, unknown>) => {
          if (Exit.isFailure(exit)) ended.push(Cause.prettyErrors(exit.cause).map(({ stack }) => stack).join())
        }
      } as unknown as Tracer.Span
    },
    context: (f) => f()
  })

/** Everything is printed, as far as a logger can be asked to, and spans are exported. */
const watched = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.gen(function*() {
    const lines: Array<string> = []
    const spans: Array<string> = []
    const logger = Logger.map(Logger.logfmtLogger, (line) => void lines.push(line))
    const value = yield* effect.pipe(
      Effect.withTracer(exporter(spans)),
      Effect.provide(Logger.replace(Logger.defaultLogger, logger)),
      Logger.withMinimumLogLevel(LogLevel.Debug)
    )
    return { value, lines, spans }
  })

const modes = ["fails with", "dies of"] as const

/** Not `Effect.fail` or `Effect.die`: those look into what they are given. */
const failWith = (mode: typeof modes[number], value: unknown) =>
  Effect.failCause(mode === "dies of" ? Cause.die(value) : Cause.fail(value))

const all = Object.entries(nasty).flatMap(([name, [make, told]]) => modes.map((mode) => ({ name, mode, make, told })))

layer(Servers, { excludeTestServices: true })("To describe a failure never fails", (it) => {
  const deadLettersOf = (batches: boolean) =>
    bench(Effect.gen(function*() {
      const { group, send } = yield* payments()
      yield* send(...all.map((_, account) => ({ account, pence: 1 })))
      const fail = (account: number) => {
        const { make, mode } = all[account]!
        return failWith(mode, make())
      }
      const options = { ...plain, lease: "30 seconds", onFailure: () => Disposition.deadLetter } as const
      const watching = yield* watched(Effect.gen(function*() {
        const worker = yield* Effect.fork(
          batches
            ? Worker.runBatch(source(group, "a"), ([first]) => fail(first.value.account), {
              ...options,
              size: 4,
              within: 1
            })
            : Worker.run(source(group, "a"), ({ account }) => fail(account), options)
        )
        yield* Effect.raceFirst(worked(group), Fiber.join(worker))
        yield* Fiber.interrupt(worker)
      }))
      const letters = [...yield* Stream.runCollect(DeadLetter.stream(group))]
      expect(letters.length).toBe(all.length)
      for (const letter of letters) {
        const { mode, name, told } = all[JSON.parse(letter.fields[1]!).account]!
        expect({ mode, name, reason: letter.reason }).toMatchObject({ reason: expect.stringContaining(told) })
        expect(letter.reason).not.toBe("")
        expect(Buffer.byteLength(letter.reason)).toBeLessThanOrEqual(4096)
        expect(letter.reason.includes("\uFFFD"), `${name} is cut at a character`).toBe(false)
      }
      for (const text of [...watching.lines, ...watching.spans]) expect(text.length).toBeLessThan(20_000)
    }))

  it.effect(
    "a handler may fail with anything: run moves its message to the dead letters, with a bounded reason",
    () => deadLettersOf(false),
    60_000
  )

  it.effect(
    "a batch may fail with anything: runBatch moves each of its messages to the dead letters",
    () => deadLettersOf(true),
    60_000
  )

  it.effect(
    "a consumer's handler may fail with anything: the bracket fails with that, and the lease goes on",
    () =>
      bench(Effect.gen(function*() {
        const { group, send } = yield* payments()
        yield* send(...all.map((_, account) => ({ account, pence: 1 })))
        yield* watched(
          StreamConsumer.stream(group, { consumer: "a" }).pipe(
            Stream.take(all.length),
            Stream.runForEach((delivery) => {
              const { make, mode, name } = all[delivery.value.account]!
              const value = make()
              const used = Delivery.use(delivery, () => Effect.zipRight(Effect.yieldNow(), failWith(mode, value)))
              return Effect.gen(function*() {
                const exit = yield* Effect.exit(used)
                const found = Exit.isFailure(exit)
                  ? [...Cause.failures(exit.cause), ...Cause.defects(exit.cause)]
                  : []
                expect(found.length === 1 && found[0] === value, `${mode} ${name}`).toBe(true)
                yield* Delivery.deadLetter(delivery, Exit.isFailure(exit) ? exit.cause : "no failure")
              })
            })
          )
        )
        yield* Stream.runForEach(
          DeadLetter.stream(group),
          ({ reason }) => Effect.sync(() => expect(Buffer.byteLength(reason)).toBeLessThanOrEqual(4096))
        )
      })),
    60_000
  )

  it.effect(
    "a transaction's body may fail with anything: it is rolled back, and its connection is free again",
    () =>
      bench(Effect.gen(function*() {
        yield* payments()
        yield* watched(Effect.forEach(all, ({ make, mode, name }) =>
          Effect.gen(function*() {
            const value = make()
            for (
              const run of [
                Transaction.run(),
                (body: Effect.Effect<never, unknown>) => Transaction.run(Transaction.savepoint(body))
              ]
            ) {
              const exit = yield* Effect.exit(run(failWith(mode, value)))
              expect(Exit.isFailure(exit) && Cause.squash(exit.cause) === value, `${mode} ${name}`).toBe(true)
            }
            // An effect that runs after COMMIT does not undo it, whatever it dies of.
            yield* Effect.as(Transaction.afterCommit(Effect.failCause(Cause.die(value))), "committed").pipe(
              Transaction.run()
            )
          }), { discard: true }))
      })),
    60_000
  )

  it.effect("a span ends with anything, and the effect inside of it with the same", () =>
    Effect.gen(function*() {
      for (const { make, mode, name } of all) {
        const value = make()
        const { spans, value: exit } = yield* watched(
          Effect.exit(TraceContext.useSpan("work", () => ({}), () => failWith(mode, value)))
        )
        expect(Exit.isFailure(exit) && Cause.squash(exit.cause) === value, `${mode} ${name}`).toBe(true)
        expect(spans.length, name).toBe(1)
      }
    }))

  it.effect("questions about a failure are answered of anything", () =>
    Effect.sync(() => {
      for (const { make } of all) {
        const value = make()
        expect(Disposition.isOutage(Cause.fail(value))).toBe(false)
        expect(RedisError.isTransient(value)).toBe(false)
        expect(TraceContext.errorType(Cause.fail(value)).length).toBeLessThanOrEqual(4096)
      }
    }))

  it.effect(
    "a source may fail with anything: the worker ends with that, and does not hang",
    () =>
      bench(Effect.gen(function*() {
        yield* payments()
        for (const { make, mode, name } of all) {
          const value = make()
          const failing = Stream.drain(Stream.fromEffect(Effect.zipRight(Effect.yieldNow(), failWith(mode, value))))
          const { value: exit } = yield* watched(
            Effect.timeout(Effect.exit(Worker.run(failing, () => Effect.void, plain)), "10 seconds")
          )
          // Of a proxy that refuses all, Effect's streams die in a way of their own.
          expect(Exit.isFailure(exit), `${mode} ${name}`).toBe(true)
        }
      })),
    60_000
  )
})
