import type { SqlClient } from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import { expect, layer } from "@effect/vitest"
import * as Disposition from "@safesync/worker/Disposition"
import * as Worker from "@safesync/worker/Worker"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Schedule from "effect/Schedule"
import * as Tracer from "effect/Tracer"
import { bench, credit, payments, Servers, source, worked } from "./fixture.js"

class NoSuchAccount extends Data.TaggedError("NoSuchAccount")<{ readonly message: string }> {}

/** A tracer that keeps what it made. */
const recording = Effect.map(Effect.tracer, (native) => {
  const spans: Array<Tracer.Span> = []
  const tracer = Tracer.make({
    context: native.context,
    span: (...args) => {
      const span = native.span(...args)
      spans.push(span)
      return span
    }
  })
  return { spans, tracer }
})

const handle = (payment: {
  readonly account: number
  readonly pence: number
}): Effect.Effect<unknown, SqlError | NoSuchAccount, SqlClient> =>
  payment.account === 9 ? Effect.fail(new NoSuchAccount({ message: "of Mrs Miller" })) : credit(payment)

const options = { inbox: "message-id", onFailure: () => Disposition.deadLetter } as const

const of = (span: Tracer.Span) =>
  [
    span.status._tag === "Ended" && span.status.exit._tag,
    span.attributes.get("error.type"),
    span.attributes.get("safesync.disposition")
  ] as const

layer(Servers, { excludeTestServices: true })("Worker, its spans", (it) => {
  it.effect("a message that failed has a failed span, with the error's type and what became of it, and no word of the error", () =>
    bench(Effect.gen(function*() {
      const { group, send, stream } = yield* payments()
      const { spans, tracer } = yield* recording
      yield* send({ account: 1, pence: 1 })
      yield* send({ account: 9, pence: 1 })
      const worker = yield* Effect.fork(
        Effect.withTracer(Worker.run(source(group, "a"), handle, { ...options, concurrency: 1 }), tracer)
      )
      yield* worked(group)
      yield* Fiber.interrupt(worker)
      const process = spans.filter(({ name }) => name === `process ${stream}`)
      expect(process.map(of)).toEqual([
        ["Success", undefined, undefined],
        ["Failure", "NoSuchAccount", "dead_letter"]
      ])
      const failed = process[1]!.status
      expect(String(failed._tag === "Ended" && failed.exit)).not.toContain("Miller")
      const transactions = spans.filter(({ name }) => name === "transaction")
      expect(transactions.map((span) => span.attributes.get("error.type"))).toEqual([undefined, "NoSuchAccount"])
      expect(transactions.map(({ status }) => String(status._tag === "Ended" && status.exit)).join()).not.toContain(
        "Miller"
      )
    })))

  it.effect("error.type is told by one rule, whatever the handler ends with", () =>
    bench(Effect.gen(function*() {
      const { group, send, stream } = yield* payments()
      const { spans, tracer } = yield* recording
      const ends = [
        Effect.die(new TypeError("of Mrs Miller")),
        Effect.die("defect"),
        Effect.fail("typed"),
        Effect.interrupt
      ]
      yield* Effect.forEach(ends, (_, i) => send({ account: i, pence: 1 }))
      const worker = yield* Effect.fork(
        Effect.withTracer(
          Worker.run(source(group, "a"), ({ account }) => ends[account]!, { ...options, concurrency: 1 }),
          tracer
        )
      )
      yield* worked(group)
      yield* Fiber.interrupt(worker)
      for (const name of [`process ${stream}`, "transaction"]) {
        expect(spans.filter((span) => span.name === name).map((span) => span.attributes.get("error.type"))).toEqual(
          ["TypeError", "_OTHER", "_OTHER", "interrupted"]
        )
      }
    })))

  it.effect("the last attempt of a message says that it went to the dead letters", () =>
    bench(Effect.gen(function*() {
      const { group, send, stream } = yield* payments()
      const { spans, tracer } = yield* recording
      yield* send({ account: 9, pence: 1 })
      const worker = yield* Effect.fork(Effect.withTracer(
        Worker.run(source(group, "a"), handle, {
          ...options,
          concurrency: 1,
          onFailure: () => Disposition.retry(Schedule.recurs(1))
        }),
        tracer
      ))
      yield* worked(group)
      yield* Fiber.interrupt(worker)
      const process = spans.filter(({ name }) => name === `process ${stream}`)
      expect(process.map((span) => span.attributes.get("safesync.disposition"))).toEqual(["retry", "dead_letter"])
    })))

  it.effect("a batch has one span and one ack; one that was split and lost a message has failed", () =>
    bench(Effect.gen(function*() {
      const { group, send, stream } = yield* payments()
      const { spans, tracer } = yield* recording
      yield* send(...Array.from({ length: 8 }, () => ({ account: 1, pence: 1 })))
      const worker = yield* Effect.fork(Effect.withTracer(
        Worker.runBatch(source(group, "a"), (all) => Effect.forEach(all, ({ value }) => handle(value)), {
          ...options,
          size: 8,
          within: "1 second"
        }),
        tracer
      ))
      yield* worked(group)
      const named = (name: string) => spans.filter((span) => span.name === `${name} ${stream}`)
      expect(named("process").map(of)).toEqual([["Success", undefined, undefined]])
      expect(named("ack").length).toBe(1)
      yield* send({ account: 9, pence: 1 }, { account: 1, pence: 1 })
      yield* worked(group)
      yield* Fiber.interrupt(worker)
      expect(named("process").map(of)[1]).toEqual(["Failure", "NoSuchAccount", "dead_letter"])
    })))
})
