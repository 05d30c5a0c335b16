import { MysqlClient } from "@effect/sql-mysql2/MysqlClient"
import { SqlClient } from "@effect/sql/SqlClient"
import { expect, layer } from "@effect/vitest"
import * as CommitOracle from "@safesync/mysql/CommitOracle"
import * as Inbox from "@safesync/mysql/Inbox"
import * as Outbox from "@safesync/mysql/Outbox"
import * as Transaction from "@safesync/mysql/Transaction"
import * as MysqlServer from "@safesync/testkit/MysqlServer"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Schedule from "effect/Schedule"
import { accounts, add, anotherClient, balances, inDatabase, tag } from "./support.js"

const status = (...names: ReadonlyArray<string>) =>
  Effect.flatMap(SqlClient, (sql) =>
    Effect.map(
      sql<{ Value: string }>`SHOW GLOBAL STATUS WHERE Variable_name IN ${sql.in(names)}`.unprepared,
      (rows) => rows.reduce((sum, { Value }) => sum + Number(Value), 0)
    ))

/** How many sessions are at work on a COMMIT that no replica has acknowledged. */
const committing = Effect.flatMap(SqlClient, (sql) =>
  Effect.map(
    sql<{ n: number }>`SELECT COUNT(*) AS n FROM information_schema.PROCESSLIST
      WHERE STATE LIKE 'Waiting for semi-sync ACK from %'`,
    ([row]) => Number(row!.n)
  ))

/**
 * Every COMMIT waits on the server, as on a full disk, until `over` has been run. `asked` waits until the server has been asked to
 * end something; `kills` says how many times it has done so.
 */
const heldUp = Effect.gen(function*() {
  const { config } = yield* MysqlClient
  // what is asked here does not depend on what the client of the test has in its pool
  const observer = yield* anotherClient({ ...config, maxConnections: 1 })
  const enabled = (on: number) => observer`SET GLOBAL rpl_semi_sync_source_enabled = ${observer.literal(String(on))}`
  const over = Effect.orDie(enabled(0))
  yield* enabled(1)
  yield* Effect.addFinalizer(() => over)
  const outside = Effect.provideService(SqlClient, observer)
  const before = yield* outside(status("Com_kill", "Com_prepare_sql"))
  const killsBefore = yield* outside(status("Com_kill"))
  return {
    over,
    held: outside(Effect.repeat(committing, { until: (n) => n === 1 })),
    still: outside(committing),
    asked: outside(Effect.repeat(status("Com_kill", "Com_prepare_sql"), { until: (n) => n > before })),
    kills: Effect.map(outside(status("Com_kill")), (n) => n - killsBefore),
    gone: outside(Effect.repeat(committing, { until: (n) => n === 0 }))
  }
})

const commitOracle = Schedule.intersect(Schedule.spaced("20 millis"), Schedule.recurs(500))

layer(
  MysqlServer.layerOwn({
    args: ["--plugin-load-add=semisync_source.so", "--loose-rpl-semi-sync-source-timeout=3600000"]
  }),
  { excludeTestServices: true, timeout: "3 minutes" }
)("A session that commits is never killed", (it) => {
  it.effect("L3: COMMIT is not answered within controlTimeout", () =>
    inDatabase(Effect.gen(function*() {
      yield* accounts
      const { asked, gone, held, kills, over, still } = yield* heldUp
      const fiber = yield* Effect.fork(Effect.exit(Transaction.run(add(1, 10), { controlTimeout: "2 seconds" })))
      yield* held
      expect(tag(yield* Fiber.join(fiber))).toBe("CommitOutcomeUnknown")
      yield* asked
      expect([yield* still, yield* kills]).toEqual([1, 0])
      yield* Effect.zipRight(over, gone)
      expect(yield* balances).toEqual([10, 0, 0])
    })))

  it.effect("L3: it is asked about by the inbox's row: the oracle waits for it", () =>
    inDatabase(Effect.gen(function*() {
      yield* Effect.all([accounts, Inbox.migration, CommitOracle.migration])
      const { asked, held, kills, over, still } = yield* heldUp
      const fiber = yield* Effect.fork(Effect.exit(
        Inbox.once("m", "g")(add(1, 10)).pipe(Transaction.run({ commitOracle, controlTimeout: "2 seconds" }))
      ))
      yield* Effect.zipRight(held, asked)
      expect([yield* still, yield* kills]).toEqual([1, 0])
      yield* over
      expect(tag(yield* Fiber.join(fiber))).toBe(undefined)
      expect(yield* balances).toEqual([10, 0, 0])
    })))

  for (
    const [what, statement] of Object.entries<Effect.Effect<unknown, unknown, MysqlClient | SqlClient>>({
      "a statement that is its own transaction": Outbox.remove(["1"]),
      "DDL in a transaction": Transaction.run(
        Effect.flatMap(SqlClient, (sql) => sql`CREATE TABLE another (id INT PRIMARY KEY)`)
      )
    })
  ) {
    it.effect(`L4: ${what} is interrupted`, () =>
      inDatabase(Effect.gen(function*() {
        yield* Outbox.migration
        const sql = yield* SqlClient
        yield* sql`INSERT INTO safesync_outbox (id, slot, message_id, stream, headers, data) VALUES (1, 1, 'm', 's', '{}', '1')`
        const { asked, gone, held, kills, over, still } = yield* heldUp
        const fiber = yield* Effect.fork(Effect.exit(statement))
        yield* held
        const [took] = yield* Effect.timed(Fiber.interrupt(fiber))
        expect(Duration.toSeconds(took)).toBeLessThan(1)
        yield* asked
        expect([yield* still, yield* kills]).toEqual([1, 0])
        yield* Effect.zipRight(over, gone)
        const done = what === "DDL in a transaction"
          ? (yield* sql`SHOW TABLES LIKE 'another'`).length
          : 1 - (yield* Outbox.backlog).messages
        expect(done).toBe(1)
      })))
  }
})
