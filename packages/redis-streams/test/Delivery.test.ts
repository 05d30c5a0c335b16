import { assert, describe, layer } from "@effect/vitest"
import * as Delivery from "@safesync/redis-streams/Delivery"
import * as Reclaim from "@safesync/redis-streams/Reclaim"
import * as Redis from "@safesync/redis-streams/Redis"
import * as RedisServer from "@safesync/testkit/RedisServer"
import * as TcpProxy from "@safesync/testkit/TcpProxy"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as FiberRef from "effect/FiberRef"
import { deliveries, expectNothingLeft, freshGroup, type Order, order, pendingOf, RedisLive, until } from "./fixture.js"

layer(RedisLive, { excludeTestServices: true })("Delivery", (it) => {
  it.scoped("L15: scoped acks when its scope closes with success, and not otherwise", () =>
    Effect.gen(function*() {
      const { group, send } = yield* freshGroup()
      yield* send(2)
      const [first, second] = yield* deliveries(group, 2)
      const value = yield* Effect.scoped(
        Effect.tap(Delivery.scoped(first!), () =>
          Effect.map(pendingOf(group), (pending) => assert.strictEqual(pending.length, 2)))
      )
      assert.deepStrictEqual(value, order(1))
      const exit = yield* Effect.exit(Effect.scoped(Effect.zipRight(Delivery.scoped(second!), Effect.fail("no"))))
      assert.deepStrictEqual(exit, Exit.fail("no"))
      assert.deepStrictEqual(
        (yield* pendingOf(group)).map(({ id }) =>
          id
        ),
        [second!.id]
      )
      yield* Delivery.use(second!, () => Effect.void)
      yield* expectNothingLeft(group)
    }))

  it.scoped("L15: an ack that fails is a typed error of use, and a defect of scoped", () =>
    Effect.gen(function*() {
      const { group, send, stream } = yield* freshGroup()
      const redis = yield* Redis.Redis
      yield* send(2)
      const [first, second] = yield* deliveries(group, 2)
      const spoil = Effect.zipRight(redis.command("DEL", stream), redis.command("SET", stream, "no stream any more"))
      const error = yield* Effect.flip(Delivery.use(first!, () => Effect.orDie(spoil)))
      assert.strictEqual(error._tag, "WrongType")
      const exit = yield* Effect.exit(Effect.scoped(Delivery.scoped(second!)))
      const defect = Exit.isFailure(exit) ? Cause.squash(exit.cause) : undefined
      assert.strictEqual((defect as { readonly _tag: string })._tag, "WrongType")
    }))

  it.scoped("a delivery may be used again after a failure, and not after its ack", () =>
    Effect.gen(function*() {
      const { group, send } = yield* freshGroup()
      yield* send(1)
      const [delivery] = yield* deliveries(group, 1)
      let runs = 0
      const value = yield* Delivery.use(delivery!, () =>
        Effect.suspend(() => ++runs < 3 ? Effect.fail("not yet") : Effect.succeed(runs))).pipe(
          Effect.retry({ times: 5 })
        )
      assert.strictEqual(value, 3)
      yield* expectNothingLeft(group)
      const again = yield* Effect.exit(Delivery.use(delivery!, () =>
        Effect.void))
      assert.isTrue(Exit.isFailure(again) && Cause.isDie(again.cause))
    }))

  it.scoped("a delivery is not used twice at the same time", () =>
    Effect.gen(function*() {
      const { group, send } = yield* freshGroup()
      yield* send(1)
      const [delivery] = yield* deliveries(group, 1)
      const exit = yield* Delivery.use(delivery!, () => Effect.exit(Delivery.use(delivery!, () => Effect.void)))
      assert.isTrue(Exit.isFailure(exit) && Cause.isDie(exit.cause))
      yield* expectNothingLeft(group)
    }))

  it.scoped("L24: retryAfter keeps the delay at the server and counts the attempts", () =>
    Effect.gen(function*() {
      const { group, send } = yield* freshGroup({ minIdle: "10 seconds" })
      yield* send(1)
      const [delivery] = yield* deliveries(group, 1)
      const parked = performance.now()
      yield* Delivery.retryAfter(delivery!, "2 seconds")
      assert.deepStrictEqual(yield* Reclaim.once(group, { consumer: "b", count: 1 }), [])
      // Nor does a restart under the same name cut the delay short.
      const own = yield* Effect.timeoutOption(deliveries(group, 1), "50 millis")
      assert.strictEqual(own._tag, "None")
      const [again] = yield* until(Reclaim.once(group, { consumer: "b", count: 1 }), (taken) => taken.length > 0)
      assert.isAtLeast(performance.now() - parked, 1_999)
      assert.strictEqual(again!.attempt, 2)
      yield* Delivery.use(again!, () => Effect.void)
      yield* expectNothingLeft(group)
    }))

  it.scoped("retryAfter refuses a delay beyond the group's minIdle", () =>
    Effect.gen(function*() {
      const { group, send } = yield* freshGroup({ minIdle: "10 seconds" })
      yield* send(1)
      const [delivery] = yield* deliveries(group, 1)
      const error = yield* Effect.flip(Delivery.retryAfter(delivery!, "11 seconds"))
      assert.strictEqual(error._tag, "InvalidOptions")
      yield* Delivery.use(delivery!, () => Effect.void)
      yield* expectNothingLeft(group)
    }))

  it.scoped("deadLetter moves the entry, whatever bytes it holds, and acks it", () =>
    Effect.gen(function*() {
      const { group, send, stream } = yield* freshGroup()
      const redis = yield* Redis.Redis
      yield* send(1)
      const [delivery] = yield* deliveries(group, 1)
      yield* Effect.ignore(Delivery.use(delivery!, () => Effect.fail("never good")))
      yield* Delivery.deadLetter(delivery!, "never good")
      assert.deepStrictEqual(
        ((yield* redis.command("XRANGE", group.deadLetterStream, "-", "+")) as Array<[string, Array<string>]>)
          .map(([, fields]) => fields),
        [[
          ...["data", `{"number":1}`, "dead.stream", stream, "dead.id", delivery!.id, "dead.group", "billing"],
          ...["dead.consumer", "a", "dead.attempts", "1", "dead.reason", "never good"]
        ]]
      )
      yield* expectNothingLeft(group)
    }))

  it.scoped("L16: what could not be begun, parked or buried for want of a connection is taken again by the same process", () =>
    Effect.gen(function*() {
      const { group, send } = yield* freshGroup({ minIdle: "1 milli" })
      yield* send(3)
      const { url } = yield* RedisServer.RedisServer
      const proxy = yield* TcpProxy.make(url)
      yield* Effect.gen(function*() {
        const redis = yield* Redis.Redis
        const [used, parked, buried] = yield* deliveries(group, 3)
        yield* proxy.refuse
        yield* proxy.cut
        const errors = yield* Effect.all([
          Effect.flip(Delivery.use(used!, () => Effect.dieMessage("begun"))),
          Effect.flip(Delivery.retryAfter(parked!, 0)),
          Effect.flip(Delivery.deadLetter(buried!, "no"))
        ])
        assert.deepStrictEqual(errors.map(({ _tag }) => _tag), Array(3).fill("RedisConnectionLost"))
        yield* proxy.accept
        yield* until(Effect.either(redis.command("PING")), (reply) => reply._tag === "Right")
        const again = yield* until(Reclaim.once(group, { consumer: "a", count: 3 }), (taken) => taken.length === 3)
        assert.deepStrictEqual(again.map(({ id }) => id), [used!.id, parked!.id, buried!.id])
        yield* Effect.forEach(again, (delivery) => Delivery.use(delivery, () => Effect.void))
      }).pipe(Effect.scoped, Effect.provide(Redis.layer({ url: proxy.through(url) })))
      yield* expectNothingLeft(group)
    }))

  it.scoped("a dead letter tells the attempts of both: the server's deliveries, and those after which it was tried again here", () =>
    Effect.gen(function*() {
      const { group, send } = yield* freshGroup()
      const redis = yield* Redis.Redis
      yield* send(1)
      const [delivery] = yield* deliveries(group, 1)
      ;(delivery as { attempt: number }).attempt++
      yield* Delivery.deadLetter(delivery!, "no")
      const [[, fields]] = (yield* redis.command("XRANGE", group.deadLetterStream, "-", "+")) as [
        [string, Array<string>]
      ]
      assert.strictEqual(fields[fields.indexOf("dead.attempts") + 1], "2")
    }))

  it.scoped("L20: a delivery that is handed back before it was begun has not counted", () =>
    Effect.gen(function*() {
      const { group, send } = yield* freshGroup()
      yield* send(2)
      const [unbegun, failed] = yield* deliveries(group, 2)
      yield* Effect.exit(Delivery.use(failed!, () => Effect.fail("no")))
      yield* Delivery.handBack(unbegun!)
      yield* Delivery.handBack(failed!)
      const taken = yield* Reclaim.once(group, { consumer: "b", count: 2 })
      assert.deepStrictEqual(taken.map(({ attempt }) => attempt), [1, 2])
    }))

  describe("useMany", () => {
    it.scoped("L15: acks all if its handler succeeds, and none if it fails", () =>
      Effect.gen(function*() {
        const { group, send } = yield* freshGroup()
        yield* send(3)
        const mine = yield* deliveries(group, 3)
        const numbers = (begun: ReadonlyArray<Delivery.Delivery<Order>>) => begun.map(({ value }) => value.number)
        const failed = yield* Effect.flip(Delivery.useMany(mine, (begun) => Effect.fail(numbers(begun))))
        assert.deepStrictEqual(failed, [1, 2, 3])
        assert.strictEqual((yield* pendingOf(group)).length, 3)
        assert.deepStrictEqual(
          yield* Delivery.useMany(mine, (begun) => Effect.succeed(numbers(begun))),
          [1, 2, 3]
        )
        yield* expectNothingLeft(group)
      }))

    it.scoped("L18: leaves out what somebody else has taken, and what its handler settles itself is not acked", () =>
      Effect.gen(function*() {
        const { group, send } = yield* freshGroup()
        const redis = yield* Redis.Redis
        yield* send(3)
        const mine = yield* deliveries(group, 3)
        yield* Effect.exit(Delivery.useMany(mine, () => Effect.fail("not yet")))
        yield* redis.command("XCLAIM", group.stream, group.group, "b", "0", mine[1]!.id)
        const begun = yield* Delivery.useMany(
          mine,
          (begun) => Effect.as(Delivery.deadLetter(begun[0]!, "no"), begun.map(({ value }) => value.number))
        )
        assert.deepStrictEqual(begun, [1, 3])
        assert.deepStrictEqual((yield* pendingOf(group)).map(({ id }) => id), [mine[1]!.id])
        assert.strictEqual(yield* redis.command("XLEN", group.deadLetterStream), 1)
      }))

    it.scoped("L18: a lease that is lost interrupts it, names that one and leaves the others to be used again", () =>
      Effect.gen(function*() {
        const { group, send } = yield* freshGroup({ minIdle: "30 millis" })
        const redis = yield* Redis.Redis
        yield* send(2)
        const mine = yield* deliveries(group, 2)
        const error = yield* Effect.flip(Delivery.useMany(mine, () =>
          Effect.zipRight(
            redis.command("XCLAIM", group.stream, group.group, "b", "0", mine[0]!.id),
            Effect.never
          )))
        assert.strictEqual(error._tag === "LeaseLost" ? error.id : error, mine[0]!.id)
        const rest = yield* Delivery.useMany(mine, (begun) => Effect.succeed(begun.map(({ id }) => id)))
        assert.deepStrictEqual(rest, [mine[1]!.id])
        assert.deepStrictEqual((yield* pendingOf(group)).map(({ id }) => id), [mine[0]!.id])
      }))
  })

  it.scoped("what a handler sets in a FiberRef is seen by its caller, the first time and later", () =>
    Effect.gen(function*() {
      const { group, send } = yield* freshGroup()
      yield* send(3)
      const ref = yield* FiberRef.make(0)
      const seen: Array<number> = []
      for (const delivery of yield* deliveries(group, 3)) {
        yield* Delivery.use(delivery, ({ number }) => number === 2 ? Effect.void : FiberRef.set(ref, number))
        seen.push(yield* FiberRef.get(ref))
      }
      assert.deepStrictEqual(seen, [1, 1, 3])
    }))
})
