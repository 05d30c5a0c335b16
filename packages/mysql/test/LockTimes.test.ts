/** What the metrics say of waiting for locks, and of holding them. */
import { expect, layer } from "@effect/vitest"
import * as AdvisoryLock from "@safesync/mysql/AdvisoryLock"
import * as MysqlMetrics from "@safesync/mysql/MysqlMetrics"
import * as RowLock from "@safesync/mysql/RowLock"
import * as Transaction from "@safesync/mysql/Transaction"
import * as MysqlServer from "@safesync/testkit/MysqlServer"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Metric from "effect/Metric"
import { accounts, holding, inDatabase, untilLockWait } from "./support.js"

/** What the metrics of a strategy say now: waits and holds, and how many requests had which of these outcomes. */
const seen = (strategy: "row" | "advisory", outcomes: ReadonlyArray<string>) => {
  const of = <T, I, O>(metric: Metric.Metric<T, I, O>) => Metric.value(Metric.tagged(metric, "strategy", strategy))
  return Effect.all({
    waits: of(MysqlMetrics.lockAcquireLatency),
    holds: of(MysqlMetrics.lockHold),
    outcomes: Effect.map(
      Effect.forEach(outcomes, (outcome) =>
        Metric.value(
          MysqlMetrics.lockRequests.pipe(Metric.tagged("strategy", strategy), Metric.tagged("outcome", outcome))
        )),
      (states) => states.map(({ count }) => count)
    )
  })
}

layer(MysqlServer.layer, { excludeTestServices: true })("lock times", (it) => {
  it.effect("L11: the wait for a row is timed however it ends, a lock for as long as it is held", () =>
    inDatabase(Effect.gen(function*() {
      yield* accounts
      const now = seen("row", ["granted", "none", "lock_not_available", "lock_wait_timeout", "interrupted"])
      const lock = (id: number, wait?: RowLock.Wait) => RowLock.forUpdate({ table: "account", where: { id }, wait })
      const before = yield* now

      const holder = yield* holding(lock(1))
      const started = performance.now()
      yield* Effect.exit(Transaction.run(lock(1, "nowait")))
      yield* Effect.exit(Transaction.run(lock(1, "300 millis")))
      const fiber = yield* Effect.fork(Transaction.run(lock(1)))
      yield* untilLockWait
      yield* Fiber.interrupt(fiber)
      yield* Transaction.run(Effect.all([lock(9), lock(1, "skip-locked"), lock(2)]))
      const waited = (performance.now() - started) / 1000
      const meanwhile = yield* now
      yield* holder.release
      const after = yield* now

      expect(after.waits.count - before.waits.count).toBe(7)
      expect(after.waits.sum - before.waits.sum).toBeGreaterThan(0.3)
      expect(meanwhile.holds.count - before.holds.count).toBe(1)
      expect(after.holds.count - before.holds.count).toBe(2)
      expect(after.holds.sum - meanwhile.holds.sum).toBeGreaterThanOrEqual(waited)
      expect(after.outcomes.map((n, i) => n - before.outcomes[i]!)).toEqual([2, 2, 1, 1, 1])
    })))

  it.effect("L11: the wait for a name is timed however it ends, a lock for as long as it is held", () =>
    inDatabase(Effect.gen(function*() {
      const lock = AdvisoryLock.acquireInTransaction("timed", { timeout: 0 })
      const now = seen("advisory", ["advisory_lock_timeout"])
      const before = yield* now
      const gained = Effect.map(now, ({ holds, outcomes, waits }) => ({
        waits: waits.count - before.waits.count,
        holds: holds.count - before.holds.count,
        timeouts: outcomes[0]! - before.outcomes[0]!
      }))
      const holder = yield* holding(lock)
      yield* Effect.exit(Transaction.run(lock))
      expect(yield* gained).toEqual({ waits: 2, holds: 0, timeouts: 1 })
      yield* holder.release
      expect(yield* gained).toEqual({ waits: 2, holds: 1, timeouts: 1 })
      yield* AdvisoryLock.withLock("timed", { timeout: 0 })(
        Effect.map(gained, (_) => expect(_).toEqual({ waits: 3, holds: 1, timeouts: 1 }))
      )
      expect(yield* gained).toEqual({ waits: 3, holds: 2, timeouts: 1 })
    })))
})
