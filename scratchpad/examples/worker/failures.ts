import { SqlClient } from "@effect/sql"
import { RowLock } from "@safesync/mysql"
import { Disposition, Worker } from "@safesync/worker"
import { Cause, Data, Effect, Option, Schedule } from "effect"
import { deliveries, type Payment } from "./service.js"

export class NoSuchAccount extends Data.TaggedError("NoSuchAccount")<{ readonly account: number }> {
  override get message() {
    return `there is no account ${this.account}` // the dead letter's reason
  }
}

export const credit = ({ account, pence }: typeof Payment.Type) =>
  Effect.gen(function*() {
    const sql = yield* SqlClient.SqlClient
    const row = yield* RowLock.forUpdate({ table: "account", where: { id: account }, wait: "2 seconds" })
    if (Option.isNone(row)) return yield* new NoSuchAccount({ account })
    yield* sql`UPDATE account SET pence = pence + ${pence} WHERE id = ${account}`
  })

export const billing = Worker.run(deliveries, credit, {
  concurrency: 8,
  inbox: "message-id",
  onFailure: (cause) => {
    const failure = Cause.failureOption(cause)
    if (Option.isSome(failure) && failure.value._tag === "NoSuchAccount") return Disposition.deadLetter // no retry mends that
    if (Disposition.isOutage(cause)) return Disposition.retry(Schedule.spaced("10 seconds"))
    return Disposition.retry(Schedule.intersect(Schedule.exponential("1 second"), Schedule.recurs(5)))
  }
})
