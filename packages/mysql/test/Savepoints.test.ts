import { SqlClient } from "@effect/sql/SqlClient"
import { expect, layer } from "@effect/vitest"
import * as AdvisoryLock from "@safesync/mysql/AdvisoryLock"
import * as IdempotentInsert from "@safesync/mysql/IdempotentInsert"
import * as Inbox from "@safesync/mysql/Inbox"
import * as Occ from "@safesync/mysql/Occ"
import * as Outbox from "@safesync/mysql/Outbox"
import * as RowLock from "@safesync/mysql/RowLock"
import * as Transaction from "@safesync/mysql/Transaction"
import * as MysqlServer from "@safesync/testkit/MysqlServer"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { accounts, add, balances, defect, failure, inDatabase, throughProxy } from "./support.js"

/** Undoes a part of the open transaction when it fails. */
interface Part {
  <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, unknown, R | SqlClient | Transaction.Transaction>
}

const parts: Record<string, Part> = {
  "Transaction.savepoint": Transaction.savepoint,
  "sql.withTransaction": (effect) => Effect.flatMap(SqlClient, (sql) => sql.withTransaction(effect))
}

/** Forks a part that does `first`, and then waits until it is let go; `end` decides what becomes of it. */
const halfway = <E>(part: Part, first: Effect.Effect<unknown, E, SqlClient>, end: Effect.Effect<unknown, string>) =>
  Effect.gen(function*() {
    const begun = yield* Deferred.make<void>()
    const free = yield* Deferred.make<void>()
    const fiber = yield* Effect.fork(part(Effect.zipRight(
      Effect.zipRight(first, Deferred.succeed(begun, undefined)),
      Effect.zipRight(Deferred.await(free), end)
    )))
    yield* Deferred.await(begun)
    return Effect.zipRight(Deferred.succeed(free, undefined), Fiber.await(fiber))
  })

/** The defect of an effect that must not have been done. */
const refused = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.map(Effect.exit(effect), (exit) => expect(String(defect(exit))).toMatch(/not in the innermost savepoint/))

/** Each way in which a fiber can do something in the open transaction. */
const everyWay: Record<string, Effect.Effect<unknown, unknown, SqlClient | Transaction.Transaction>> = {
  "a statement": add(2, 1),
  "its raw result": Effect.flatMap(SqlClient, (sql) => sql`UPDATE account SET balance = 1 WHERE id = 2`.raw),
  "its values": Effect.flatMap(SqlClient, (sql) => sql`UPDATE account SET balance = 1 WHERE id = 2`.values),
  "an unprepared one": Effect.flatMap(SqlClient, (sql) => sql`UPDATE account SET balance = 1 WHERE id = 2`.unprepared),
  "one without transforms": Effect.flatMap(SqlClient, (sql) => sql`UPDATE account SET balance = 1`.withoutTransform),
  "a stream": Effect.flatMap(SqlClient, (sql) => Stream.runDrain(sql`SELECT * FROM account FOR UPDATE`.stream)),
  "a row lock": RowLock.forUpdate({ table: "account", where: { id: 2 } }),
  "an advisory lock": AdvisoryLock.acquireInTransaction("a name", { timeout: 0 }),
  "an inbox": Inbox.once("m-1", "billing")(Effect.void),
  "an inbox of many": Inbox.onceMany(["m-2", "m-3"], "billing"),
  "an outbox": Outbox.append({ stream: "told", schema: Schema.String, value: "told" }),
  "an update by version": Occ.update({
    table: "account",
    key: { id: 2 },
    version: { column: "version", expected: 0 },
    set: { balance: 1 }
  }),
  "an insert": IdempotentInsert.insert({ table: "account", values: { id: 4, balance: 1 }, key: "PRIMARY" }),
  "afterCommit": Transaction.afterCommit(Effect.dieMessage("It was registered")),
  "Transaction.savepoint": Transaction.savepoint(Effect.void),
  "sql.withTransaction": parts["sql.withTransaction"]!(Effect.void)
}

const written = Effect.flatMap(SqlClient, (sql) =>
  Effect.map(
    sql<{ n: number }>`SELECT (SELECT COUNT(*) FROM safesync_inbox) + (SELECT COUNT(*) FROM safesync_outbox) AS n`,
    ([row]) => Number(row!.n)
  ))

