import { Inbox, Outbox, Transaction } from "@safesync/mysql"
import { Effect, Schema } from "effect"

const Report = Schema.Struct({ day: Schema.String, orders: Schema.Int })

/**
 * The report of a day, made once, however many processes try and however late. The day is the message's id, remembered in the
 * transaction that hands the report on. None where another process has made it; a process that fails leaves it to the next one.
 */
export const nightlyReport = <E, R>(day: string, count: Effect.Effect<number, E, R>) =>
  Effect.flatMap(count, (orders) => Outbox.append({ stream: "reports", schema: Report, value: { day, orders } })).pipe(
    Inbox.once(`nightly-report/${day}`, "reports"),
    Transaction.run({ isolation: "read-committed" })
  )
