import { SqlClient } from "@effect/sql"
import { RowLock, Transaction } from "@safesync/mysql"
import { Data, Effect, Schema } from "effect"

export class NotEnough extends Data.TaggedError("NotEnough")<{ readonly account: number }> {}

const Account = Schema.Struct({ id: Schema.Int, balance: Schema.Int })

/** Both rows are locked in the key's order, whoever pays whom: two transfers crosswise do not deadlock. */
export const transfer = (from: number, to: number, pence: number) =>
  Effect.gen(function*() {
    const sql = yield* SqlClient.SqlClient
    const rows = yield* RowLock.forUpdateMany({ table: "account", key: "id", values: [from, to], schema: Account })
    const payer = rows.find(({ id }) => id === from)
    if (payer === undefined || payer.balance < pence) return yield* new NotEnough({ account: from })
    yield* sql`UPDATE account SET balance = balance - ${pence} WHERE id = ${from}`
    yield* sql`UPDATE account SET balance = balance + ${pence} WHERE id = ${to}`
  }).pipe(Transaction.run({ isolation: "read-committed" }))
