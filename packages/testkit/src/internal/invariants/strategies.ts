/** The strategies that the suites know by name. */
import { SqlClient } from "@effect/sql/SqlClient"
import * as AdvisoryLock from "@safesync/mysql/AdvisoryLock"
import * as IdempotentInsert from "@safesync/mysql/IdempotentInsert"
import * as Occ from "@safesync/mysql/Occ"
import * as RowLock from "@safesync/mysql/RowLock"
import * as Transaction from "@safesync/mysql/Transaction"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import type { HotRow, Increment, IncrementBuiltIn, Insert, InsertBuiltIn } from "../../Invariants.js"

interface Row {
  readonly value: number
  readonly version: number
}

const read = ({ id, table }: HotRow) =>
  Effect.flatMap(SqlClient, (sql) =>
    Effect.map(
      sql<Row>`SELECT value, version FROM ${sql(table)} WHERE id = ${id}`,
      ([row]) => row!
    ))

const write = ({ id, table }: HotRow, value: number) =>
  Effect.flatMap(SqlClient, (sql) => sql`UPDATE ${sql(table)} SET value = ${value} WHERE id = ${id}`)

const lockRow = ({ id, table }: HotRow) => Effect.map(RowLock.forUpdate({ table, where: { id } }), Option.getOrThrow)

const lockName = (row: HotRow) => AdvisoryLock.acquireInTransaction(nameOf(row), patience)

const nameOf = ({ id, table }: HotRow) => `${table}/${id}`

/** No strategy is to fail because others are ahead of it. */
const patience = { timeout: "2 minutes" } as const

const readThinkWrite = (row: HotRow) =>
  Effect.flatMap(read(row), ({ value }) => Effect.zipRight(row.think, write(row, value + 1)))

const compareAndSet = (row: HotRow, { value, version }: Row) => ({
  table: row.table,
  key: { id: row.id },
  version: { column: "version", expected: version },
  set: { value: value + 1 }
})

const untilItWorks = Schedule.jittered(Schedule.exponential("2 millis")).pipe(
  Schedule.union(Schedule.jittered(Schedule.spaced("40 millis"))),
  Schedule.intersect(Schedule.recurs(5_000))
)

const transaction = Transaction.run({ isolation: "read-committed", lockWaitTimeout: "2 minutes" })

/** Everybody has read before anybody writes, and everybody has written before anybody reads again. */
const allReadThenAllWrite = <A, E, R>(row: HotRow, write: (read: Row) => Effect.Effect<A, E, R>) =>
  Effect.zipRight(
    row.rendezvous,
    transaction(Effect.flatMap(Effect.zipLeft(read(row), row.rendezvous), write))
  )

export const increments: Readonly<Record<IncrementBuiltIn, Increment>> = {
  "atomic-update": ({ id, table }) =>
    transaction(Effect.flatMap(SqlClient, (sql) => sql`UPDATE ${sql(table)} SET value = value + 1 WHERE id = ${id}`)),
  "row-lock": (row) =>
    transaction(Effect.flatMap(lockRow(row), ({ value }) => Effect.zipRight(row.think, write(row, Number(value) + 1)))),
  "advisory-lock": (row) => transaction(Effect.zipRight(lockName(row), readThinkWrite(row))),
  "row-and-advisory-lock": (row) =>
    transaction(Effect.zipRight(
      lockName(row),
      Effect.flatMap(lockRow(row), ({ value }) => Effect.zipRight(row.think, write(row, Number(value) + 1)))
    )),
  "with-lock": (row) => readThinkWrite(row).pipe(transaction, AdvisoryLock.withLock(nameOf(row), patience)),
  "occ-retry": (row) =>
    Effect.flatMap(Effect.zipLeft(read(row), row.think), (seen) => Occ.update(compareAndSet(row, seen))).pipe(
      transaction,
      Occ.retry(untilItWorks)
    ),
  "unsynchronised": (row) => allReadThenAllWrite(row, ({ value }) => write(row, value + 1)),
  "occ-ignored": (row) => allReadThenAllWrite(row, (seen) => Occ.tryUpdate(compareAndSet(row, seen)))
}

export const inserts: Readonly<Record<InsertBuiltIn, Insert>> = {
  "idempotent-insert": ({ key, table }) =>
    IdempotentInsert.insert({ table, values: { name: key }, key: "PRIMARY" }).pipe(
      Effect.map(({ _tag }) => _tag === "Inserted" ? "inserted" : "exists"),
      transaction
    )
}
