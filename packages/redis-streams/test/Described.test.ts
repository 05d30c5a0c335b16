import { assert, layer } from "@effect/vitest"
import * as DeadLetter from "@safesync/redis-streams/DeadLetter"
import * as Delivery from "@safesync/redis-streams/Delivery"
import * as StreamConsumer from "@safesync/redis-streams/StreamConsumer"
import * as Effect from "effect/Effect"
import * as Logger from "effect/Logger"
import * as LogLevel from "effect/LogLevel"
import * as ParseResult from "effect/ParseResult"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { deliveries, expectNothingLeft, freshGroup, freshStream, RedisLive } from "./fixture.js"

const throws = (thrown: unknown) => (): never => {
  throw thrown
}

const unspeakable = { toString: throws(new Error("not even that")), toJSON: throws(1n), limit: 1n }

const decoding = (decode: (text: string) => ParseResult.ParseIssue | undefined) =>
  Schema.transformOrFail(Schema.String, Schema.String, {
    strict: true,
    decode: (text, _, ast) => {
      if (text === "good") return ParseResult.succeed(text)
      const issue = decode(text)
      return ParseResult.fail(issue ?? new ParseResult.Type(ast, text))
    },
    encode: ParseResult.succeed
  })

/** Schemas that refuse every text but "good", each in a way of its own. */
const schemas: Readonly<Record<string, Schema.Schema<string, string>>> = {
  "says so": decoding(() => undefined),
  "throws what cannot be printed": decoding(throws(unspeakable)),
  "has a message that throws": Schema.String.pipe(
    Schema.filter((text): boolean => text === "good", { message: throws(unspeakable) })
  ),
  "has a message of 2 MB": Schema.String.pipe(
    Schema.filter((text): boolean => text === "good", { message: () => "€".repeat(700_000) })
  )
}

layer(RedisLive, { excludeTestServices: true })("A failure is described, whatever it is", (it) => {
  for (const [name, schema] of Object.entries(schemas)) {
    it.scoped(`an entry goes to the dead letters whose schema ${name}, with a bounded reason, and the next one comes`, () =>
      Effect.gen(function*() {
        const { group, redis, stream } = yield* freshStream(schema)
        yield* redis.command("XADD", stream, "*", "data", JSON.stringify("x".repeat(500_000)))
        yield* redis.command("XADD", stream, "*", "data", `"good"`)
        const [delivery] = yield* deliveries(group, 1)
        yield* Delivery.use(delivery!, (value) => Effect.sync(() => assert.strictEqual(value, "good")))
        const [letter] = yield* Stream.runCollect(DeadLetter.stream(group))
        assert.isAtMost(Buffer.byteLength(letter!.reason), 4096)
        assert.notStrictEqual(letter!.reason, "")
        assert.notInclude(letter!.reason, "\uFFFD")
        yield* expectNothingLeft(group)
      }))
  }

  it.scoped("a reason that the caller gives is bounded, and cut between two characters", () =>
    Effect.gen(function*() {
      const { group, send } = yield* freshGroup()
      const reasons = ["short", "x".repeat(4096), "x".repeat(4097), "x".repeat(2_000_000)]
        .concat(["", "a", "ab", "abc"].map((shift) => shift + "😀".repeat(1500)))
      yield* send(reasons.length)
      yield* Effect.forEach(yield* deliveries(group, reasons.length), (delivery, i) =>
        Delivery.deadLetter(delivery, reasons[i]!))
      const letters = [...yield* Stream.runCollect(DeadLetter.stream(group))]
      assert.deepStrictEqual(
        letters.slice(0, 2).map(({ reason }) =>
          reason
        ),
        reasons.slice(0, 2)
      )
      for (const { reason } of letters.slice(2)) {
        assert.isAtMost(Buffer.byteLength(reason), 4096)
        assert.isAbove(Buffer.byteLength(reason), 4080)
        assert.notInclude(reason, "\uFFFD")
        assert.isTrue(reason.endsWith("…"))
      }
    }))

  it.scoped("runForEach ends with what its effect fails with, where every fiber's failure is printed", () =>
    Effect.gen(function*() {
      const { group, send } = yield* freshGroup()
      yield* send(1)
      const exit = yield* StreamConsumer.stream(group, { consumer: "a" }).pipe(
        StreamConsumer.runForEach(
          () => Effect.zipRight(Effect.yieldNow(), Effect.fail(unspeakable)),
          { concurrency: 2 }
        ),
        Effect.flip,
        Effect.provide(Logger.replace(Logger.defaultLogger, Logger.map(Logger.logfmtLogger, () => {}))),
        Logger.withMinimumLogLevel(LogLevel.Debug)
      )
      assert.strictEqual(exit, unspeakable)
    }))
})
