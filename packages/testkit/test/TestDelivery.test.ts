import { SqlClient } from "@effect/sql/SqlClient"
import { describe, expect, it, layer } from "@effect/vitest"
import * as Inbox from "@safesync/mysql/Inbox"
import * as Delivery from "@safesync/redis-streams/Delivery"
import * as MysqlServer from "@safesync/testkit/MysqlServer"
import * as TestDelivery from "@safesync/testkit/TestDelivery"
import * as Disposition from "@safesync/worker/Disposition"
import * as Worker from "@safesync/worker/Worker"
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"

interface Payment {
  readonly account: number
  readonly pence: number
}
const payment: Payment = { account: 1, pence: 5 }

/** Settled, with what the delivery tells of it. */
const as = (settlement: TestDelivery.Settlement) => Option.some(settlement)

describe("TestDelivery", () => {
  it("is what it was made of", () => {
    const delivery: Delivery.Delivery<Payment> = TestDelivery.make({
      value: payment,
      headers: { "message-id": "7-0", key: "k" },
      id: "9-0",
      attempt: 3,
      stream: "payments",
      group: "billing",
      consumer: "a"
    })
    const { attempt, consumer, group, headers, id, messageId, stream, value } = delivery
    expect({ attempt, consumer, group, headers, id, messageId, stream, value }).toEqual({
      attempt: 3,
      consumer: "a",
      group: "billing",
      headers: { "message-id": "7-0", key: "k" },
      id: "9-0",
      messageId: "7-0",
      stream: "payments",
      value: payment
    })
    const others = [TestDelivery.make({ value: 1 }), TestDelivery.make({ value: 1 })] as const
    expect(others[0].id).toMatch(/^\d+-\d+$/)
    expect(others[0].messageId).not.toBe(others[1].messageId)
    expect(others[0].attempt).toBe(1)
  })

  it.effect("L15: is acked when its bracket ends with success, and not otherwise", () =>
    Effect.gen(function*() {
      const delivery = TestDelivery.make({ value: { _tag: "Placed", order: 1 } })
      const handle = (value: { readonly _tag: "Placed"; readonly order: number }) => Effect.succeed(value.order)
      expect(yield* delivery.settlement).toEqual(Option.none())
      expect(yield* Effect.exit(Delivery.use(delivery, () => Effect.fail("refused")))).toEqual(Exit.fail("refused"))
      expect(yield* delivery.settlement).toEqual(Option.none())
      expect(yield* Effect.exit(Delivery.use(delivery, () => Effect.interrupt))).toMatchObject({ _tag: "Failure" })
      expect(yield* delivery.settlement).toEqual(Option.none())
      expect(yield* delivery.pipe(Delivery.use(handle))).toBe(1)
      expect(yield* delivery.settlement).toEqual(as({ _tag: "Acked" }))
      const again = yield* Effect.exit(Delivery.use(delivery, handle))
      expect(Exit.isFailure(again) && Cause.isDie(again.cause)).toBe(true)

      const scoped = TestDelivery.make({ value: 1 })
      expect(yield* Effect.scoped(Delivery.scoped(scoped))).toBe(1)
      expect(yield* scoped.settlement).toEqual(as({ _tag: "Acked" }))
    }))

  it.effect("tells for how long it waits for its retry, that it was handed back, and of what it died", () =>
    Effect.gen(function*() {
      const make = () => TestDelivery.make({ value: 1, minIdle: "10 seconds" })
      const [retried, longest, handed, dead] = [make(), make(), make(), make()] as const
      yield* Delivery.retryAfter(retried, "4 seconds")
      expect(yield* retried.settlement).toEqual(as({ _tag: "Retried", delay: Duration.seconds(4) }))
      expect(yield* Effect.flip(Delivery.retryAfter(longest, "11 seconds"))).toMatchObject({ _tag: "InvalidOptions" })
      expect(yield* longest.settlement).toEqual(Option.none())
      yield* Delivery.retryAfter(longest, "10 seconds")
      expect(yield* longest.settlement).toEqual(as({ _tag: "Retried", delay: Duration.seconds(10) }))
      yield* Delivery.handBack(handed)
      expect(yield* handed.settlement).toEqual(as({ _tag: "HandedBack" }))
      yield* Delivery.use(dead, () => Delivery.deadLetter(dead, "no such account"))
      expect(yield* dead.settlement).toEqual(as({ _tag: "DeadLettered", reason: "no such account" }))
      expect(Delivery.minIdle(dead)).toEqual(Duration.seconds(10))
    }))
})

