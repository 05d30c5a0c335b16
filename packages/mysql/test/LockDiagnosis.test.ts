import { SqlClient } from "@effect/sql/SqlClient"
import { expect, layer } from "@effect/vitest"
import * as AdvisoryLock from "@safesync/mysql/AdvisoryLock"
import * as LockDiagnosis from "@safesync/mysql/LockDiagnosis"
import * as Transaction from "@safesync/mysql/Transaction"
import * as MysqlServer from "@safesync/testkit/MysqlServer"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import { accounts, connectionId, crosswise, inDatabase, throughProxy, untilLockWait } from "./support.js"

/** A server that other tests keep busy may take its time. */
const timeout = "30 seconds"

const traceId = "5bd66ef5095369c7b0d1f8f4bd33716a"
const commented = (spanId: string) => `/* app='x',traceparent='00-${traceId}-${spanId}-01' */`

/** Adds to a balance with the amount written into the text, and a sqlcommenter comment at its end. */
const addWritten = (id: number, amount: string, spanId: string) =>
  Effect.flatMap(
    SqlClient,
    (sql) =>
      sql`UPDATE account SET balance = balance + ${sql.literal(amount)} WHERE id = ${id} ${
        sql.literal(commented(spanId))
      }`
  )

/** `wait` waits for what a transaction holds that ran `hold`; `then` runs meanwhile. */
const whileWaiting = <A, E, R>(
  hold: Effect.Effect<unknown, any, SqlClient | Transaction.Transaction>,
  wait: Effect.Effect<unknown, any, SqlClient | Transaction.Transaction>,
  then: (ids: { readonly holder: number; readonly waiter: number }) => Effect.Effect<A, E, R>
) =>
  Effect.gen(function*() {
    const holder = yield* Deferred.make<number>()
    const waiter = yield* Deferred.make<number>()
    const first = yield* Effect.fork(Transaction.run(Effect.gen(function*() {
      yield* hold
      yield* Deferred.succeed(holder, (yield* Transaction.Transaction).connectionId)
      yield* Effect.never
    })))
    yield* Deferred.await(holder)
    const second = yield* Effect.fork(Transaction.run(Effect.gen(function*() {
      yield* Deferred.succeed(waiter, (yield* Transaction.Transaction).connectionId)
      yield* wait
    })))
    yield* untilLockWait
    const result = yield* then({ holder: yield* Deferred.await(holder), waiter: yield* Deferred.await(waiter) })
    yield* Fiber.interrupt(second)
    yield* Fiber.interrupt(first)
    return result
  })

