import { SqlClient } from "@effect/sql"
import { Transaction } from "@safesync/mysql"
import { Effect, Option } from "effect"

interface Order {
  readonly id: number
  readonly status: string
}

/** `with DbSession(engine) as session:` is `Transaction.run`; `session.execute` gives the number of rows. */
export const close = (id: number) =>
  Effect.gen(function*() {
    const sql = yield* SqlClient.SqlClient
    const result = yield* sql`UPDATE orders SET status = 'closed' WHERE id = ${id}`.raw
    return (result as { readonly affectedRows: number }).affectedRows
  }).pipe(Transaction.run())

/** `session.execute_scalar`, `session.fetch_one` and `session.fetch_all`: a statement is an array of rows. */
export const overview = (id: number) =>
  Effect.gen(function*() {
    const sql = yield* SqlClient.SqlClient
    const [count] = yield* sql<{ readonly n: number }>`SELECT COUNT(*) AS n FROM orders`
    const [order] = yield* sql<Order>`SELECT id, status FROM orders WHERE id = ${id}`
    const open = yield* sql<Order>`SELECT id, status FROM orders WHERE status = 'open' ORDER BY id`
    return { count: count!.n, order: Option.fromNullable(order), open }
  }).pipe(Transaction.run({ accessMode: "read-only" }))
