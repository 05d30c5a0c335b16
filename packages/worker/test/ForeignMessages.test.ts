import { expect, layer } from "@effect/vitest"
import * as ConsumerGroup from "@safesync/redis-streams/ConsumerGroup"
import * as Redis from "@safesync/redis-streams/Redis"
import * as StreamConsumer from "@safesync/redis-streams/StreamConsumer"
import * as Worker from "@safesync/worker/Worker"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import { balance, bench, credit, one, payments, plain, Servers } from "./fixture.js"

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
})
