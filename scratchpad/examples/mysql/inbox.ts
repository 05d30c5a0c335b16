import { SqlClient } from "@effect/sql"
import { Inbox, Transaction } from "@safesync/mysql"
import { Effect } from "effect"

/** The message's id and its effect are committed together: a message that comes again is recognised, and none is lost. */
export const credit = (messageId: string, account: number, pence: number) =>
  Effect.flatMap(SqlClient.SqlClient, (sql) =>
    sql`UPDATE account SET balance = balance + ${pence} WHERE id = ${account}`).pipe(
      Inbox.once(messageId, "billing"), // none where it was processed before
      Transaction.run({ isolation: "read-committed" })
    )
