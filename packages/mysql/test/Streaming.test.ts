import { SqlClient } from "@effect/sql/SqlClient"
import { expect, layer } from "@effect/vitest"
import * as MysqlError from "@safesync/mysql/MysqlError"
import * as Transaction from "@safesync/mysql/Transaction"
import { until } from "@safesync/testkit/Eventually"
import * as MysqlServer from "@safesync/testkit/MysqlServer"
import * as Chunk from "effect/Chunk"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as FiberStatus from "effect/FiberStatus"
import * as Stream from "effect/Stream"
import {
  accounts,
  add,
  balances,
  connectionId,
  defect,
  failure,
  holding,
  inDatabase,
  kill,
  outside,
  throughProxy,
  untilLockWait,
  waiting
} from "./support.js"

/** 20,000 rows of 1,000 bytes: many times what the sockets hold. */
const rows = 20_000
const large = Effect.gen(function*() {
  const sql = yield* SqlClient
  yield* sql`CREATE TABLE digit (d INT PRIMARY KEY)`
  yield* sql`INSERT INTO digit VALUES (0), (1), (2), (3), (4), (5), (6), (7), (8), (9)`
})
const all = (sql: SqlClient) =>
  sql<{ n: number; filler: string }>`SELECT CAST(a.d + 10 * b.d + 100 * c.d + 1000 * e.d + 10000 * f.d AS SIGNED) AS n,
    REPEAT('x', 1000) AS filler FROM digit a, digit b, digit c, digit e, digit f WHERE f.d < 2 ORDER BY f.d, e.d, c.d, b.d, a.d`
    .stream

/** How many bytes the server has sent to a connection, by its own word; it is asked by another one. */
const sent = (id: number) =>
  Effect.flatMap(SqlClient, (sql) =>
    Effect.map(
      outside(sql<{ bytes: number }>`
        SELECT CAST(VARIABLE_VALUE AS SIGNED) AS bytes FROM performance_schema.status_by_thread s
        JOIN performance_schema.threads t ON t.THREAD_ID = s.THREAD_ID
        WHERE t.PROCESSLIST_ID = ${id} AND s.VARIABLE_NAME = 'Bytes_sent'`),
      ([row]) => row!.bytes
    ))

/** Waits until the server has sent nothing for a while, since it may not. */
const untilStill = (id: number) =>
  Effect.iterate({ bytes: -1, same: 0 }, {
    while: ({ same }) => same < 20,
    body: ({ bytes, same }) => Effect.map(sent(id), (now) => ({ bytes: now, same: now === bytes ? same + 1 : 0 }))
  }).pipe(Effect.map(({ bytes }) => bytes))

