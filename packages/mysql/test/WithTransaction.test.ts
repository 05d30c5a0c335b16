/**
 * What is promised in place of `sql.withTransaction`, row by row: the same scenario with both. A scenario says what was
 * seen; the expectation for `sql.withTransaction` is what goes wrong, the one for `Transaction.run` is the promise.
 */
import { SqlClient } from "@effect/sql/SqlClient"
import { SqlError } from "@effect/sql/SqlError"
import { expect, layer } from "@effect/vitest"
import * as Transaction from "@safesync/mysql/Transaction"
import * as MysqlServer from "@safesync/testkit/MysqlServer"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import {
  accounts,
  add,
  anotherClient,
  balances,
  connectionId,
  crosswise,
  defect,
  failure,
  inDatabase,
  kill,
  outside,
  tag,
  throughProxy,
  type Transacted,
  untilLockWait,
  waiting
} from "./support.js"

/** The one argument in which the scenarios differ. */
const theirs: Transacted = (effect) => Effect.flatMap(SqlClient, (sql) => sql.withTransaction(effect))
const ours: Transacted = Transaction.run()

/** How a fiber ended, in terms of what its caller can do about it. */
const seen = (exit: Exit.Exit<unknown, unknown>) =>
  Exit.isSuccess(exit)
    ? { success: exit.value }
    : failure(exit) === undefined
    ? { defect: defect(exit) }
    : { failure: failure(exit) }

const anSqlError = expect.any(SqlError)

