import { SqlClient } from "@effect/sql"
import { RowLock, Transaction } from "@safesync/mysql"
import { Effect, Option, Schema } from "effect"

const Account = Schema.Struct({ id: Schema.Int, balance: Schema.Int })

/** Pays interest of so many basis points, rounded here; nobody else writes the account meanwhile. */
export const payInterest = (id: number, basisPoints: number) =>
  Effect.gen(function*() {
    const sql = yield* SqlClient.SqlClient
    const account = yield* RowLock.forUpdate({ table: "account", where: { id }, schema: Account, wait: "2 seconds" })
    if (Option.isNone(account)) return Option.none<number>()
    const balance = account.value.balance + Math.round(account.value.balance * basisPoints / 10_000)
    yield* sql`UPDATE account SET balance = ${balance} WHERE id = ${id}`
    return Option.some(balance)
  }).pipe(Transaction.run({ isolation: "read-committed" }))