layer(MysqlServer.layer, { excludeTestServices: true })("LockDiagnosis", (it) => {
  it.effect("who holds a row, who waits for it, with which statement and in which span", () =>
    inDatabase(Effect.gen(function*() {
      yield* accounts
      const sql = yield* SqlClient
      const [{ db }] = (yield* sql<{ db: string }>`SELECT DATABASE() AS db`) as [{ db: string }]
      yield* whileWaiting(
        addWritten(1, "4711", "aaaaaaaaaaaaaaaa"),
        addWritten(1, "4712", "bbbbbbbbbbbbbbbb"),
        ({ holder, waiter }) =>
          Effect.gen(function*() {
            const [wait, ...more] = yield* LockDiagnosis.waits({ timeout, connectionId: waiter })
            expect(more).toEqual([])
            expect(wait).toMatchObject({ kind: "row", name: `${db}.account`, index: Option.some("PRIMARY") })
            expect(wait!.mode).toBe("X,REC_NOT_GAP")
            expect(Duration.toMillis(wait!.waited)).toBeGreaterThan(0)
            const statement = "UPDATE ACCOUNT SET `balance` = `balance` + ? WHERE `id` = ?"
            expect(wait!.holder).toMatchObject({ connectionId: holder, statement, traceId, spanId: "aaaaaaaaaaaaaaaa" })
            expect(wait!.waiter).toMatchObject({ connectionId: waiter, statement, traceId, spanId: "bbbbbbbbbbbbbbbb" })
            expect(wait!.holder.account).toMatch(/@/)
            expect(wait!.holder.transactionMillis).toBeGreaterThanOrEqual(wait!.waiter.transactionMillis!)
            expect(JSON.stringify(wait)).not.toMatch(/471[12]/)
            expect(String(wait!.holder)).toBe(
              `connection ${holder} in trace ${traceId}, span aaaaaaaaaaaaaaaa: ${statement}`
            )

            const [told] = yield* LockDiagnosis.waits({ timeout, connectionId: waiter, statements: "text" })
            expect(told!.holder.statement).toContain("balance + 4711 WHERE id = ? /*")
            expect(yield* LockDiagnosis.waits({ timeout, connectionId: holder })).toEqual([])
            const all = yield* LockDiagnosis.waits({ timeout, limit: 1000 })
            expect(all.filter(({ name }) => name === `${db}.account`)).toHaveLength(1)
          })
      )
    })))

  it.effect("who holds an advisory lock, and a pool that is exhausted by those who wait does not matter", () =>
    inDatabase(
      whileWaiting(
        AdvisoryLock.acquireInTransaction("a name", { timeout: 0 }),
        AdvisoryLock.acquireInTransaction("a name", { timeout: 20_000 }),
        ({ holder, waiter }) =>
          Effect.gen(function*() {
            const [wait, ...more] = yield* LockDiagnosis.waits({ timeout, connectionId: waiter })
            expect(more).toEqual([])
            expect(wait).toMatchObject({
              kind: "advisory",
              index: Option.none(),
              mode: "EXCLUSIVE",
              holder: { connectionId: holder, statement: expect.stringContaining("`GET_LOCK` (...) AS `granted`") },
              waiter: { connectionId: waiter }
            })
            expect(wait!.name).toContain("/a_name:")
            expect(wait!.holder.traceId).toBe(undefined)
          })
      ),
      { maxConnections: 3 }
    ))

  it.effect("no more than asked for", () =>
    inDatabase(Effect.gen(function*() {
      yield* accounts
      yield* whileWaiting(
        addWritten(1, "1", "aaaaaaaaaaaaaaaa"),
        Effect.all([addWritten(1, "2", "bbbbbbbbbbbbbbbb"), addWritten(1, "2", "bbbbbbbbbbbbbbbb")]),
        () =>
          whileWaiting(
            addWritten(2, "1", "aaaaaaaaaaaaaaaa"),
            addWritten(2, "2", "bbbbbbbbbbbbbbbb"),
            () => Effect.map(LockDiagnosis.waits({ timeout, limit: 1 }), (waits) => expect(waits).toHaveLength(1))
          )
      )
    })))

  it.effect("no answer in time is ConnectionLost, and the question is bounded", () =>
    inDatabase(throughProxy((proxy) =>
      Effect.gen(function*() {
        yield* proxy.stall()
        const error = yield* Effect.flip(LockDiagnosis.waits({ timeout: "50 millis" }))
        expect(error).toMatchObject({ _tag: "ConnectionLost", code: "PROTOCOL_SEQUENCE_TIMEOUT" })
      })
    )))
})

layer(MysqlServer.layerOwn(), { excludeTestServices: true, timeout: "3 minutes" })("LockDiagnosis, deadlocks", (it) => {
  it.effect("none yet, then the transactions of the last one", () =>
    inDatabase(Effect.gen(function*() {
      yield* accounts
      expect(yield* LockDiagnosis.lastDeadlock({ timeout })).toEqual([])
      const ids: Array<number> = []
      yield* crosswise(Transaction.run(), (other) =>
        Effect.gen(function*() {
          ids[other] = yield* connectionId
          yield* addWritten(other, "4711", `${other}`.repeat(16))
        }))
      const transactions = yield* LockDiagnosis.lastDeadlock({ timeout })
      expect(transactions.map(({ victim }) => victim).sort()).toEqual([false, true])
      expect(transactions.map(({ party }) => party.connectionId).sort()).toEqual(ids.slice(1).sort())
      for (const { party } of transactions) {
        expect(party.statement).toMatch(/^UPDATE `?account`? SET `balance` = `balance` \+ \? WHERE `id` = \?$/i)
        expect(party).toMatchObject({ traceId, spanId: `${ids.indexOf(party.connectionId)}`.repeat(16) })
      }
      expect(JSON.stringify(transactions)).not.toContain("4711")
      const [told] = yield* LockDiagnosis.lastDeadlock({ timeout, statements: "text" })
      expect(told!.party.statement).toContain("4711")
    })))
})
