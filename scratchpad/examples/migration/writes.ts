import { SqlClient } from "@effect/sql"
import { IdempotentInsert, Occ, Transaction } from "@safesync/mysql"
import { Effect, Schedule } from "effect"

/** `occ_update(…)` gives the number of rows, and 0 for a conflict: so does `tryUpdate`. */
export const rename = (id: number, version: number, name: string) =>
  Occ.tryUpdate({ table: "product", key: { id }, version: { column: "version", expected: version }, set: { name } }).pipe(
    Transaction.run()
  )

/** The loop around it, each attempt in a session of its own, is `Occ.retry`. A conflict and a missing row are two errors. */
export const shout = (id: number) =>
  Effect.gen(function*() {
    const sql = yield* SqlClient.SqlClient
    const [row] = yield* sql<{ name: string; version: number }>`SELECT name, version FROM product WHERE id = ${id}`
    return yield* Occ.update({
      table: "product",
      key: { id },
      version: { column: "version", expected: row?.version ?? 0 },
      set: { name: `${row?.name ?? ""}!` }
    })
  }).pipe(Transaction.run(), Occ.retry(Schedule.intersect(Schedule.jittered(Schedule.spaced("5 millis")), Schedule.recurs(10))))

/** `insert_idempotent(session, sql, params)`: true for a new row. It absorbs a duplicate of the named key, and no other. */
export const register = (id: number, name: string) =>
  IdempotentInsert.insert({ table: "product", values: { id, name, version: 0 }, key: "PRIMARY" }).pipe(
    Effect.map(({ _tag }) => _tag === "Inserted"),
    Transaction.run()
  )