layer(MysqlServer.layer, { excludeTestServices: true })("Savepoints of several fibers", (it) => {
  for (const [name, part] of Object.entries(parts)) {
    it.effect(`${name}: while one fiber is in it, another one's savepoint is a defect, and is not undone with it`, () =>
      inDatabase(Effect.gen(function*() {
        yield* accounts
        yield* Transaction.run(Effect.gen(function*() {
          const end = yield* halfway(part, add(1, 1), Effect.fail("mine"))
          for (const other of Object.values(parts)) yield* refused(other(add(2, 1)))
          expect(failure(yield* end)).toBe("mine")
          yield* part(add(3, 1))
        }))
        expect(yield* balances).toEqual([0, 0, 1])
      })))

    it.effect(`${name}: meanwhile no other fiber does anything in the transaction, in whatever way`, () =>
      inDatabase(Effect.gen(function*() {
        yield* accounts
        yield* Effect.zipRight(Inbox.migration, Outbox.migration)
        yield* Transaction.run(Effect.gen(function*() {
          const end = yield* halfway(part, add(1, 1), Effect.void)
          for (const way of Object.values(everyWay)) yield* refused(way)
          expect(Exit.isSuccess(yield* end)).toBe(true)
        }))
        expect(yield* balances).toEqual([1, 0, 0])
        expect(yield* written).toBe(0)
      })))

    it.effect(`${name}: from its SAVEPOINT on, whose answer has not come yet`, () =>
      inDatabase(Effect.gen(function*() {
        yield* accounts
        yield* throughProxy((proxy) =>
          Transaction.run(Effect.gen(function*() {
            yield* add(3, 1)
            const asked = yield* proxy.observe("SAVEPOINT")
            yield* proxy.stall("replies")
            const fiber = yield* Effect.fork(part(Effect.zipRight(add(1, 1), Effect.fail("mine"))))
            yield* asked
            const other = yield* Effect.fork(Effect.exit(add(2, 1)))
            yield* proxy.resume("replies")
            expect(failure(yield* Fiber.await(fiber))).toBe("mine")
            yield* refused(Effect.flatten(Fiber.join(other)))
          }))
        )
        expect(yield* balances).toEqual([0, 0, 1])
      })))

    it.effect(`${name}: the fibers that its body forks are in it, however deep`, () =>
      inDatabase(Effect.gen(function*() {
        yield* accounts
        yield* Transaction.run(Effect.gen(function*() {
          const all = Effect.all([add(1, 1), add(2, 1), add(3, 1)], { concurrency: 3 })
          yield* part(Effect.timeout(all, "10 seconds"))
          yield* Effect.timeout(part(all), "10 seconds")
          yield* Effect.exit(part(Effect.zipRight(all, Effect.fail("mine"))))
          yield* part(Effect.zipRight(
            all,
            Effect.all([
              Effect.zipRight(all, Effect.exit(part(part(Effect.zipRight(all, Effect.fail("mine")))))),
              Effect.void
            ], {
              concurrency: 2
            })
          ))
          for (const inner of Object.values(parts)) yield* part(inner(Effect.zipRight(all, inner(all))))
        }))
        expect(yield* balances).toEqual([8, 8, 8])
      })))

    it.effect(`${name}: one fiber after the other is fine, whether the first one is still there or not`, () =>
      inDatabase(Effect.gen(function*() {
        yield* accounts
        yield* Transaction.run(Effect.gen(function*() {
          for (
            const body of [add(1, 1), Effect.void, Effect.fail("mine"), Effect.zipRight(add(1, 1), Effect.fail("mine"))]
          ) {
            const left = yield* Deferred.make<void>()
            const fiber = yield* Effect.fork(
              Effect.zipRight(Effect.exit(part(body)), Effect.zipRight(Deferred.succeed(left, undefined), Effect.never))
            )
            yield* Deferred.await(left)
            yield* add(2, 1)
            yield* part(add(3, 1))
            yield* Fiber.interrupt(fiber)
            yield* Effect.exit(Fiber.join(yield* Effect.fork(part(body))))
            yield* part(add(3, 1))
            yield* add(2, 1)
          }
        }))
        expect(yield* balances).toEqual([2, 8, 8])
      })))

    it.effect(`${name}: a fiber that its body has left behind does nothing any more, also in a savepoint of its own`, () =>
      inDatabase(Effect.gen(function*() {
        yield* accounts
        for (const end of [Effect.void, Effect.fail("mine")]) {
          const go = yield* Deferred.make<void>()
          yield* Transaction.run(Effect.gen(function*() {
            const straggler = yield* Deferred.make<Fiber.RuntimeFiber<unknown, unknown>>()
            yield* Effect.exit(part(Effect.gen(function*() {
              yield* add(1, 1)
              const late = Effect.all([
                refused(add(2, 1)),
                ...Object.values(parts).map((other) => refused(other(add(2, 1))))
              ])
              yield* Deferred.succeed(
                straggler,
                yield* Effect.forkDaemon(Effect.zipRight(Deferred.await(go), late))
              )
              yield* end
            })))
            // Another savepoint of the same depth is not the one of the straggler.
            yield* part(Effect.gen(function*() {
              yield* Deferred.succeed(go, undefined)
              yield* Fiber.join(yield* Deferred.await(straggler))
            }))
            yield* add(3, 1)
          }))
        }
        expect(yield* balances).toEqual([1, 0, 2])
      })))

    it.effect(`${name}: one that another fiber is in when the body ends is not committed half`, () =>
      inDatabase(Effect.gen(function*() {
        yield* accounts
        const free = yield* Deferred.make<void>()
        const begun = yield* Deferred.make<void>()
        const fiber = yield* Deferred.make<Fiber.RuntimeFiber<unknown, unknown>>()
        const exit = yield* Effect.exit(Transaction.run(Effect.gen(function*() {
          yield* add(3, 1)
          const forked = yield* Effect.forkDaemon(part(Effect.gen(function*() {
            yield* add(1, 1)
            yield* Deferred.succeed(begun, undefined)
            yield* Deferred.await(free)
            yield* add(2, 1)
          })))
          yield* Deferred.succeed(fiber, forked)
          yield* Deferred.await(begun)
        })))
        expect(String(defect(exit))).toMatch(/while another of its fibers was in a savepoint/)
        yield* Deferred.succeed(free, undefined)
        expect(String(defect(yield* Fiber.await(yield* Deferred.await(fiber))))).toMatch(/scope is closed/)
        expect(yield* balances).toEqual([0, 0, 0])
      })))

    it.effect(`${name}: one that ends after the one around it tells the truth about what it wrote`, () =>
      inDatabase(Effect.gen(function*() {
        yield* accounts
        const outcome = (outer: Effect.Effect<unknown, string>, inner: Effect.Effect<unknown, string>) =>
          Effect.gen(function*() {
            const ends = yield* Deferred.make<Effect.Effect<Exit.Exit<unknown, unknown>>>()
            const exit = yield* Effect.exit(Transaction.run(Effect.gen(function*() {
              yield* Effect.exit(part(Effect.gen(function*() {
                yield* Deferred.succeed(ends, yield* halfway(Transaction.savepoint, add(1, 1), inner))
                yield* outer
              })))
              const end = yield* Effect.flatten(Deferred.await(ends))
              yield* add(3, 1)
              return failure(end) ?? String(defect(end))
            })))
            return failure(exit) ?? (Exit.isSuccess(exit) ? exit.value : undefined)
          })
        // It is undone with the outer one.
        expect(yield* outcome(Effect.fail("outer"), Effect.fail("mine"))).toBe("mine")
        expect(yield* balances).toEqual([0, 0, 1])
        expect(yield* outcome(Effect.fail("outer"), Effect.void)).toMatch(/not in the innermost savepoint/)
        expect(yield* balances).toEqual([0, 0, 2])
        if (name === "Transaction.savepoint") {
          // It is released with the outer one and cannot be undone any more, so all of the transaction is.
          expect(yield* outcome(Effect.void, Effect.fail("mine"))).toMatchObject({ reason: "savepoint-lost" })
          expect(yield* balances).toEqual([0, 0, 2])
        } else {
          // sql.withTransaction releases nothing.
          expect(yield* outcome(Effect.void, Effect.fail("mine"))).toBe("mine")
          expect(yield* balances).toEqual([0, 0, 3])
        }
      })))
  }

  it.effect("an effect that is provided with its own transaction again stays in its savepoint", () =>
    inDatabase(Effect.gen(function*() {
      yield* accounts
      yield* Effect.scoped(Effect.gen(function*() {
        const inside = Transaction.provide(yield* Transaction.make())
        for (const part of Object.values(parts)) {
          yield* Effect.exit(inside(part(Effect.zipRight(inside(add(1, 1)), Effect.fail("mine")))))
          yield* inside(part(inside(add(2, 1))))
          yield* inside(add(3, 1))
        }
      }))
      expect(yield* balances).toEqual([0, 2, 2])
    })))
})
