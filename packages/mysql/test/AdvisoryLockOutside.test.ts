import * as MysqlClient from "@effect/sql-mysql2/MysqlClient"
import { SqlClient } from "@effect/sql/SqlClient"
import { expect, layer } from "@effect/vitest"
import * as AdvisoryLock from "@safesync/mysql/AdvisoryLock"
import * as Transaction from "@safesync/mysql/Transaction"
import { until } from "@safesync/testkit/Eventually"
import * as MysqlServer from "@safesync/testkit/MysqlServer"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import { vi } from "vitest"
import {
  accounts,
  add,
  balances,
  connectionId,
  defect,
  holding,
  inDatabase,
  kill,
  tag,
  throughProxy,
  untilLockWait,
  waiting
} from "./support.js"

const lock = (name: string, timeout: number, namespace?: string) =>
  AdvisoryLock.acquireInTransaction(name, { timeout, namespace })

const whileHeld = <A, E, R>(name: string, then: Effect.Effect<A, E, R>) =>
  Effect.flatMap(holding(lock(name, 1000)), ({ release }) => Effect.zipLeft(then, release))

layer(MysqlServer.layer, { excludeTestServices: true })("AdvisoryLock, outside of a transaction", (it) => {
  it.effect("L10: taken outside, a transaction inside begins after the lock is held, at repeatable read too", () =>
    inDatabase(Effect.gen(function*() {
      yield* accounts
      const sql = yield* SqlClient
      const increment = Effect.gen(function*() {
        const [row] = yield* sql<{ balance: number }>`SELECT balance FROM account WHERE id = 1`
        yield* sql`UPDATE account SET balance = ${row!.balance + 1} WHERE id = 1`
      }).pipe(
        Transaction.run({ isolation: "repeatable-read" }),
        AdvisoryLock.withLock("counter", { timeout: "20 seconds" })
      )
      yield* Effect.all(Array.from({ length: 40 }, () => increment), { concurrency: 4 })
      expect(yield* balances).toEqual([40, 0, 0])
    })))

  it.effect("L10: the Scope form holds it for the scope, and taking it inside a transaction is a defect", () =>
    inDatabase(Effect.gen(function*() {
      const other = Effect.exit(Transaction.run(lock("x", 0)))
      yield* Effect.scoped(Effect.zipRight(
        AdvisoryLock.acquire("x", { timeout: 0 }),
        Effect.map(other, (exit) => expect(tag(exit)).toBe("AdvisoryLockTimeout"))
      ))
      expect(Exit.isSuccess(yield* other)).toBe(true)
      const inside = yield* Effect.exit(
        Transaction.run(Effect.flatMap(MysqlClient.MysqlClient, (client) =>
          Effect.scoped(Effect.provideService(
            AdvisoryLock.acquire("x", { timeout: 0 }),
            MysqlClient.MysqlClient,
            client
          ))))
      )
      expect(String(defect(inside))).toMatch(/acquireInTransaction/)
    })))

  it.effect("L10: whoever has outlived a transaction may take a lock of its own", () =>
    inDatabase(Effect.gen(function*() {
      const over = yield* Deferred.make<void>()
      const later = Deferred.await(over).pipe(
        Effect.zipRight(AdvisoryLock.withLock("x", { timeout: 0 })(Effect.succeed("held")))
      )
      const fiber = yield* Transaction.run(Effect.zipLeft(Effect.forkDaemon(later), connectionId))
      yield* Deferred.succeed(over, undefined)
      expect(yield* fiber).toBe("held")
    })))

  it.effect("L11: interrupting a wait for the lock ends it on the server, and a wait that was killed has its own tag", () =>
    inDatabase(whileHeld(
      "x",
      Effect.gen(function*() {
        const fiber = yield* Effect.fork(AdvisoryLock.withLock("x", { timeout: "20 seconds" })(Effect.void))
        yield* untilLockWait
        yield* Fiber.interrupt(fiber)
        expect(yield* waiting).toBe(0)
        const killed = yield* Effect.fork(Effect.exit(Transaction.run(lock("x", 20_000))))
        yield* untilLockWait
        yield* killWaiting
        expect(tag(yield* Fiber.join(killed))).toBe("StatementInterrupted")
      })
    )))

  it.effect("when the holding connection dies, the body is interrupted and the loss is typed", () =>
    inDatabase(Effect.gen(function*() {
      const held = yield* Deferred.make<void>()
      const interrupted = yield* Deferred.make<void>()
      const holder = yield* Effect.fork(Effect.exit(
        AdvisoryLock.withLock("x", { timeout: 0 })(
          Effect.zipRight(Deferred.succeed(held, undefined), Effect.never).pipe(
            Effect.onInterrupt(() => Deferred.succeed(interrupted, undefined))
          )
        )
      ))
      yield* Deferred.await(held)
      const sql = yield* SqlClient
      const [row] = yield* sql<{ id: number }>`SELECT t.PROCESSLIST_ID AS id FROM performance_schema.metadata_locks m
        JOIN performance_schema.threads t ON t.THREAD_ID = m.OWNER_THREAD_ID
        WHERE m.OBJECT_TYPE = 'USER LEVEL LOCK' AND t.PROCESSLIST_DB = DATABASE()`
      yield* kill(row!.id)
      expect(tag(yield* Fiber.join(holder))).toBe("AdvisoryLockLost")
      yield* Deferred.await(interrupted)
    })))

  it.effect("L10: those who wait for a lock leave the pool to the one who has it", () =>
    inDatabase(
      Effect.gen(function*() {
        yield* accounts
        const increment = Transaction.run(add(1, 1)).pipe(
          AdvisoryLock.withLock("inner", { timeout: "20 seconds" }),
          AdvisoryLock.withLock("outer", { timeout: "20 seconds" })
        )
        yield* Effect.all(Array.from({ length: 12 }, () => increment), { concurrency: "unbounded" })
        expect(yield* balances).toEqual([12, 0, 0])
      }),
      { maxConnections: 2 }
    ))

  it.effect("L11: the wait for a turn within the process is bounded and interruptible, and the turn goes on", () =>
    inDatabase(
      Effect.gen(function*() {
        const take = (name: string, timeout: number) =>
          Effect.exit(AdvisoryLock.withLock(name, { timeout })(Effect.succeed("mine")))
        const held = yield* Deferred.make<void>()
        const release = yield* Deferred.make<void>()
        const holder = yield* Effect.fork(
          AdvisoryLock.withLock("x", { timeout: 0 })(
            Effect.zipRight(Deferred.succeed(held, undefined), Deferred.await(release))
          )
        )
        yield* Deferred.await(held)
        expect(tag(yield* take("x", 0))).toBe("AdvisoryLockTimeout")
        expect(tag(yield* take("x", 30))).toBe("AdvisoryLockTimeout")
        // as many locks as the pool has connections, and this would be one more
        expect(tag(yield* take("y", 30))).toBe("AdvisoryLockTimeout")
        const first = yield* Effect.fork(take("x", 20_000))
        const second = yield* Effect.fork(take("x", 20_000))
        yield* Effect.yieldNow()
        yield* Fiber.interrupt(first)
        yield* Deferred.succeed(release, undefined)
        yield* Fiber.join(holder)
        expect(yield* Fiber.join(second)).toEqual(Exit.succeed("mine"))
        expect(yield* take("y", 0)).toEqual(Exit.succeed("mine"))
      }),
      { maxConnections: 1 }
    ))

  it.effect("a connection that the network has swallowed is noticed by the heartbeat", () =>
    inDatabase(throughProxy((proxy) =>
      Effect.gen(function*() {
        const exit = yield* Effect.exit(
          AdvisoryLock.withLock("x", { timeout: 0, heartbeat: "50 millis" })(
            Effect.zipRight(proxy.stall(), Effect.never)
          )
        )
        expect(tag(exit)).toBe("AdvisoryLockLost")
        yield* proxy.cut
      })
    )))

  it.effect("in the Scope form a loss that shows when the scope closes is a defect, the typed error", () =>
    inDatabase(Effect.gen(function*() {
      const lose = Effect.flatMap(
        AdvisoryLock.acquire("x", { timeout: 0 }),
        ({ session }) => kill(session.connectionId)
      )
      const exit = yield* Effect.exit(Effect.scoped(lose))
      expect(defect(exit)).toMatchObject({ _tag: "AdvisoryLockLost", name: "x" })
      const failing = yield* Effect.exit(Effect.scoped(Effect.zipRight(lose, Effect.fail("mine"))))
      expect(failing).toEqual(Exit.fail("mine"))
    })))

  it.effect("interrupted at whatever point of its connection's handshake, it leaves none behind, and the driver has nothing to say", () =>
    inDatabase(Effect.gen(function*() {
      const said = vi.spyOn(console, "error")
      yield* Effect.addFinalizer(() => Effect.sync(() => said.mockRestore()))
      for (let turns = 0; turns < 40; turns++) {
        const fiber = yield* Effect.fork(Effect.scoped(AdvisoryLock.acquire("x", { timeout: 0 })))
        for (let i = 0; i < turns; i++) yield* Effect.async<void>((resume) => void setImmediate(resume, Effect.void))
        yield* Fiber.interrupt(fiber)
      }
      yield* until(MysqlServer.assertClean().pipe(Effect.isSuccess), (clean) => clean)
      expect(said.mock.calls).toEqual([])
    })))

  it.effect("L10: taking it inside sql.withTransaction is a defect too", () =>
    inDatabase(Effect.gen(function*() {
      const sql = yield* SqlClient
      const exit = yield* Effect.exit(sql.withTransaction(AdvisoryLock.withLock("x", { timeout: 0 })(Effect.void)))
      expect(String(defect(exit))).toMatch(/acquireInTransaction/)
    })))
})

const killWaiting = Effect.gen(function*() {
  const sql = yield* SqlClient
  const [row] = yield* sql<{ id: number }>`SELECT PROCESSLIST_ID AS id FROM performance_schema.threads
    WHERE PROCESSLIST_DB = DATABASE() AND PROCESSLIST_STATE = 'User lock'`
  yield* sql`KILL QUERY ${sql.literal(String(row!.id))}`
})
