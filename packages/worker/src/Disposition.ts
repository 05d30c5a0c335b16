/**
 * What becomes of a message that could not be handled. It is the caller's word; nothing here has a default.
 *
 * @since 0.1.0
 */
import * as MysqlError from "@safesync/mysql/MysqlError"
import * as TransactionError from "@safesync/mysql/TransactionError"
import * as RedisError from "@safesync/redis-streams/RedisError"
import * as Cause from "effect/Cause"
import type { EffectTypeId } from "effect/Effect"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"

/**
 * The answer of `onFailure`: `retry`, `deadLetter`, `discard` or `stop`.
 *
 * @since 0.1.0
 * @category models
 */
export interface Disposition {
  readonly _tag: "Retry" | "DeadLetter" | "Discard" | "Stop"
  /** The delays of a retry. Of the other three it has none. */
  readonly schedule: Schedule.Schedule<unknown, unknown>
}

/**
 * `onFailure` is asked for a word, and nobody runs an effect or waits for a promise that it answers with. Its type says so.
 *
 * @since 0.1.0
 * @category models
 */
export interface AtOnce {
  readonly [EffectTypeId]?: "onFailure answers with a Disposition at once: an Effect that it answers with is not run"
  readonly then?: "onFailure answers with a Disposition at once: a Promise that it answers with is not waited for"
}

/**
 * Deliver it again later. The n-th failure of its handlers, in whichever process, waits for the schedule's n-th delay, and beyond 10,000
 * as long as that one did. A schedule that is done after n steps means: dead-letter with failure n + 1. Deliveries whose handlers did not
 * fail are not counted, nor are failures by an outage (`isOutage`). The count is kept beside the stream until the message is settled, and a
 * week at most after the last failure; where Redis refuses to keep it, `delivery.attempt` is taken in its stead. The schedule is run through from its start each time, with `undefined` as its input and a clock that begins at 0: schedules that count
 * and space are meant, not `cron`, nor such as look at an error.
 *
 * The delay lives in the pending list, and it is `Reclaim` that takes the message out of it when its time has come, in this process or
 * another: **where no worker of the group has the option `reclaim` of `StreamConsumer.stream`, or a `Reclaim.stream`, in its source,
 * it never comes again.** How soon after its delay it comes depends on the `every` of that. What exceeds the group's `minIdle` is
 * waited for in this process first. With a `key` the whole wait happens here, and needs no `Reclaim`.
 *
 * A schedule that ends gives up good messages while the database is away, since then every message fails. Give such failures, which
 * `isOutage` tells, one that does not end.
 *
 * @example
 * import * as Disposition from "@safesync/worker/Disposition"
 * import type * as Cause from "effect/Cause"
 * import * as Schedule from "effect/Schedule"
 *
 * // after 1, 2, 4, 8 and 16 seconds, then to the dead letters
 * const patiently = Disposition.retry(Schedule.intersect(Schedule.exponential("1 second"), Schedule.recurs(5)))
 *
 * // as long as it takes, when it is not the message's fault
 * const onFailure = (cause: Cause.Cause<unknown>) =>
 *   Disposition.isOutage(cause) ? Disposition.retry(Schedule.spaced("10 seconds")) : patiently
 *
 * @since 0.1.0
 * @category constructors
 */
export const retry = (schedule: Schedule.Schedule<unknown, unknown>): Disposition => ({ _tag: "Retry", schedule })

/**
 * To the group's dead-letter stream at once, with the pretty-printed cause: the messages of your own errors are in it.
 *
 * @example
 * import * as Disposition from "@safesync/worker/Disposition"
 * import * as Cause from "effect/Cause"
 * import * as Schedule from "effect/Schedule"
 *
 * // a bug does not go away by trying again
 * const onFailure = (cause: Cause.Cause<unknown>) =>
 *   Cause.isDie(cause) ? Disposition.deadLetter : Disposition.retry(Schedule.recurs(5))
 *
 * @since 0.1.0
 * @category constructors
 */
export const deadLetter: Disposition = { _tag: "DeadLetter", schedule: Schedule.stop }

/**
 * Acked as if it had been handled; what the handler wrote was rolled back.
 *
 * @example
 * import * as Disposition from "@safesync/worker/Disposition"
 * import * as Cause from "effect/Cause"
 * import * as Option from "effect/Option"
 *
 * const onFailure = (cause: Cause.Cause<"outdated" | "no such account">) =>
 *   Option.contains(Cause.failureOption(cause), "outdated") ? Disposition.discard : Disposition.deadLetter
 *
 * @since 0.1.0
 * @category constructors
 */
export const discard: Disposition = { _tag: "Discard", schedule: Schedule.stop }

/**
 * The worker drains and fails with the cause; the message stays pending, for its own consumer's next start or for `Reclaim`.
 *
 * @example
 * import * as Disposition from "@safesync/worker/Disposition"
 * import * as Cause from "effect/Cause"
 * import * as Option from "effect/Option"
 *
 * const onFailure = (cause: Cause.Cause<{ readonly _tag: string }>) =>
 *   Option.exists(Cause.failureOption(cause), ({ _tag }) => _tag === "ReadOnlyServer") ? Disposition.stop : Disposition.deadLetter
 *
 * @since 0.1.0
 * @category constructors
 */
