import { SqlClient } from "@effect/sql/SqlClient"
import { expect, layer } from "@effect/vitest"
import type * as MysqlError from "@safesync/mysql/MysqlError"
import * as RowLock from "@safesync/mysql/RowLock"
import * as Transaction from "@safesync/mysql/Transaction"
import * as MysqlServer from "@safesync/testkit/MysqlServer"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import {
  accounts,
  add,
  connectionId,
  crosswise,
  failure,
  holding,
  inDatabase,
  untilLockWait,
  waiting
} from "./support.js"

const traceId = "5bd66ef5095369c7b0d1f8f4bd33716a"
const spanId = "c532cb4098ac3dd2"

/** A write with a value in its text, and with a sqlcommenter comment. */
const write = (id: number) =>
  Effect.flatMap(SqlClient, (sql) =>
    sql`UPDATE account SET balance = ${sql.literal("4711")} WHERE id = ${id}
      ${sql.literal(`/* traceparent='00-${traceId}-${spanId}-01' */`)}`)

/** Account 1 is held by a transaction that wrote it, while `use` runs. */
const whileHeld = <A, E, R>(use: Effect.Effect<A, E, R>) =>
  Effect.flatMap(
    holding(Effect.zipRight(write(1), Effect.map(Transaction.Transaction, ({ connectionId }) => connectionId))),
    ({ got, release }) => Effect.zipLeft(Effect.map(use, (result) => [got, result] as const), release)
  )

const holder = (id: number) =>
  expect.objectContaining({
    connectionId: id,
    traceId,
    spanId,
    statement: expect.stringMatching(/^UPDATE `?account`? SET `balance` = \? WHERE `id` = \?$/i)
  })

const blockers = (exit: Exit.Exit<unknown, unknown>) =>
  (failure(exit) as MysqlError.LockWaitTimeout | MysqlError.Deadlock).blockers

const lock = (wait?: RowLock.Wait) => RowLock.forUpdate({ table: "account", where: { id: 1 }, wait })

/** How often somebody has asked who holds what is waited for. */
const asked = Effect.flatMap(SqlClient, (sql) =>
  Effect.map(
    sql<{ n: number }>`SELECT CAST(COALESCE(SUM(COUNT_STAR), 0) AS SIGNED) AS n
      FROM performance_schema.events_statements_summary_by_digest
      WHERE SCHEMA_NAME = DATABASE() AND DIGEST_TEXT LIKE '%AS \`kind\`%'`,
    ([row]) => row!.n
  ))

/** A wait that is answered after it has been asked about. */
const waitAskedAbout = Effect.gen(function*() {
  const [, fiber] = yield* whileHeld(
    Effect.zipLeft(
      Effect.fork(Transaction.run(lock(), { blockerDetails: true })),
      Effect.repeat(asked, { until: (n) => n > 0 })
    )
  )
  yield* Fiber.join(fiber)
})

// A server of its own: the summary by digest of one that all tests share is full in the end, and counts nothing new.
layer(MysqlServer.layerOwn(), { excludeTestServices: true, timeout: "3 minutes" })("blockerDetails", (it) => {
  it.effect("LockWaitTimeout says who held the row, and no value", () =>
    inDatabase(Effect.gen(function*() {
      yield* accounts
      const options = { blockerDetails: true, lockWaitTimeout: "1 second" } as const
      const [id, exits] = yield* whileHeld(Effect.all([
        Effect.exit(Transaction.run(lock(), options)),
        Effect.exit(Transaction.run(lock("800 millis"), options))
      ], { concurrency: 2 }))
      expect(exits.map((exit) => (failure(exit) as { _tag: string })._tag)).toEqual([
        "LockWaitTimeout",
        "LockWaitTimeout"
      ])
      expect(exits.map((exit) => (failure(exit) as { errno: number }).errno)).toEqual([1205, 3024])
      for (const exit of exits) {
        // One of the two waits behind the other, and for the holder of both.
        expect(blockers(exit)).toContainEqual(holder(id))
        expect(failure(exit)!.message).toContain(`Held by connection ${id} in trace ${traceId}, span ${spanId}: UPDATE`)
        expect(JSON.stringify(exit) + String(failure(exit))).not.toContain("4711")
      }
    })))

  it.effect("without the option nobody is asked", () =>
    inDatabase(Effect.gen(function*() {
      yield* accounts
      const [, exit] = yield* whileHeld(Effect.exit(Transaction.run(lock("300 millis"))))
      expect(failure(exit)).toMatchObject({ _tag: "LockWaitTimeout", blockers: undefined })
      expect(failure(exit)!.message).not.toContain("Held by")
    })))

  it.effect("a statement that waits for no lock blames nobody", () =>
    inDatabase(Effect.gen(function*() {
      yield* accounts
      const slow = Effect.flatMap(SqlClient, (sql) =>
        sql`SELECT /*+ MAX_EXECUTION_TIME(300) */ COUNT(*) FROM account a, account b WHERE SLEEP(0.2) = 0`)
      const [, exit] = yield* whileHeld(Effect.exit(Transaction.run(slow, { blockerDetails: true })))
      expect(failure(exit)).toMatchObject({ _tag: "StatementTimeout", blockers: undefined })
    })))

  it.effect("Deadlock names the other transaction, by its statement and span; so does TransactionAborted's cause", () =>
    inDatabase(Effect.gen(function*() {
      yield* accounts
      // Opens the connection on which it asks: a deadlock is told within a bound that has little room for that.
      yield* waitAskedAbout
      const ids: Array<number> = []
      const exits = yield* crosswise(Transaction.run({ blockerDetails: true }), (other) =>
        Effect.gen(function*() {
          ids[2 - other] = yield* connectionId
          yield* write(other)
        }))
      const victim = exits.findIndex(Exit.isFailure)
      expect(failure(exits[victim]!)).toMatchObject({ _tag: "Deadlock", blockers: [holder(ids[1 - victim]!)] })
      expect(JSON.stringify(blockers(exits[victim]!))).not.toContain("4711")

      const caught = yield* crosswise(
        Transaction.run({ blockerDetails: true }),
        (other) => Effect.exit(write(other))
      )
      expect(failure(caught.find(Exit.isFailure)!)).toMatchObject({
        _tag: "TransactionAborted",
        cause: { _tag: "Deadlock", blockers: [expect.objectContaining({ traceId, spanId })] }
      })
    })))

  it.effect("nobody asks about a statement that has been answered", () =>
    inDatabase(Effect.gen(function*() {
      yield* accounts
      const sql = yield* SqlClient
      yield* waitAskedAbout
      const before = yield* asked
      // Somebody who went on asking would do so three times: the intervals double. One question may have been under way.
      yield* sql`SELECT SLEEP(1.5)`
      expect(yield* asked).toBeLessThanOrEqual(before + 1)
    })))

  it.effect("L4: a wait that is asked about is interrupted as quickly", () =>
    inDatabase(Effect.gen(function*() {
      yield* accounts
      yield* whileHeld(Effect.gen(function*() {
        const fiber = yield* Effect.fork(Transaction.run(lock(), { blockerDetails: true }))
        yield* untilLockWait
        yield* Fiber.interrupt(fiber)
        expect(yield* waiting).toBe(0)
        yield* Transaction.run(add(2, 1), { blockerDetails: true })
      }))
    })))
})
