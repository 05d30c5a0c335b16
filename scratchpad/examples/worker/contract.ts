import { SqlClient } from "@effect/sql"
import { Contract } from "@safesync/testkit"
import { Effect, Schema } from "effect"

const Payment = Schema.Struct({ account: Schema.Int, pence: Schema.Int })

const credit = ({ account, pence }: typeof Payment.Type) =>
  Effect.flatMap(SqlClient.SqlClient, (sql) => sql`UPDATE account SET pence = pence + ${pence} WHERE id = ${account}`)

/** For a test: fails where the handler's effects are not there exactly once, and names the crash. */
export const creditKeepsTheContract = Contract.exactlyOnce({
  schema: Payment,
  messages: [{ account: 1, pence: 5 }],
  handler: credit,
  prepare: Effect.flatMap(SqlClient.SqlClient, (sql) =>
    Effect.zipRight(
      sql`CREATE TABLE account (id INT PRIMARY KEY, pence INT NOT NULL)`,
      sql`INSERT INTO account VALUES (1, 0)`
    )),
  observe: Effect.flatMap(SqlClient.SqlClient, (sql) => sql`SELECT * FROM account ORDER BY id`)
})
