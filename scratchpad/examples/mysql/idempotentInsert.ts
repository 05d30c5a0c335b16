import { IdempotentInsert, Transaction } from "@safesync/mysql"
import { Effect } from "effect"

/** The first line of an order makes its header, whichever line comes first; and each line is written once. */
export const addLine = (order: string, line: number, pence: number) =>
  Effect.gen(function*() {
    yield* IdempotentInsert.insert({ table: "purchase", values: { id: order, total: 0 }, key: "PRIMARY" })
    const written = yield* IdempotentInsert.insert({
      table: "purchase_line",
      values: { purchase: order, line, pence },
      key: "PRIMARY" // a duplicate of another index, or a missing purchase, is a failure
    })
    return written._tag === "Inserted"
    // Do not update the header from here on: who found a duplicate holds a shared lock on it, and two such would deadlock.
  }).pipe(Transaction.run({ isolation: "read-committed" }))
