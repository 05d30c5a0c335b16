import { SqlClient } from "@effect/sql"
import { Occ, Transaction } from "@safesync/mysql"
import { Effect, Schedule } from "effect"

const patiently = Schedule.jittered(Schedule.exponential("5 millis")).pipe(Schedule.intersect(Schedule.recurs(10)))

/** Read, compute, write back if nobody was faster; or else all of it again, in a new transaction. */
export const appendNote = (product: string, note: string) =>
  Effect.gen(function*() {
    const sql = yield* SqlClient.SqlClient
    const [row] = yield* sql<{ notes: string; version: number }>`SELECT notes, version FROM product WHERE code = ${product}`
    return yield* Occ.update({
      table: "product",
      key: { code: product },
      version: { column: "version", expected: row?.version ?? 0 },
      set: { notes: `${row?.notes ?? ""}${note}\n` }
    })
  }).pipe(Transaction.run(), Occ.retry(patiently))
