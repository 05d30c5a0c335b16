import { assert, expect, layer } from "@effect/vitest"
import * as ConsumerGroup from "@safesync/redis-streams/ConsumerGroup"
import * as DeadLetter from "@safesync/redis-streams/DeadLetter"
import * as Delivery from "@safesync/redis-streams/Delivery"
import * as Reclaim from "@safesync/redis-streams/Reclaim"
import * as Redis from "@safesync/redis-streams/Redis"
import * as RedisError from "@safesync/redis-streams/RedisError"
import * as StreamConsumer from "@safesync/redis-streams/StreamConsumer"
import * as StreamProducer from "@safesync/redis-streams/StreamProducer"
import * as RedisServer from "@safesync/testkit/RedisServer"
import * as ConfigProvider from "effect/ConfigProvider"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as fs from "node:fs"
import { RedisFromServer, until } from "./fixture.js"
import { consume, pay, RedisLive } from "./guide/consume.js"
import { useMany } from "./guide/manyAtATime.js"
import { consumeOne, RedisTls, replayAll, sendInvoice, upkeep } from "./guide/operate.js"

const read = (path: string) => fs.readFileSync(new URL(path, import.meta.url), "utf8")

// Its stream has a fixed name, so it gets a server of its own.
layer(RedisServer.layerOwn(), { excludeTestServices: true })("the guide", (it) => {
  it.effect("its example is the one that is run here", () =>
    Effect.sync(() => {
      for (const file of ["./guide/consume.ts", "./guide/manyAtATime.ts", "./guide/operate.ts"]) {
        assert.include(read("../README.md"), `\`\`\`ts\n${read(file)}\`\`\``)
      }
    }))

  it.effect("it says of each error what to do", () =>
    Effect.sync(() => {
      const guide = read("../README.md")
      for (const tag of Object.keys(RedisError).filter((name) => /^[A-Z]/.test(name))) {
        assert.include(guide, `\`${tag}\``)
      }
    }))

  it.scoped("its second example sends once, takes one, and keeps house", () =>
    Effect.gen(function*() {
      const settings = { stream: "invoices", schema: Schema.String }
      const group = yield* ConsumerGroup.make({ ...settings, group: "g", startId: "0", minIdle: "1 minute" })
      yield* ConsumerGroup.create(group)
      const producer = yield* StreamProducer.make(settings)
      const first = yield* sendInvoice(producer, "i-1", "paid")
      const again = yield* sendInvoice(producer, "i-1", "paid")
      assert.deepStrictEqual(again, { id: first.id, isNew: false })
      expect(yield* consumeOne(group, Effect.succeed)).toEqual(Option.some("paid"))
      assert.deepStrictEqual(yield* upkeep(group, producer), { trimmed: 0, forgotten: 0, gone: [] })
      const redis = yield* Redis.Redis
      yield* redis.command("XADD", "invoices", "*", "data", "no JSON")
      yield* StreamProducer.send(producer, "due")
      const due = yield* StreamConsumer.next(group, { consumer: "billing-1" })
      yield* Delivery.deadLetter(Option.getOrThrow(due), "no money")
      yield* replayAll(group)
      // what no schema takes is still there
      assert.lengthOf(yield* Stream.runCollect(DeadLetter.stream(group)), 1)
      expect(yield* consumeOne(group, Effect.succeed)).toEqual(Option.some("due"))
    }).pipe(Effect.provide(RedisFromServer)))

  it.scoped("its third example has as many deliveries at a time as it says", () =>
    Effect.gen(function*() {
      const settings = { stream: "many", schema: Schema.Int }
      const group = yield* ConsumerGroup.make({ ...settings, group: "g", startId: "0", minIdle: "1 minute" })
      yield* ConsumerGroup.create(group)
      yield* StreamProducer.sendAll(yield* StreamProducer.make(settings), [1, 2, 3, 4, 5, 6])
      const three = yield* Effect.makeLatch()
      let running = 0
      let most = 0
      let sum = 0
      const fiber = yield* Effect.fork(useMany(group, 3, (n) =>
        Effect.gen(function*() {
          most = Math.max(most, ++running)
          if (running === 3) yield* three.open
          yield* three.await
          running--
          sum += n
        })))
      yield* until(ConsumerGroup.info(group), ({ pending }) => sum === 21 && pending === 0)
      yield* Fiber.interrupt(fiber)
      assert.strictEqual(most, 3)
    }).pipe(Effect.provide(RedisFromServer)))

  it.scoped("its layer for TLS connects", () =>
    Effect.gen(function*() {
      const { ca, url } = yield* RedisServer.RedisServer
      const env = ConfigProvider.fromMap(new Map([["REDIS_URL", Redacted.value(url)]]))
      const pong = Effect.flatMap(Redis.Redis, (redis) => redis.command("PING"))
      const layer = RedisTls(Option.getOrThrow(ca))
      assert.strictEqual(yield* Effect.withConfigProvider(Effect.provide(pong, layer), env), "PONG")
    }).pipe(Effect.provide(Layer.fresh(RedisServer.layerOwn({ tls: true })))))

  it.scoped("its example consumes what it sends", () =>
    Effect.gen(function*() {
      const { url } = yield* RedisServer.RedisServer
      const env = ConfigProvider.fromMap(new Map([["REDIS_URL", Redacted.value(url)]]))
      const seen = yield* Deferred.make<number>()
      yield* Effect.gen(function*() {
        const fiber = yield* Effect.fork(consume(({ pence }) => Deferred.succeed(seen, pence)))
        yield* pay
        assert.strictEqual(yield* Deferred.await(seen), 1299)
        yield* Fiber.interrupt(fiber)
      }).pipe(Effect.provide(Layer.provide(RedisLive, Layer.setConfigProvider(env))))
    }))

  it.scoped("the permissions that it names are enough", () =>
    Effect.gen(function*() {
      const { url } = yield* RedisServer.RedisServer
      const granted = /grant `([^`]+)`/.exec(read("../README.md"))![1]!.split(" ")
      yield* Effect.flatMap(Redis.Redis, (redis) =>
        redis.command("ACL", "SETUSER", "app", "on", ">pass", "~limited", "~{limited}:*", ...granted)).pipe(
          Effect.provide(Redis.layer({ url }))
        )
      const limited = Redis.layer({ url: Redacted.make(Redacted.value(url).replace("redis://", "redis://app:pass@")) })
      yield* Effect.gen(function*() {
        const redis = yield* Redis.Redis
        const all = yield* Effect.flatMap(Redis.Redis, ({ capabilities }) =>
          capabilities).pipe(
            Effect.provide(Redis.layer({ url }))
          )
        assert.deepStrictEqual([...yield* redis.capabilities], [...all], "what the server can do is seen")
        const { group, producer } = yield* limitedGroup
        yield* StreamProducer.sendAll(producer, ["a", "b", "c", "d"])
        const fiber = yield* StreamConsumer.stream(group, { consumer: "a", block: "1 minute" }).pipe(
          Stream.runForEach((delivery) =>
            delivery.value === "a"
              ? Delivery.deadLetter(delivery, "no")
              : delivery.value === "b"
              ? Delivery.retryAfter(delivery, 0)
              : Delivery.use(delivery, () => Effect.void)
          ),
          Effect.fork
        )
        yield* until(ConsumerGroup.info(group), (info) => info.pending === 1 && info.consumers.length === 2)
        yield* Fiber.interrupt(fiber)
        const [parked] = yield* Reclaim.once(group, { consumer: "a", count: 9 })
        // As a worker does with one that was delivered often, and has failed.
        assert.strictEqual(yield* Delivery.countFailure(parked!), 1)
        yield* Delivery.useAlone(parked!, 3, () => Effect.void)
        const admin = yield* Layer.build(Redis.layer({ url }))
        const beside = Context.get(admin, Redis.Redis).command("KEYS", "{limited}:[bf]*:*")
        yield* until(beside, (keys) => (keys as ReadonlyArray<string>).length === 0)
        assert.strictEqual(yield* ConsumerGroup.ack(group, [parked!.id]), 0)
        yield* Stream.runForEach(DeadLetter.stream(group), (letter) => DeadLetter.replay(group, letter))
        yield* DeadLetter.purge(group, { olderThan: 0 })
        assert.isTrue(yield* ConsumerGroup.removeConsumer(group, "safesync.parked"))
        yield* StreamProducer.trimAcked(producer)
        yield* StreamProducer.sendOnce({ ...producer, trim: { maxLength: 1 } }, "e", { key: "e", remember: "1 minute" })
        yield* StreamConsumer.next(group, { consumer: "a" })
        yield* ConsumerGroup.removeIdleConsumers(group, { idle: "1 hour" })
      }).pipe(Effect.scoped, Effect.provide(limited))
    }))
})

const limitedGroup = Effect.gen(function*() {
  const settings = { stream: "limited", schema: Schema.String }
  const group = yield* ConsumerGroup.make({ ...settings, group: "g", startId: "0", minIdle: "1 hour" })
  yield* ConsumerGroup.create(group)
  return { group, producer: yield* StreamProducer.make(settings) }
})