layer(MysqlServer.layer, { excludeTestServices: true })("Streams inside a transaction", (it) => {
  it.effect("all rows come, in order, before the server has sent the last one", () =>
    inDatabase(Effect.gen(function*() {
      yield* large
      const sql = yield* SqlClient
      yield* Transaction.run(Effect.gen(function*() {
        const { connectionId } = yield* Transaction.Transaction
        let before = 0
        const numbers = yield* all(sql).pipe(
          Stream.mapEffect((row) =>
            row.n > 0 ? Effect.succeed(row.n) : Effect.map(untilStill(connectionId), (bytes) => {
              before = bytes
              return row.n
            })
          ),
          Stream.runCollect
        )
        expect(Chunk.toReadonlyArray(numbers)).toEqual(Array.from({ length: rows }, (_, n) => n))
        expect(before).toBeGreaterThan(0)
        expect(before).toBeLessThan(rows * 1_000)
        expect(yield* sent(connectionId)).toBeGreaterThan(rows * 1_000)
      }))
    })))

  it.effect("L4: a stream that ends early is cancelled on the server, and the transaction goes on", () =>
    inDatabase(Effect.gen(function*() {
      yield* accounts
      yield* large
      const sql = yield* SqlClient
      yield* Transaction.run(Effect.gen(function*() {
        const { connectionId } = yield* Transaction.Transaction
        const few = yield* Stream.runCollect(Stream.take(all(sql), 3))
        expect(Chunk.toReadonlyArray(few).map((row) => row.n)).toEqual([0, 1, 2])
        expect(yield* sent(connectionId)).toBeLessThan(rows * 1_000)
        const failed = yield* Effect.exit(Stream.runForEach(all(sql), () => Effect.fail("mine" as const)))
        expect(failure(failed)).toBe("mine")
        yield* add(1, 1)
      }))
      expect(yield* balances).toEqual([1, 0, 0])
    })))

  it.effect("L4: interrupting a stream that waits for a lock ends the wait on the server", () =>
    inDatabase(Effect.gen(function*() {
      yield* accounts
      const sql = yield* SqlClient
      const holder = yield* holding(add(1, 1))
      const fiber = yield* Effect.fork(
        Transaction.run(Stream.runDrain(sql`SELECT * FROM account WHERE id = 1 FOR UPDATE`.stream))
      )
      yield* untilLockWait
      yield* Fiber.interrupt(fiber)
      expect(yield* waiting).toBe(0)
      yield* holder.release
    })))

  it.effect("who writes to the same transaction for each row is not waited for by himself", () =>
    inDatabase(Effect.gen(function*() {
      yield* accounts
      yield* large
      const sql = yield* SqlClient
      yield* Transaction.run(
        all(sql).pipe(
          Stream.filter((row) => row.n % 1_000 === 0),
          Stream.mapEffect(() => add(1, 1)),
          Stream.runDrain
        )
      )
      expect(yield* balances).toEqual([20, 0, 0])
    })))

  it.effect("another fiber's statement waits until the rows are read, and no longer", () =>
    inDatabase(Effect.gen(function*() {
      yield* accounts
      yield* large
      const sql = yield* SqlClient
      yield* Transaction.run(Effect.gen(function*() {
        const reached = yield* Deferred.make<void>()
        const written = yield* Deferred.make<void>()
        const read = Stream.runCount(Stream.tap(all(sql), (row) =>
          row.n === 5
            ? Effect.zipRight(Deferred.succeed(reached, undefined), Deferred.await(written))
            : Effect.void))
        const write = Effect.zipRight(
          Deferred.await(reached),
          Effect.zipRight(add(1, 1), Deferred.succeed(written, undefined))
        )
        const [count] = yield* Effect.all([read, write], { concurrency: 2 })
        expect(count).toBe(rows)
      }))
      expect(yield* balances).toEqual([1, 0, 0])
    })))

  it.effect("L8: a stream that is left open is ended with its transaction, and says so to whoever goes on reading", () =>
    inDatabase(Effect.gen(function*() {
      yield* accounts
      yield* large
      const sql = yield* SqlClient
      const ended = yield* Deferred.make<void>()
      const daemon = yield* Transaction.run(Effect.gen(function*() {
        const opened = yield* Deferred.make<void>()
        const reading = all(sql).pipe(
          Stream.mapEffect((row) =>
            row.n === 0 ? Effect.zipRight(Deferred.succeed(opened, undefined), Deferred.await(ended)) : Effect.void
          ),
          Stream.runDrain
        )
        const fiber = yield* Effect.forkDaemon(Effect.exit(MysqlError.refail(reading)))
        yield* Deferred.await(opened)
        return fiber
      }))
      yield* Deferred.succeed(ended, undefined)
      expect(String(defect(yield* Fiber.join(daemon)))).toMatch(/transaction whose scope is closed/)
    })))

  it.effect("L6, L7: what a streamed statement fails with is classified, and dooms where it must", () =>
    inDatabase(Effect.gen(function*() {
      yield* accounts
      const sql = yield* SqlClient
      const missing = yield* Effect.exit(Transaction.run(Stream.runDrain(sql`SELECT * FROM nothing`.stream)))
      expect(failure(missing)).toMatchObject({
        _tag: "StatementFailed",
        errno: 1146,
        statement: "SELECT * FROM nothing"
      })
      const late = yield* Effect.exit(
        Transaction.run(
          Stream.runDrain(sql`SELECT id, (SELECT id FROM account WHERE id >= a.id) FROM account a`.stream)
        )
      )
      expect(failure(late)).toMatchObject({ _tag: "StatementFailed", errno: 1242 })
      const unbound = yield* Effect.exit(Transaction.run(Stream.runCollect(sql`SELECT ${1n} AS n`.stream)))
      expect(Exit.map(unbound, Chunk.toReadonlyArray)).toEqual(Exit.succeed([{ n: 1 }]))
    })))

  it.effect("L7: a connection that dies under a stream ends it with ConnectionLost", () =>
    inDatabase(Effect.gen(function*() {
      yield* large
      const exits = yield* throughProxy((proxy) =>
        Effect.flatMap(SqlClient, (sql) =>
          Effect.all([
            Effect.exit(
              Transaction.run(Stream.runForEach(all(sql), (row) => row.n === 100 ? proxy.cut : Effect.void))
            ),
            Effect.exit(Transaction.run(Effect.gen(function*() {
              const id = yield* connectionId
              yield* Stream.runForEach(all(sql), (row) => row.n === 100 ? kill(id) : Effect.void)
            })))
          ]))
      )
      expect(exits.map((exit) => (failure(exit) as { _tag: string })._tag)).toEqual([
        "ConnectionLost",
        "ConnectionLost"
      ])
    })))

  it.effect("rows are named as the client names them, and a write may be streamed too", () =>
    inDatabase(
      Effect.gen(function*() {
        yield* accounts
        const sql = yield* SqlClient
        const found = yield* Transaction.run(Effect.gen(function*() {
          expect(yield* Stream.runCollect(sql`UPDATE account SET balance = 7 WHERE id = 1`.stream)).toEqual(
            Chunk.empty()
          )
          return yield* Stream.runCollect(sql`SELECT id AS the_id, balance FROM account WHERE id = 1`.stream)
        }))
        expect(Chunk.toReadonlyArray(found)).toEqual([{ theId: 1, balance: 7 }])
      }),
      { transformResultNames: (name) => name.replace(/_(.)/g, (_, letter: string) => letter.toUpperCase()) }
    ))

  it.effect("a stream that waits for its turn and is not wanted any more is not run", () =>
    inDatabase(Effect.gen(function*() {
      yield* accounts
      const sql = yield* SqlClient
      const holder = yield* holding(add(2, 1))
      yield* Transaction.run(Effect.gen(function*() {
        const slow = yield* Effect.fork(add(2, 1))
        yield* outside(untilLockWait)
        const queued = yield* Effect.fork(Stream.runDrain(sql`UPDATE account SET balance = 7 WHERE id = 3`.stream))
        yield* until(Fiber.status(queued), FiberStatus.isSuspended)
        yield* Fiber.interrupt(queued)
        yield* holder.release
        yield* Fiber.join(slow)
        yield* add(1, 1)
      }))
      expect(yield* balances).toEqual([1, 2, 0])
    })))
})
