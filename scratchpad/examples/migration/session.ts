import { SqlClient } from "@effect/sql"
import { Rows, Transaction } from "@safesync/mysql"
import { Effect } from "effect"

interface Order {
  readonly id: number
  readonly status: string
}

/** `with DbSession(engine) as session:` is `Transaction.run`; `session.execute` gives the number of rows. */
export const close = (id: number) =>
  Effect.flatMap(SqlClient.SqlClient, (sql) =>
    Rows.affected(sql`UPDATE orders SET status = 'closed' WHERE id = ${id}`)
  ).pipe(Transaction.run())

/** `session.execute_scalar`, `session.fetch_one` and `session.fetch_all`: two rows where one is expected are a failure. */
export const overview = (id: number) =>
  Effect.gen(function*() {
    const sql = yield* SqlClient.SqlClient
    const count = yield* Rows.scalar(sql<{ readonly n: number }>`SELECT COUNT(*) AS n FROM orders`)
    const order = yield* Rows.oneOrNone(sql<Order>`SELECT id, status FROM orders WHERE id = ${id}`)
    const open = yield* sql<Order>`SELECT id, status FROM orders WHERE status = 'open' ORDER BY id`
    return { count, order, open }
  }).pipe(Transaction.run({ accessMode: "read-only" }))
