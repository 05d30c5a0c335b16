import { assert, layer } from "@effect/vitest"
import * as Redis from "@safesync/redis-streams/Redis"
import { Loading } from "@safesync/redis-streams/RedisError"
import * as StreamConsumer from "@safesync/redis-streams/StreamConsumer"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import { expectNoReader, expectNothingLeft, freshGroup, RedisLive, untilBlocked } from "./fixture.js"

/** Opens what is to be reserved, and then does this with it in its place; counts what was opened, and closed again. */
const reserving = (redis: Redis.Service, then: (opened: number) => Effect.Effect<never, Loading>) => {
  const count = { opened: 0, closed: 0 }
  const service: Redis.Service = {
    ...redis,
    reserve: (key, name) =>
      Effect.gen(function*() {
        yield* redis.reserve(key, name)
        yield* Effect.addFinalizer(() => Effect.sync(() => count.closed++))
        return yield* then(++count.opened)
      })
  }
  return { count, service }
}

const loading = Effect.fail(new Loading({ command: "CLIENT", detail: "not yet" }))

layer(RedisLive, { excludeTestServices: true })("reconnecting", (it) => {
  it.scoped("L21: a lost connection fails the stream, if no schedule is given", () =>
    Effect.gen(function*() {
      const { group } = yield* freshGroup()
      const redis = yield* Redis.Redis
      const fiber = yield* Effect.fork(
        Stream.runDrain(StreamConsumer.stream(group, { consumer: "a", block: "1 minute" }))
      )
      const [reader] = yield* untilBlocked(group)
      yield* redis.command("CLIENT", "KILL", "ID", reader!.id)
      const error = yield* Effect.flip(Fiber.join(fiber))
      assert.strictEqual(error._tag, "RedisConnectionLost")
      yield* expectNothingLeft(group)
    }))

  it.scoped("L21: a connection whose reservation fails is closed before the next attempt, and at the end of the stream", () =>
    Effect.gen(function*() {
      const { group } = yield* freshGroup()
      const last = yield* Deferred.make<void>()
      const closed: Array<number> = []
      const { count, service } = reserving(yield* Redis.Redis, (opened) => {
        closed.push(count.closed)
        return opened <= 3 ? loading : Effect.zipRight(Deferred.succeed(last, undefined), Effect.never)
      })
      const consuming = yield* StreamConsumer.stream(group, {
        consumer: "a",
        reconnect: Schedule.spaced("1 millis")
      }).pipe(Stream.runDrain, Effect.provideService(Redis.Redis, service), Effect.fork)
      yield* Deferred.await(last)
      assert.deepStrictEqual(closed, [0, 1, 2, 3])
      yield* Fiber.interrupt(consuming)
      assert.deepStrictEqual(count, { opened: 4, closed: 4 })
      yield* expectNoReader(group)
    }))

  it.scoped("L21: a next whose reservation fails keeps no connection, though its scope stays open", () =>
    Effect.gen(function*() {
      const { group } = yield* freshGroup()
      const { count, service } = reserving(yield* Redis.Redis, () => loading)
      const next = Effect.provideService(
        StreamConsumer.next(group, { consumer: "a", block: "1 minute" }),
        Redis.Redis,
        service
      )
      assert.strictEqual((yield* Effect.flip(next))._tag, "Loading")
      assert.deepStrictEqual(count, { opened: 1, closed: 1 })
      yield* expectNoReader(group)
    }))
})
