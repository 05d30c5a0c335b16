import { SqlClient } from "@effect/sql"
import { Outbox, Transaction } from "@safesync/mysql"
import { Effect, Schema } from "effect"

const Shipped = Schema.Struct({ order: Schema.String })

/** The order is marked and the others are told of it, both or neither; the messages of one order are published in order. */
export const ship = (order: string) =>
  Effect.gen(function*() {
    const sql = yield* SqlClient.SqlClient
    yield* sql`UPDATE purchase SET shipped = 1 WHERE id = ${order}`
    yield* Outbox.append({ stream: "shipped", schema: Shipped, value: { order }, key: order }) // late: it locks the key until COMMIT
  }).pipe(Transaction.run({ isolation: "read-committed" }))
