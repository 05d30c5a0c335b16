import { SqlClient } from "@effect/sql"
import { AdvisoryLock, Transaction } from "@safesync/mysql"
import { Effect } from "effect"

/** The next number of a series: the row that will hold it does not exist yet, so there is none to lock. */
export const nextInvoice = (series: string) =>
  Effect.gen(function*() {
    const sql = yield* SqlClient.SqlClient
    yield* AdvisoryLock.acquireInTransaction(`invoices/${series}`, { timeout: "5 seconds" })
    const [last] = yield* sql<{ n: number }>`SELECT COALESCE(MAX(number), 0) AS n FROM invoice WHERE series = ${series}`
    const number = last!.n + 1
    yield* sql`INSERT INTO invoice (series, number) VALUES (${series}, ${number})`
    return number
    // The lock is released after COMMIT. At repeatable read MAX might come from a snapshot that is older than the lock.
  }).pipe(Transaction.run({ isolation: "read-committed" }))
