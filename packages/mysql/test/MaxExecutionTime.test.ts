import { SqlClient } from "@effect/sql/SqlClient"
import { expect, layer } from "@effect/vitest"
import * as AdvisoryLock from "@safesync/mysql/AdvisoryLock"
import * as FencingToken from "@safesync/mysql/FencingToken"
import * as Inbox from "@safesync/mysql/Inbox"
import * as Occ from "@safesync/mysql/Occ"
import * as RowLock from "@safesync/mysql/RowLock"
import * as Transaction from "@safesync/mysql/Transaction"
import * as MysqlServer from "@safesync/testkit/MysqlServer"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import { accounts, add, holding, inDatabase, tag } from "./support.js"

/** A wait of this database that has lasted for a second, by the server's clock. */
const untilWaited = Effect.repeat(
  Effect.flatMap(
    SqlClient,
    (sql) =>
      sql`SELECT THREAD_ID FROM performance_schema.threads WHERE PROCESSLIST_DB = DATABASE() AND PROCESSLIST_TIME >= 1
      AND PROCESSLIST_COMMAND <> 'Sleep' AND PROCESSLIST_ID <> CONNECTION_ID()`
  ),
  { until: (rows) => rows.length > 0 }
)

const waitTimeout = { lockWaitTimeout: "1 minute" } as const

const account = { table: "account", where: { id: 1 } } as const

/** The holder of a lock, and one that waits for it. */
const waits: Record<
  string,
  readonly [
    holder: Effect.Effect<unknown, unknown, Transaction.Transaction | SqlClient>,
    waiter: Effect.Effect<unknown, unknown, Transaction.Transaction | SqlClient>
  ]
> = {
  "RowLock.forUpdate": [RowLock.forUpdate(account), RowLock.forUpdate(account)],
  "RowLock.forShare": [RowLock.forUpdate(account), RowLock.forShare({ ...account, wait: "wait" })],
  "RowLock with a bound of its own": [RowLock.forUpdate(account), RowLock.forUpdate({ ...account, wait: "1 minute" })],
  "AdvisoryLock, whole seconds": [
    AdvisoryLock.acquireInTransaction("x", { timeout: 0 }),
    AdvisoryLock.acquireInTransaction("x", { timeout: "1 minute" })
  ],
  "AdvisoryLock, milliseconds": [
    AdvisoryLock.acquireInTransaction("x", { timeout: 0 }),
    AdvisoryLock.acquireInTransaction("x", { timeout: 60_001 })
  ],
  "Occ.update, which asks for the version that is there": [
    add(1, 1),
    Occ.update({ ...account, key: { id: 1 }, version: { column: "version", expected: 0 }, set: { balance: 1 } })
  ],
  "FencingToken.guard": [
    Effect.flatMap(SqlClient, (sql) => sql`UPDATE safesync_fencing_token SET token = token WHERE name = 'x'`),
    FencingToken.guard({ name: "x", lock: "x", token: 1 })
  ],
  "Inbox.onceMany": [Inbox.onceMany(["m"], "g"), Inbox.onceMany(["m"], "g")]
}

layer(MysqlServer.layerOwn({ args: ["--max-execution-time=100"] }), { excludeTestServices: true })(
  "a server with a max_execution_time",
  (it) => {
    for (const [name, [holder, waiter]] of Object.entries(waits)) {
      it.effect(`L11: a lock is waited for as long as its own bound says: ${name}`, () =>
        inDatabase(Effect.gen(function*() {
          yield* accounts
          yield* Effect.zipRight(Inbox.migration, FencingToken.migration)
          const sql = yield* SqlClient
          yield* sql`INSERT INTO safesync_fencing_token (name, token) VALUES ('x', 1)`
          const held = yield* holding(holder)
          const waiting = yield* Effect.fork(Effect.exit(Transaction.run(waiter, waitTimeout)))
          yield* untilWaited
          yield* held.release
          expect(tag(yield* Fiber.join(waiting))).toBe(undefined)
        })))
    }

    it.effect("L11: a lock outside of any transaction is waited for as long", () =>
      inDatabase(Effect.gen(function*() {
        const held = yield* holding(AdvisoryLock.acquireInTransaction("x", { timeout: 0 }))
        const waiting = yield* Effect.fork(AdvisoryLock.withLock("x", { timeout: "1 minute" })(Effect.succeed("held")))
        yield* untilWaited
        yield* held.release
        expect(yield* Fiber.join(waiting)).toBe("held")
      })))
  }
)
