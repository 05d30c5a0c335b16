import { SqlClient } from "@effect/sql"
import { Transaction } from "@safesync/mysql"
import { Effect } from "effect"

/** Takes so many pieces from the stock, if there are as many: the server reads, compares and writes in one step. */
export const take = (item: string, pieces: number) =>
  Effect.gen(function*() {
    const sql = yield* SqlClient.SqlClient
    yield* sql`UPDATE stock SET pieces = pieces - ${pieces} WHERE item = ${item} AND pieces >= ${pieces}`
    const [changed] = yield* sql<{ n: number }>`SELECT ROW_COUNT() AS n`
    return changed!.n === 1
  }).pipe(Transaction.run({ isolation: "read-committed" }))
