/** An effect that can never work is a defect when it runs, and not an exception where it is built: that is outside of every Effect. */
import * as Mysql2 from "@effect/sql-mysql2/MysqlClient"
import { SqlClient } from "@effect/sql/SqlClient"
import { expect, layer } from "@effect/vitest"
import * as AdvisoryLock from "@safesync/mysql/AdvisoryLock"
import * as CommitOracle from "@safesync/mysql/CommitOracle"
import * as IdempotentInsert from "@safesync/mysql/IdempotentInsert"
import * as Inbox from "@safesync/mysql/Inbox"
import * as Occ from "@safesync/mysql/Occ"
import * as Outbox from "@safesync/mysql/Outbox"
import * as RowLock from "@safesync/mysql/RowLock"
import * as Transaction from "@safesync/mysql/Transaction"
import * as MysqlServer from "@safesync/testkit/MysqlServer"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { anotherClient, defect, inDatabase } from "./support.js"

const table = "accounts ".repeat(10)
const version = { column: "version", expected: 1 }
const notADuration = "5 parsecs" as "5 seconds"

/** Also what no type lets through. */
const mistakes: Record<string, () => Effect.Effect<unknown, unknown, any>> = {
  "RowLock.forUpdate of no table's name": () => RowLock.forUpdate({ table, where: { id: 1 } }),
  "RowLock.forUpdate of an empty name": () => RowLock.forUpdate({ table: "", where: { id: 1 } }),
  "RowLock.forShare with no column's name": () => RowLock.forShare({ table: "account", where: { "id ": 1 } }),
  "RowLock.forUpdate without a condition": () => RowLock.forUpdate({ table: "account", where: {} as never }),
  "RowLock.forUpdate without options": () => RowLock.forUpdate(undefined as never),
  "RowLock.forUpdateMany of no table's name": () => RowLock.forUpdateMany({ table, key: "id", values: [1] }),
  "RowLock.forUpdateMany with no column's name": () => RowLock.forUpdateMany({ table: "a", key: "", values: [1] }),
  "RowLock.forUpdateMany without values": () =>
    RowLock.forUpdateMany({ table: "account", key: "id", values: undefined as never }),
  "Occ.update of no table's name": () => Occ.update({ table, key: { id: 1 }, version, set: { a: 1 } }),
  "Occ.update without a key": () => Occ.update({ table: "a", key: {} as never, version, set: { a: 1 } }),
  "Occ.tryUpdate with no column's name": () => Occ.tryUpdate({ table: "a", key: { id: 1 }, version, set: { "": 1 } }),
  "IdempotentInsert of no table's name": () => IdempotentInsert.insert({ table, values: { id: 1 }, key: "PRIMARY" }),
  "IdempotentInsert with no column's name": () =>
    IdempotentInsert.insert({ table: "account", values: { "\0": 1 }, key: "PRIMARY" }),
  "IdempotentInsert without values": () =>
    IdempotentInsert.insert({ table: "account", values: undefined as never, key: "PRIMARY" }),
  "Outbox.append to no stream": () => Outbox.append({ stream: "", schema: Schema.Int, value: 1 }),
  "Outbox.append with too long a key": () =>
    Outbox.append({ stream: "s", schema: Schema.Int, value: 1, key: "k".repeat(256) }),
  "Inbox.once without an id": () => Inbox.once(undefined as never, "g")(Effect.void),
  "AdvisoryLock of a raw name that is none": () => AdvisoryLock.acquireInTransaction("", { timeout: 0, raw: true }),
  "AdvisoryLock without options": () => AdvisoryLock.acquireInTransaction("x", undefined as never),
  "AdvisoryLock.withLock without options": () =>
    Transaction.independent(AdvisoryLock.withLock("x", undefined as never)(Effect.void)),
  "Transaction.independent that has no time": () => Transaction.independent(Effect.void, { controlTimeout: 0 }),
  "Inbox.purge in batches of nothing": () => Inbox.purge({ olderThan: "1 day", batchSize: 0 }),
  "CommitOracle.purge in batches of nothing": () => CommitOracle.purge({ olderThan: "1 day", batchSize: 0 }),
  "RowLock.forUpdate with a wait that is none": () =>
    RowLock.forUpdate({ table: "account", where: { id: 1 }, wait: notADuration }),
  "RowLock.forUpdate with a schema that is none": () =>
    RowLock.forUpdate({ table: "account", where: { id: 1 }, schema: {} as typeof Schema.Int }),
  "AdvisoryLock with a timeout that is none": () => AdvisoryLock.acquireInTransaction("x", { timeout: notADuration }),
  "Inbox.purge of an age that is none": () => Transaction.independent(Inbox.purge({ olderThan: notADuration })),
  "Transaction.independent with a bound that is none": () =>
    Transaction.independent(Effect.void, { controlTimeout: notADuration }),
  "Transaction.independent with a lock's bound that is none": () =>
    Transaction.independent(Effect.void, { lockWaitTimeout: notADuration })
}

layer(MysqlServer.layer, { excludeTestServices: true })("What is built and can never work", (it) => {
  for (const [name, build] of Object.entries(mistakes)) {
    it.effect(`is a defect of its effect: ${name}`, () => {
      const effect = build()
      return inDatabase(Effect.gen(function*() {
        const exit = yield* Effect.exit(Transaction.run(effect))
        expect(defect(exit), String(exit)).toBeInstanceOf(Error)
      }))
    })
  }

  it.effect("leaves the pool as it was: none of its connections is lost", () =>
    inDatabase(Effect.gen(function*() {
      const client = yield* anotherClient({ maxConnections: 2 })
      const withIt = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
        effect.pipe(Effect.provideService(SqlClient, client), Effect.provideService(Mysql2.MysqlClient, client))
      for (const build of Object.values(mistakes)) yield* Effect.exit(withIt(Transaction.run(build())))
      const select = Effect.flatMap(SqlClient, (sql) => sql`SELECT 1 AS one`)
      const both = Transaction.run(Effect.zipRight(select, Transaction.independent(select)))
      expect(yield* withIt(both)).toEqual([{ one: 1 }])
    })))
})
