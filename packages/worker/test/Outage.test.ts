import { expect, layer } from "@effect/vitest"
import * as MysqlError from "@safesync/mysql/MysqlError"
import * as TransactionError from "@safesync/mysql/TransactionError"
import * as Disposition from "@safesync/worker/Disposition"
import * as Worker from "@safesync/worker/Worker"
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as FiberId from "effect/FiberId"
import * as Schedule from "effect/Schedule"
import {
  balance,
  bench,
  credit,
  mysqlBehind,
  one,
  payments,
  plain,
  refuse,
  Servers,
  source,
  worked
} from "./fixture.js"

layer(Servers, { excludeTestServices: true })("An outage of the database", (it) => {
  it.effect("L24: no message is given up for it, however often it was tried; one of its own fault is, all the same", () =>
    bench(Effect.gen(function*() {
      const { deadLetters, group, send } = yield* payments()
      const { behind, proxy } = yield* mysqlBehind
      const often = Deferred.unsafeMake<void>(FiberId.none)
      let outages = 0
      const onFailure = (cause: Cause.Cause<unknown>) => {
        if (!Disposition.isOutage(cause)) return Disposition.retry(Schedule.recurs(1))
        if (++outages === 12) Deferred.unsafeDone(often, Effect.void)
        return Disposition.retry(Schedule.spaced("10 millis"))
      }
      yield* proxy.refuse
      yield* proxy.cut
      yield* send(one, { account: 2, pence: 1 })
      const worker = yield* Effect.fork(Effect.provide(
        Worker.run(
          source(group, "a"),
          (payment) => payment.account === 3 ? refuse("no such payment") : credit(payment),
          { ...plain, onFailure }
        ),
        behind
      ))
      yield* Deferred.await(often)
      yield* proxy.accept
      yield* worked(group)
      expect([yield* balance(1), yield* balance(2), yield* deadLetters]).toEqual([1, 1, 0])
      yield* send({ account: 3, pence: 1 })
      yield* worked(group)
      expect(yield* deadLetters).toBe(1)
      yield* Fiber.interrupt(worker)
    })))

  it.effect(
    "L24: a host that vanishes without a word is one too: its slots are free again without any bound for the handler",
    () =>
      bench(Effect.gen(function*() {
        const { group, send } = yield* payments()
        const { behind, proxy } = yield* mysqlBehind
        const open = yield* Deferred.make<void>()
        const gone = yield* Deferred.make<void>()
        const failed = yield* Deferred.make<void>()
        let begun = 0
        const outages = new Set<string>()
        yield* send(one, one, one, one)
        const worker = yield* Effect.fork(Effect.provide(
          Worker.run(
            source(group, "a"),
            (payment) =>
              Effect.zipRight(
                Effect.zipRight(++begun === 4 ? Deferred.succeed(open, undefined) : Effect.void, Deferred.await(gone)),
                credit(payment)
              ),
            {
              ...plain,
              onFailure: (cause, delivery) => {
                if (Disposition.isOutage(cause)) outages.add(delivery.id)
                if (outages.size === 4) Deferred.unsafeDone(failed, Effect.void)
                return Disposition.retry(Schedule.spaced("10 millis"))
              }
            }
          ),
          behind
        ))
        // all slots have an open transaction
        yield* Deferred.await(open)
        yield* proxy.stall()
        yield* Deferred.succeed(gone, undefined)
        yield* Deferred.await(failed)
        // it is at its address again, and knows nothing of the connections of before
        yield* proxy.cut
        yield* proxy.resume()
        yield* worked(group)
        expect(yield* balance(1)).toBe(4)
        yield* Fiber.interrupt(worker)
      })),
    60_000
  )

  it("L24: a COMMIT that was refused because of it is one", () => {
    const because = (cause: unknown) =>
      Disposition.isOutage(Cause.fail(new TransactionError.CommitFailed({ connectionId: 1, cause })))
    const driver = (errno: number) =>
      MysqlError.fromDriver(Object.assign(new Error("--read-only"), { code: "ER", errno, sqlState: "HY000" }))
    // a failover between the last statement and COMMIT; a COMMIT that did not arrive, as an oracle has found out
    expect([driver(1290), driver(4031)].map(because)).toEqual([true, true])
    expect([driver(1213), driver(1180)].map(because)).toEqual([false, false])
  })

  it("L24: an outage is one too where the handler's own error, or a query builder's, has it as its cause", () => {
    class PaymentFailed extends Error {}
    const wrapped = (errno: number) =>
      Disposition.isOutage(
        Cause.fail(new PaymentFailed("not now", { cause: Object.assign(new Error("of the driver"), { errno }) }))
      )
    expect([1792, 4031, 2013, 1142].map(wrapped)).toEqual([true, true, true, true])
    expect([1213, 1062, 1153].map(wrapped)).toEqual([false, false, false])
    expect(Disposition.isOutage(Cause.fail(new PaymentFailed("connection timeout")))).toBe(false)
  })
})