layer(MysqlServer.layer, { excludeTestServices: true })("In place of sql.withTransaction", (it) => {
  const pair = <A, E>(
    name: string,
    scenario: (transacted: Transacted) => Effect.Effect<A, E, Effect.Effect.Context<Parameters<typeof inDatabase>[0]>>,
    expected: { readonly theirs: unknown; readonly ours: unknown },
    options?: MysqlServer.DatabaseOptions
  ) => {
    it.effect(`${name}: with sql.withTransaction`, () =>
      inDatabase(Effect.map(scenario(theirs), (what) => expect(what).toEqual(expected.theirs)), options))
    it.effect(`${name}: with Transaction.run`, () =>
      inDatabase(Effect.map(scenario(ours), (what) => expect(what).toEqual(expected.ours)), options))
  }

  pair(
    "L3: the connection dies at COMMIT",
    (transacted) =>
      Effect.zipRight(
        accounts,
        throughProxy((proxy) =>
          Effect.gen(function*() {
            const lost = yield* proxy.loseReplies("COMMIT")
            const exit = yield* Effect.exit(transacted(add(1, 10)))
            yield* lost
            return seen(exit)
          })
        )
      ),
    {
      theirs: { defect: anSqlError },
      ours: { failure: expect.objectContaining({ _tag: "CommitOutcomeUnknown" }) }
    }
  )

  pair(
    "L2: the connection is gone when ROLLBACK runs",
    (transacted) =>
      Effect.gen(function*() {
        yield* accounts
        const exit = yield* Effect.exit(transacted(Effect.gen(function*() {
          yield* add(1, 5)
          yield* kill(yield* connectionId)
          return yield* Effect.fail("the handler's own")
        })))
        return { ...seen(exit), balances: yield* balances }
      }),
    {
      theirs: { defect: anSqlError, balances: [0, 0, 0] },
      ours: { failure: "the handler's own", balances: [0, 0, 0] }
    }
  )

  pair(
    "L4: a fiber that waits for a row lock is interrupted",
    (transacted) =>
      Effect.gen(function*() {
        yield* accounts
        const held = yield* Deferred.make<void>()
        const release = yield* Deferred.make<void>()
        const holder = yield* Effect.fork(transacted(
          Effect.zipRight(Effect.zipRight(add(1, 1), Deferred.succeed(held, undefined)), Deferred.await(release))
        ))
        yield* Deferred.await(held)
        const waiter = yield* Effect.fork(transacted(add(1, 10)))
        yield* untilLockWait
        yield* Fiber.interruptFork(waiter)
        const ended = yield* Effect.timeoutOption(Fiber.await(waiter), "1 second")
        const waits = yield* waiting
        yield* Deferred.succeed(release, undefined)
        yield* Fiber.join(holder)
        yield* Fiber.await(waiter)
        return { endedBeforeTheLockWasFree: Option.isSome(ended), waits, balances: yield* balances }
      }),
    {
      theirs: { endedBeforeTheLockWasFree: false, waits: 1, balances: [1, 0, 0] },
      ours: { endedBeforeTheLockWasFree: true, waits: 0, balances: [1, 0, 0] }
    }
  )

  pair(
    "L7: a deadlock is caught inside the body, more writes follow, the body fails",
    (transacted) =>
      Effect.gen(function*() {
        yield* accounts
        const exits = yield* crosswise(transacted, (other) =>
          Effect.gen(function*() {
            if (Exit.isSuccess(yield* Effect.exit(add(other, 1)))) return "survived"
            yield* Effect.exit(add(3, 100))
            return yield* Effect.fail("undo it all")
          }))
        return { ends: exits.map(seen).sort((a) => "success" in a ? 1 : -1), balances: yield* balances }
      }),
    {
      theirs: { ends: [{ failure: "undo it all" }, { success: "survived" }], balances: [1, 1, 100] },
      ours: { ends: [{ failure: "undo it all" }, { success: "survived" }], balances: [1, 1, 0] }
    }
  )

  pair(
    "L5: GET_LOCK inside a transaction",
    (transacted) =>
      Effect.gen(function*() {
        const sql = yield* SqlClient
        const other = yield* anotherClient()
        const lock = yield* transacted(Effect.gen(function*() {
          const [row] = yield* sql<{ name: string }>`SELECT CONCAT(DATABASE(), '.lock') AS name`
          yield* sql`SELECT GET_LOCK(${row!.name}, 0)`
          return row!.name
        }))
        // The transaction is over: the lock of a connection that is closed is free in a moment, that of a pooled one is not.
        const [row] = yield* other<{ granted: number }>`SELECT GET_LOCK(${lock}, 2) AS granted`
        yield* sql`DO RELEASE_ALL_LOCKS()`
        return row
      }),
    { theirs: { granted: 0 }, ours: { granted: 1 } },
    { maxConnections: 1 }
  )

  pair(
    "L7: a nested deadlock",
    (transacted) =>
      Effect.gen(function*() {
        yield* accounts
        const sql = yield* SqlClient
        const exits = yield* crosswise(transacted, (other) => sql.withTransaction(add(other, 1)))
        const end = seen(exits.find(Exit.isFailure)!)
        return "defect" in end ? { defect: ((end.defect as SqlError).cause as { errno: number }).errno } : end
      }),
    { theirs: { defect: 1305 }, ours: { failure: expect.objectContaining({ _tag: "Deadlock", errno: 1213 }) } }
  )
})

layer(MysqlServer.layerOwn(), { excludeTestServices: true, timeout: "3 minutes" })(
  "In place of sql.withTransaction, the server refusing COMMIT",
  (it) => {
    /** The server becomes read-only, by another connection, between the write and COMMIT. */
    const refused = (transacted: Transacted) =>
      inDatabase(Effect.gen(function*() {
        yield* accounts
        const other = yield* anotherClient()
        const readOnly = (on: number) => outside(other`SET GLOBAL super_read_only = ${other.literal(String(on))}`)
        const exit = yield* Effect.exit(transacted(Effect.zipRight(add(1, 10), readOnly(1))))
        yield* readOnly(0)
        yield* other`SET GLOBAL read_only = 0`
        return { exit, balances: yield* balances }
      }))

    it.effect("L3: the server refuses COMMIT: with sql.withTransaction", () =>
      Effect.map(refused(theirs), ({ balances, exit }) => {
        expect(tag(exit)).toBe(undefined)
        expect(defect(exit)).toEqual(anSqlError)
        expect(balances).toEqual([0, 0, 0])
      }))

    it.effect("L3: the server refuses COMMIT: with Transaction.run", () =>
      Effect.map(refused(ours), ({ balances, exit }) => {
        expect(failure(exit)).toMatchObject({ _tag: "CommitFailed", cause: { _tag: "ReadOnlyServer" } })
        expect(balances).toEqual([0, 0, 0])
      }))
  }
)
