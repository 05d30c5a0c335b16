/**
 * The work of one relay over the connection that holds its lock: a relay whose connection is dead has no lock, and one that has no lock
 * removes nothing.
 *
 * @internal
 */
import * as Effect from "effect/Effect"
import type { AdvisoryLock } from "../AdvisoryLock.js"
import * as MysqlError from "../MysqlError.js"
import type { Found, Partition } from "../Outbox.js"
import * as driver from "./driverError.js"
import * as outboxReads from "./outboxReads.js"
import * as outboxTable from "./outboxTable.js"
import * as own from "./own.js"
import type { Session } from "./session.js"
import type { Failure } from "./submission.js"
import * as tracing from "./tracing.js"

/** How long a statement of a relay may take, at the least. */
const leastMillis = 5_000

export const make = (
  { session }: AdvisoryLock,
  slots: Pick<Partition, "fromSlot" | "toSlot">,
  heartbeatMillis: number
): Effect.Effect<Partition, MysqlError.MysqlError> => {
  const boundMillis = Math.max(leastMillis, heartbeatMillis)
  const run: outboxReads.Run<Failure, never> = (sql, values, bytes, one) =>
    spanned(
      session,
      "SELECT",
      Effect.flatMap(
        within(session.askAsText(sql, values), sql, boundMillis + Math.ceil(bytes / bytesPerMilli)),
        (rows) => own.read(sql, rows, one)
      )
    )
  /** How many messages the next read asks for: the server looks at the whole of each, however few of them are long enough to be given. */
  let window = Infinity
  const read: Partition["read"] = (options) =>
    Effect.suspend(() => {
      const limit = Math.min(options.limit, window)
      const { fromSlot = slots.fromSlot, without } = options
      return Effect.matchEffect(outboxReads.found(run, { fromSlot, toSlot: slots.toSlot, limit, without }), {
        onFailure: (error): Effect.Effect<Found, Failure> => {
          if (error._tag !== "StatementTimeout" || limit === 1 || session.phase._tag === "Lost") {
            return Effect.fail(error)
          }
          window = Math.ceil(limit / 8)
          return read(options)
        },
        onSuccess: (found) => {
          const count = found.messages.length + found.damaged.length
          window = count < limit && found.more ? count + 1 : limit < options.limit ? 2 * limit : Infinity
          return Effect.succeed(found)
        }
      })
    })
  return Effect.as(settings(session, heartbeatMillis), {
    ...slots,
    read,
    remove: (messages) => {
      if (messages.length === 0) return Effect.void
      const values = [
        ...messages.map(({ id }) => BigInt(id)),
        ...messages.map(({ messageId }) => Buffer.from(messageId))
      ]
      return Effect.asVoid(
        spanned(session, "DELETE", session.commit(outboxTable.removeThose(messages.length), values, boundMillis))
      )
    }
  })
}

// internal

/** The slowest answer that is waited for. */
const bytesPerMilli = 1_000

/**
 * The server ends the session, and the lock with it, when the process or its host has vanished without a word; a statement that waits for
 * a lock fails by itself, so that the connection need not be closed for it.
 */
const settings = (session: Session, heartbeatMillis: number): Effect.Effect<unknown, MysqlError.MysqlError> => {
  const silent = Math.max(3, Math.ceil(3 * heartbeatMillis / 1_000))
  const sql =
    `SET SESSION autocommit = 1, transaction_read_only = 0, max_execution_time = 0, wait_timeout = ${silent}, net_write_timeout = ${silent}, ` +
    `net_read_timeout = ${silent}, lock_wait_timeout = 2, innodb_lock_wait_timeout = 2`
  return Effect.mapError(session.control(sql, leastMillis), ({ error }) => error)
}

/** One that is not answered in time is killed on the server; where that does not help, its connection is given up. */
const within = <A>(
  statement: Effect.Effect<A, Failure>,
  sql: string,
  millis: number
): Effect.Effect<A, Failure> =>
  Effect.timeoutFail(statement, {
    duration: millis,
    onTimeout: () =>
      new MysqlError.StatementTimeout({
        code: "NO_ANSWER",
        statement: sql,
        detail: `no answer within ${millis} ms`,
        cause: driver.noAnswer()
      })
  })

const spanned = <A>(
  session: Session,
  operation: string,
  effect: Effect.Effect<A, Failure>
): Effect.Effect<A, Failure> =>
  tracing.span(
    `${operation} ${outboxTable.name}`,
    "client",
    () => tracing.operation(operation, session.database, outboxTable.name),
    effect
  )