layer(MysqlServer.layer, { excludeTestServices: true })("TestDelivery in a worker", (it) => {
  it.scoped("L23, L24: without Redis: what is handled, refused, discarded and stopped", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient
      yield* Inbox.migration
      yield* sql`CREATE TABLE account (id INT PRIMARY KEY, pence INT NOT NULL)`
      yield* sql`INSERT INTO account VALUES (1, 0)`
      const deliveries = [1, 2, 3, 4].map((pence) =>
        TestDelivery.make({ value: { account: 1, pence }, id: `${pence}-0` })
      )
      const twice = TestDelivery.make({ value: { account: 1, pence: 1 }, id: "1-0" })
      const run = (deliveries: ReadonlyArray<Delivery.Delivery<Payment>>) =>
        Worker.run(
          Stream.fromIterable(deliveries),
          ({ account, pence }) =>
            Effect.zipRight(
              sql`UPDATE account SET pence = pence + ${pence} WHERE id = ${account}`,
              pence === 1 ? Effect.void : Effect.fail(pence)
            ),
          {
            concurrency: 1,
            inbox: "message-id",
            onFailure: (_, { value: { pence } }) =>
              pence === 2
                ? Disposition.retry(Schedule.spaced("3 seconds"))
                : pence === 3
                ? Disposition.deadLetter
                : Disposition.discard
          }
        )
      yield* run([...deliveries, twice])
      const [acked, retried, dead, discarded] = yield* Effect.forEach(deliveries, (_) => _.settlement)
      expect(acked).toEqual(as({ _tag: "Acked" }))
      expect(retried).toEqual(as({ _tag: "Retried", delay: Duration.seconds(3) }))
      expect(dead).toMatchObject({ value: { _tag: "DeadLettered", reason: expect.stringContaining("3") } })
      expect(discarded).toEqual(as({ _tag: "Acked" }))
      expect(yield* twice.settlement).toEqual(as({ _tag: "Acked" }))
      expect(yield* sql`SELECT pence FROM account`).toEqual([{ pence: 1 }])

      const suspect = TestDelivery.make({ value: { account: 1, pence: 1 }, attempt: 3 })
      yield* run([suspect])
      expect(yield* suspect.settlement).toEqual(as({ _tag: "Acked" }))

      const left = TestDelivery.make({ value: payment })
      const begun = yield* Deferred.make<void>()
      const handler = () => Effect.zipRight(Deferred.succeed(begun, undefined), Effect.never)
      const stopped = yield* Effect.fork(
        Worker.run(Stream.concat(Stream.make(left), Stream.never), handler, {
          concurrency: 1,
          inbox: "off",
          onFailure: () => Disposition.stop,
          drainTimeout: 1
        })
      )
      yield* Deferred.await(begun)
      yield* Fiber.interrupt(stopped)
      expect(yield* left.settlement).toEqual(as({ _tag: "HandedBack" }))

      const batch = [1, 2].map((pence) => TestDelivery.make({ value: { account: 1, pence } }))
      yield* Worker.runBatch(Stream.fromIterable(batch), () => sql`UPDATE account SET pence = 0 WHERE id = 1`, {
        size: 2,
        within: 1,
        inbox: "message-id",
        onFailure: () => Disposition.stop
      })
      expect(yield* Effect.forEach(batch, (_) => _.settlement)).toEqual([as({ _tag: "Acked" }), as({ _tag: "Acked" })])
      yield* MysqlServer.assertClean()
    }).pipe(Effect.provide(MysqlServer.database())))
})
