import { SqlClient } from "@effect/sql"
import { AdvisoryLock, RowLock, Transaction } from "@safesync/mysql"
import { Effect, Option } from "effect"

/** Opens an account's savings pot, if there is an account and no pot. */
export const openPot = (account: number, name: string) =>
  Effect.gen(function*() {
    const sql = yield* SqlClient.SqlClient
    // Everywhere in this order: the server sees no deadlock between an advisory lock and a row lock.
    yield* AdvisoryLock.acquireInTransaction(`pots/${account}`, { timeout: "5 seconds" }) // the pot is not there to be locked
    const owner = yield* RowLock.forShare({ table: "account", where: { id: account } }) // the account must not go meanwhile
    const pots = yield* sql`SELECT 1 FROM pot WHERE account = ${account}`
    if (Option.isNone(owner) || pots.length > 0) return false
    yield* sql`INSERT INTO pot (account, name) VALUES (${account}, ${name})`
    return true
  }).pipe(Transaction.run({ isolation: "read-committed" }))