export const stop: Disposition = { _tag: "Stop", schedule: Schedule.stop }

/**
 * Whether the failure is that of no message in particular, so that none should be given up for it:
 *
 * - The database cannot be reached (`BeginFailed`, `ConnectionLost`, a `TransactionAborted` by a lost connection) or written to
 *   (`ReadOnlyServer`), COMMIT was refused for one of these (`CommitFailed`), or it is not known what became of it
 *   (`CommitOutcomeUnknown`, which the inbox finds out when the message comes again).
 * - Redis, where the handler uses it, cannot be reached or cannot serve: what `RedisError.isTransient` tells, of this package's errors.
 * - Either server refuses the login or a right: a wrong password (`BeginFailed`, `LoginRefused`), a statement that the account may not
 *   run (a `StatementFailed` with errno 1044, 1142, 1143, 1227 or 1370), a command that the user may not run (`NoPermission`).
 *   Credentials rotate. At the start of a layer or of a stream of deliveries they are typed failures at once; later they are outages.
 *
 * Where MySQL seems to be away, the worker asks its own client on another connection, for two seconds at most, before it asks `onFailure`.
 * If the server answers and takes writes, and no other message of this worker has lost its connection within the last second, it is the message
 * that breaks its own: then this says no.
 *
 * An error of MySQL counts too where the handler's own error, or a query builder's, has it as its `cause`.
 *
 * For all but a missing right every other message fails as well, so `runBatch` does not look for one of them in halves of its batch. A
 * statement beyond the server's `max_allowed_packet` is a `PacketTooLarge`, and no outage; outside of a transaction it looks like one,
 * since the server hangs up on it.
 *
 * @since 0.1.0
 * @category refinements
 */
export const isOutage = (cause: Cause.Cause<unknown>): boolean =>
  ofFailure(cause, (_) => !ownFaults.has(_ as object) && (isAway(_) || isRefusal(_)))

/**
 * Whether every other message fails as well. A right may be missing for what one kind of message does.
 *
 * @internal
 */
export const isOfAll = (cause: Cause.Cause<unknown>): boolean =>
  ofFailure(cause, (_) => !ownFaults.has(_ as object) && isAway(_))

/**
 * Whether it is MySQL that seems to be away, or to take no writes: a message may do that to its own connection alone.
 *
 * @internal
 */
export const isOfMysql = (cause: Cause.Cause<unknown>): boolean =>
  isOfAll(cause) &&
  // A message has no hand in what becomes of a COMMIT.
  !ofFailure(cause, (_) => [...ofRedis, TransactionError.CommitOutcomeUnknown].some((Away) => _ instanceof Away))

/**
 * The server is there: from here on `isOutage` says so of this failure.
 *
 * @internal
 */
export const disown = (cause: Cause.Cause<unknown>): void => {
  const failure = Option.getOrUndefined(Cause.failureOption(cause))
  if (typeof failure === "object" && failure !== null) ownFaults.add(failure)
}

// internal

/** Failures that look like an outage, and are those of the message. */
const ownFaults = new WeakSet<object>()

const ofFailure = (cause: Cause.Cause<unknown>, is: (error: unknown) => boolean): boolean =>
  Option.exists(Cause.failureOption(cause), (error) => {
    try {
      return is(error)
    } catch {
      // A failure may be anything, such as a proxy that was revoked.
      return false
    }
  })

/** https://dev.mysql.com/doc/mysql-errors/en/server-error-reference.html: a database, table, column, privilege, routine is denied. */
const deniedErrnos: ReadonlySet<number | undefined> = new Set([1044, 1142, 1143, 1227, 1370])

const isRefusal = (error: unknown): boolean =>
  Option.exists(MysqlError.origin(error), (_) => _._tag === "StatementFailed" && deniedErrnos.has(_.errno)) ||
  error instanceof RedisError.LoginRefused ||
  error instanceof RedisError.NoPermission

/** By class: a handler's own errors may have the same tags. */
const ofRedis = [
  ...[RedisError.ConnectFailed, RedisError.RedisConnectionLost, RedisError.RedisTimeout, RedisError.ReadOnlyReplica],
  ...[RedisError.Loading, RedisError.ClusterDown, RedisError.OutOfMemory]
]

const isAway = (error: unknown): boolean => isItselfAway(error) || Option.exists(MysqlError.origin(error), isItselfAway)

const isItselfAway = (error: unknown): boolean =>
  ofRedis.some((Away) => error instanceof Away) ||
  error instanceof TransactionError.BeginFailed ||
  error instanceof TransactionError.CommitOutcomeUnknown ||
  error instanceof MysqlError.ConnectionLost ||
  error instanceof MysqlError.ReadOnlyServer ||
  error instanceof TransactionError.CommitFailed && isAway(error.cause) ||
  error instanceof MysqlError.TransactionAborted && error.reason === "connection-lost"
