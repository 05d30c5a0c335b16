import { SqlClient } from "@effect/sql"
import { AdvisoryLock, RowLock, Transaction } from "@safesync/mysql"
import { Effect, Option, Schema } from "effect"

const Order = Schema.Struct({ id: Schema.Int, pieces: Schema.Int })

/** `RowLock(session, "orders", {"id": id}).acquire()`: the row as it is under the lock, or none. It has a bound now. */
export const addPieces = (id: number, more: number) =>
  Effect.gen(function*() {
    const sql = yield* SqlClient.SqlClient
    const order = yield* RowLock.forUpdate({ table: "orders", where: { id }, schema: Order, wait: "5 seconds" })
    if (Option.isNone(order)) return false
    yield* sql`UPDATE orders SET pieces = ${order.value.pieces + more} WHERE id = ${id}`
    return true
  }).pipe(Transaction.run())

/**
 * `with AdvisoryLock(session, key, timeout=10):`, held beyond COMMIT as there, and then released. Python gives the key to GET_LOCK as it
 * is, and here it is encoded: while both run, say `raw: true`, so that they exclude each other.
 */
export const importOnce = (day: string) =>
  Effect.gen(function*() {
    const sql = yield* SqlClient.SqlClient
    yield* AdvisoryLock.acquireInTransaction(`import/${day}`, { timeout: "10 seconds", raw: true })
    const [found] = yield* sql`SELECT day FROM imported WHERE day = ${day}`
    if (found !== undefined) return false
    yield* sql`INSERT INTO imported (day) VALUES (${day})`
    return true
    // REPEATABLE READ takes its snapshot at the first SELECT, which comes after the lock.
  }).pipe(Transaction.run())
