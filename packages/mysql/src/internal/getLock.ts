/**
 * `GET_LOCK` on a session, and what its answer means.
 *
 * @internal
 */
import * as Effect from "effect/Effect"
import * as MysqlError from "../MysqlError.js"
import * as MysqlMetrics from "../MysqlMetrics.js"
import * as duration from "./duration.js"
import type { LockName } from "./lockName.js"
import * as own from "./own.js"
import type { Session } from "./session.js"
import * as tracing from "./tracing.js"

/** 3058: the server's own error, where waiting would have been a deadlock among advisory locks. */
export class WouldDeadlock {
  readonly _tag = "AdvisoryLockDeadlock"
  constructor(readonly cause: MysqlError.MysqlError) {}
}

/**
 * Whether the lock was granted in time.
 *
 * GET_LOCK counts whole seconds, MAX_EXECUTION_TIME milliseconds: the first is rounded up and the second ends the wait.
 */
export const getLock = (
  session: Session,
  { encoded, isAscii, literal }: LockName,
  timeoutMillis: number
): Effect.Effect<boolean, WouldDeadlock | MysqlError.MysqlError | MysqlError.TransactionAborted> => {
  const whole = Number.isInteger(timeoutMillis / 1000)
  const hint = whole ? duration.untimed : `/*+ MAX_EXECUTION_TIME(${Math.max(1, Math.ceil(timeoutMillis))}) */`
  const asking = (name: string, seconds: string) => `SELECT ${hint} GET_LOCK(${name}, ${seconds}) AS granted`
  const sql = asking("?", "?")
  const seconds = Math.ceil(timeoutMillis / 1000)
  return Effect.matchEffect(
    tracing.span(
      "GET_LOCK",
      "client",
      () => tracing.operation("GET_LOCK", session.database),
      session.lock(sql, [encoded, seconds], asking(literal, String(seconds)), isAscii ? "bound" : "as text")
    ),
    {
      onSuccess: (rows) =>
        Effect.flatMap(own.readOne(sql, rows, (row) => row.textOrNull(0)), (granted) =>
          granted === undefined
            ? Effect.suspend(() => Effect.fail(unanswered(sql)))
            : Effect.succeed(granted === "1")),
      onFailure: (
        error
      ): Effect.Effect<boolean, WouldDeadlock | MysqlError.MysqlError | MysqlError.TransactionAborted> =>
        error._tag === "StatementTimeout" && !whole
          ? Effect.succeed(false)
          : error._tag === "StatementFailed" && error.errno === 3058
          ? Effect.suspend(() => {
            MysqlMetrics.deadlocks.unsafeUpdate(1, MysqlMetrics.deadlockLabels.advisory)
            return Effect.fail(new WouldDeadlock(error))
          })
          : Effect.fail(error)
    }
  )
}

/** NULL: an error of the server that it does not name, such as a lack of memory. */
const unanswered = (sql: string): MysqlError.MysqlError =>
  MysqlError.fromDriver(Object.assign(new Error("GET_LOCK answered NULL"), { code: "GET_LOCK_NULL" }), sql)
