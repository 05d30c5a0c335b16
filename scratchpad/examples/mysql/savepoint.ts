import { SqlClient } from "@effect/sql"
import { Transaction } from "@safesync/mysql"
import { Effect } from "effect"

/** A voucher that cannot be redeemed does not spoil the order; and the customer is told once it is committed, never before. */
export const placeOrder = (order: string, voucher: string, tell: (text: string) => Effect.Effect<void>) =>
  Effect.gen(function*() {
    const sql = yield* SqlClient.SqlClient
    yield* sql`INSERT INTO purchase (id, total) VALUES (${order}, 1000)`
    yield* Effect.gen(function*() {
      yield* sql`UPDATE purchase SET total = total - 200 WHERE id = ${order}`
      yield* sql`INSERT INTO redeemed (voucher) VALUES (${voucher})` // fails where it has been redeemed
      yield* Transaction.afterCommit(tell("your voucher is redeemed")) // dropped with the savepoint
    }).pipe(
      Transaction.savepoint, // what the failed part has written is undone, the rest stays
      Effect.catchTag("DuplicateKey", () => Effect.logInfo("the voucher has been redeemed before"))
    )
    yield* Transaction.afterCommit(tell(`order ${order} is placed`))
  }).pipe(Transaction.run())
