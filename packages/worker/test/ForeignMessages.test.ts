import { expect, layer } from "@effect/vitest"
import * as ConsumerGroup from "@safesync/redis-streams/ConsumerGroup"
import * as Redis from "@safesync/redis-streams/Redis"
import * as StreamConsumer from "@safesync/redis-streams/StreamConsumer"
import * as Disposition from "@safesync/worker/Disposition"
import * as Worker from "@safesync/worker/Worker"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import { balance, bench, credit, one, payments, plain, refuse, Servers, until } from "./fixture.js"

const data = JSON.stringify(one)

layer(Servers, { excludeTestServices: true })("messages that others have written", (it) => {
  it.effect("L23: an empty message id is none: those that have it are messages of their own", () =>
    bench(Effect.gen(function*() {
      const { group, stream } = yield* payments()
      const redis = yield* Redis.Redis
      for (let i = 0; i < 3; i++) yield* redis.command("XADD", stream, "*", "data", data, "message-id", "")
      yield* Worker.run(Stream.take(StreamConsumer.stream(group, { consumer: "a", batchSize: 3 }), 3), credit, plain)
      expect(yield* balance(1)).toBe(3)
    })))

  it.effect("L23: stream and group do not become another pair's by a slash in a name", () =>
    bench(Effect.gen(function*() {
      const { group, stream } = yield* payments()
      const redis = yield* Redis.Redis
      const pairs = [
        { ...group, group: "eu/billing" },
        { ...group, stream: `${stream}/eu` },
        { ...group, stream: `${stream}%2Feu` }
      ]
      for (const pair of pairs) {
        yield* ConsumerGroup.create(pair)
        yield* Effect.addFinalizer(() => Effect.ignore(redis.command("DEL", pair.stream)))
        yield* redis.command("XADD", pair.stream, "7-7", "data", data)
        yield* Worker.run(Stream.take(StreamConsumer.stream(pair, { consumer: "a" }), 1), credit, plain)
      }
      expect(yield* balance(1)).toBe(3)
    })))

  it.effect("L24: the schedule of a message is answered at once, however often the server says that it was delivered", () =>
    bench(Effect.gen(function*() {
      const { group, pending, stream } = yield* payments({ left: 1 })
      const redis = yield* Redis.Redis
      const id = String(yield* redis.command("XADD", stream, "*", "data", data))
      yield* redis.command("XREADGROUP", "GROUP", group.group, "a", "STREAMS", stream, ">")
      yield* redis.command("XCLAIM", stream, group.group, "a", "0", id, "RETRYCOUNT", "9007199254740990", "JUSTID")
      const worker = yield* Effect.fork(Worker.run(
        StreamConsumer.stream(group, { consumer: "a" }),
        () => refuse("not yet"),
        { ...plain, onFailure: () => Disposition.retry(Schedule.spaced("1 second")) }
      ))
      const owner = redis.command("XPENDING", stream, group.group, "-", "+", "1")
      yield* until(owner, (found) => (found as ReadonlyArray<ReadonlyArray<unknown>>)[0]?.[1] === "safesync.parked")
      yield* Fiber.interrupt(worker)
      expect(yield* pending).toBe(1)
    })))
})
