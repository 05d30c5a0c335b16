import { assert, layer } from "@effect/vitest"
import * as Delivery from "@safesync/redis-streams/Delivery"
import * as Reclaim from "@safesync/redis-streams/Reclaim"
import * as Redis from "@safesync/redis-streams/Redis"
import * as RedisStreamsMetrics from "@safesync/redis-streams/RedisStreamsMetrics"
import * as StreamConsumer from "@safesync/redis-streams/StreamConsumer"
import * as RedisServer from "@safesync/testkit/RedisServer"
import * as TcpProxy from "@safesync/testkit/TcpProxy"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import type { Lease } from "../src/internal/lease.js"
import * as scripts from "../src/internal/scripts.js"
import { deliveries, expectNothingLeft, freshGroup, type Order, pendingOf, RedisLive, until } from "./fixture.js"

layer(RedisLive, { excludeTestServices: true })("the lease of a delivery", (it) => {
  it.scoped("L18: what somebody else has taken is neither begun nor parked nor dead-lettered", () =>
    Effect.gen(function*() {
      const { group, send } = yield* freshGroup({ minIdle: "1 milli" })
      const redis = yield* Redis.Redis
      yield* send(3)
      const mine = yield* deliveries(group, 3)
      // by hand: a second process
      yield* redis.command("XCLAIM", group.stream, group.group, "b", "0", ...mine.map(({ id }) => id))
      const errors = yield* Effect.all([
        Effect.flip(Delivery.retryAfter(mine[0]!, "1 milli")),
        Effect.flip(Delivery.deadLetter(mine[1]!, "no")),
        Effect.flip(Delivery.use(mine[2]!, () => Effect.dieMessage("begun")))
      ])
      assert.deepStrictEqual(errors.map((error) => error._tag), ["LeaseLost", "LeaseLost", "LeaseLost"])
      assert.deepStrictEqual((yield* pendingOf(group)).map(({ consumer, attempts }) => [consumer, attempts]), [
        ["b", 2],
        ["b", 2],
        ["b", 2]
      ])
    }))

  it.scoped("L18: of two deliveries of one entry in one process, only the later one counts", () =>
    Effect.gen(function*() {
      const { group, send, stream } = yield* freshGroup()
      const redis = yield* Redis.Redis
      yield* send(2)
      const [first, second] = yield* Effect.scoped(deliveries(group, 2))
      // Its stream is closed, and with a new group the entries are delivered "for the first time" again.
      yield* redis.commands([
        ["XGROUP", "DESTROY", stream, group.group],
        ["XGROUP", "CREATE", stream, group.group, "0"]
      ])
      const again = yield* deliveries(group, 2)
      assert.deepStrictEqual(again.map(({ attempt, id }) => [id, attempt]), [[first!.id, 1], [second!.id, 1]])
      const errors = yield* Effect.all([
        Effect.flip(Delivery.use(first!, () => Effect.dieMessage("begun"))),
        Effect.flip(Delivery.retryAfter(second!, 0))
      ])
      assert.deepStrictEqual(errors.map((error) => error._tag), ["LeaseLost", "LeaseLost"])
      yield* Effect.forEach(again, (delivery) => Delivery.use(delivery, () => Effect.void))
      yield* expectNothingLeft(group)
    }))

  it.scoped("L18: a slow handler is not robbed: its lease is renewed while it runs", () =>
    Effect.gen(function*() {
      const { group, send } = yield* freshGroup({ minIdle: "1 second" })
      yield* send(2)
      const [used, scoped] = yield* deliveries(group, 2)
      const passes = Effect.repeat(
        Effect.map(Effect.scoped(Reclaim.once(group, { consumer: "b", count: 10 })), (taken) =>
          assert.deepStrictEqual(taken, [])),
        Schedule.upTo(Schedule.spaced("50 millis"), "2500 millis")
      )
      yield* Effect.all([
        Delivery.use(used!, () =>
          passes),
        Effect.scoped(Effect.zipRight(Delivery.scoped(scoped!), passes))
      ], { concurrency: 2 })
      yield* expectNothingLeft(group)
    }))

  it.scoped("L18: a handler that ends while leases are being renewed does not count as robbed", () =>
    Effect.gen(function*() {
      const { group, send } = yield* freshGroup({ minIdle: "900 millis" })
      const { url } = yield* RedisServer.RedisServer
      const proxy = yield* TcpProxy.make(url)
      // So many are renewed page by page.
      const count = scripts.pageSize + 1
      yield* send(count)
      yield* Effect.gen(function*() {
        const held = yield* deliveries(group, count)
        const finish = new Map<string, Deferred.Deferred<void>>()
        for (const { id } of held) {
          finish.set(id, yield* Deferred.make<void>())
        }
        const using = yield* Effect.fork(Effect.forEach(
          held,
          (delivery) => Delivery.use(delivery, () => Deferred.await(finish.get(delivery.id)!)),
          { concurrency: "unbounded", discard: true }
        ))
        const leases = held as ReadonlyArray<Delivery.Delivery<Order>> as ReadonlyArray<Lease<Order>>
        yield* until(Effect.sync(() => leases), (leases) => leases.every(({ state }) => state === "running"))
        const last = leases.at(-1)!
        yield* proxy.delay("50 millis")
        const renewal = Effect.flatten(proxy.observe(scripts.hold.sha))
        // It is acked after the first page has been asked about, and before its own.
        yield* renewal
        yield* Deferred.succeed(finish.get(last.id)!, void 0)
        yield* renewal
        yield* renewal
        assert.strictEqual(last.state, "settled")
        const lost = Metric.taggedWithLabels(RedisStreamsMetrics.leasesLost, RedisStreamsMetrics.labels(group.stream))
        assert.strictEqual((yield* Metric.value(lost)).count, 0)
        yield* proxy.delay(0)
        yield* Effect.forEach(finish.values(), (done) => Deferred.succeed(done, void 0))
        yield* Fiber.join(using)
      }).pipe(Effect.scoped, Effect.provide(Redis.layer({ url: proxy.through(url) })))
      yield* expectNothingLeft(group)
    }))

  it.scoped("L18: once nothing runs, nothing is renewed any more", () =>
    Effect.gen(function*() {
      const { group, send } = yield* freshGroup({ minIdle: "60 millis" })
      yield* send(1)
      const [delivery] = yield* deliveries(group, 1)
      yield* Effect.ignore(Delivery.use(delivery!, () => Effect.delay(Effect.fail("no"), "100 millis")))
      const [taken] = yield* until(Reclaim.once(group, { consumer: "b", count: 1 }), (taken) => taken.length > 0)
      assert.strictEqual(taken!.attempt, 2)
      yield* Delivery.use(taken!, () => Effect.void)
      yield* expectNothingLeft(group)
    }))

  it.scoped("L18: if the lease is lost all the same, the handler alone is interrupted", () =>
    Effect.gen(function*() {
      const { group, send } = yield* freshGroup({ minIdle: "150 millis" })
      const redis = yield* Redis.Redis
      yield* send(3)
      const [robbed, kept, scoped] = yield* deliveries(group, 3)
      const rob = (delivery: Delivery.Delivery<unknown>) =>
        redis.command("XCLAIM", group.stream, group.group, "b", "0", delivery.id)
      const cleanedUp = yield* Deferred.make<string>()
      const inScope = yield* Effect.fork(Effect.scoped(Effect.zipRight(Delivery.scoped(scoped!), Effect.never)))
      const error = yield* Delivery.use(kept!, () =>
        Effect.gen(function*() {
          const child = yield* Effect.fork(Effect.never)
          const error = yield* Effect.flip(Delivery.use(robbed!, () =>
            Effect.zipRight(rob(robbed!), Effect.never).pipe(
              Effect.onInterrupt(() => Deferred.succeed(cleanedUp, "cleaned up"))
            )))
          assert.strictEqual(child.unsafePoll(), null)
          return error
        }))
      assert.strictEqual(error._tag, "LeaseLost")
      assert.strictEqual(yield* Deferred.await(cleanedUp), "cleaned up")
      yield* rob(scoped!)
      assert.isTrue(Exit.isInterrupted(yield* Fiber.await(inScope)))
      assert.deepStrictEqual((yield* pendingOf(group)).map(({ consumer, id }) => [consumer, id]), [
        ["b", robbed!.id],
        ["b", scoped!.id]
      ])
    }))

  it.scoped("L18: a handler that cannot be interrupted and succeeds is acked, though its lease is lost", () =>
    Effect.gen(function*() {
      const { group, send } = yield* freshGroup({ minIdle: "60 millis" })
      const redis = yield* Redis.Redis
      yield* send(1)
      const [robbed] = yield* deliveries(group, 1)
      const value = yield* Effect.uninterruptible(
        Delivery.use(robbed!, () =>
          redis.command("XCLAIM", group.stream, group.group, "b", "0", robbed!.id).pipe(
            Effect.zipRight(until(Effect.sync(() => (robbed as { state?: string }).state), (state) => state === "lost"))
          ))
      )
      assert.strictEqual(value, "lost")
      yield* expectNothingLeft(group)
    }))

  it.scoped("L18: a delivery that is being begun is not handed back by its closing stream", () =>
    Effect.gen(function*() {
      const { group, send } = yield* freshGroup({ minIdle: "1 hour" })
      const redis = yield* Redis.Redis
      yield* send(1)
      const asked = yield* Deferred.make<void>()
      const answer = yield* Deferred.make<void>()
      let first = true
      // The server has answered, and the answer is slow to come.
      const slow: Redis.Service = {
        ...redis,
        script: (...args) => {
          const isFirst = first
          first = false
          return Effect.tap(
            redis.script(...args),
            () => isFirst ? Effect.zipRight(Deferred.succeed(asked, undefined), Deferred.await(answer)) : Effect.void
          )
        }
      }
      const scope = yield* Scope.make()
      const [delivery] = yield* deliveries(group, 1).pipe(Scope.extend(scope), Effect.provideService(Redis.Redis, slow)) // It has waited for so long that the server must be asked.
      ;(delivery as unknown as { freshAt: number }).freshAt = -Infinity
      const using = yield* Effect.fork(Delivery.use(delivery!, () => Reclaim.once(group, { consumer: "b", count: 1 })))
      yield* Deferred.await(asked)
      yield* Scope.close(scope, Exit.void)
      yield* Deferred.succeed(answer, undefined)
      assert.deepStrictEqual(yield* Fiber.join(using), [])
      yield* expectNothingLeft(group)
    }))

  for (const whenLost of ["fail", { recreateFrom: "0" }] as const) {
    it.scoped(`L18, L21: a handler whose group is created again meanwhile, with whenLost ${JSON.stringify(whenLost)}`, () =>
      Effect.gen(function*() {
        const { group, send, stream } = yield* freshGroup({ minIdle: "30 millis", whenLost })
        const redis = yield* Redis.Redis
        yield* send(1)
        let renewals = 0
        const counting: Redis.Service = {
          ...redis,
          script: (...args) => Effect.tap(redis.script(...args), () => renewals++)
        }
        const [delivery] = yield* Effect.provideService(deliveries(group, 1), Redis.Redis, counting)
        const exit = yield* Effect.exit(Delivery.use(delivery!, () =>
          redis.commands([
            ["XGROUP", "DESTROY", stream, group.group],
            ["XGROUP", "CREATE", stream, group.group, "0"]
          ]).pipe(
            Effect.tap(() => renewals = 0),
            Effect.zipRight(until(Effect.sync(() => renewals), (renewals) => renewals > 2))
          )))
        assert.strictEqual(Exit.isSuccess(exit), whenLost !== "fail")
      }))
  }

  it.scoped("however many ask one by one, one fiber looks after a consumer's leases", () =>
    Effect.gen(function*() {
      const { group, send } = yield* freshGroup()
      const redis = yield* Redis.Redis
      yield* send(3)
      let fibers = 0
      const counting: Redis.Service = {
        ...redis,
        fork: (effect) => {
          fibers++
          redis.fork(effect)
        }
      }
      const one = StreamConsumer.next(group, { consumer: "a" }).pipe(
        Effect.flatMap((delivery) => Delivery.use(Option.getOrThrow(delivery), () => Effect.void)),
        Effect.scoped,
        Effect.provideService(Redis.Redis, counting)
      )
      yield* Effect.all([one, one, one])
      assert.strictEqual(fibers, 1)
    }))

  it.scoped("L19: an entry that is deleted while its handler runs does not disturb the handler", () =>
    Effect.gen(function*() {
      const { group, send } = yield* freshGroup({ minIdle: "60 millis" })
      const redis = yield* Redis.Redis
      const [id] = yield* send(1)
      const [delivery] = yield* deliveries(group, 1)
      // Before 7.0 the entry stays in the pending list until its ack, and its lease is renewed like any other.
      const goneOr = (seen: (idle: number) => boolean) =>
        until(pendingOf(group), (pending) => pending.length === 0 || seen(pending[0]!.idle))
      const value = yield* Delivery.use(delivery!, () =>
        redis.command("XDEL", group.stream, id!).pipe(
          Effect.zipRight(goneOr((idle) => idle >= 12)),
          Effect.zipRight(goneOr((idle) => idle < 12)),
          Effect.as("done")
        ))
      assert.strictEqual(value, "done")
      yield* expectNothingLeft(group)
    }))
})
