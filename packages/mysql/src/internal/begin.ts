/**
 * BEGIN, and how it is sent with the first statement of its transaction.
 *
 * @internal
 */
import * as MysqlError from "../MysqlError.js"
import type { Options } from "../Transaction.js"
import * as driver from "./driverError.js"
import * as duration from "./duration.js"
import type { Link } from "./link.js"
import * as own from "./own.js"
import type { Answer, Job } from "./turns.js"

export interface Begin {
  readonly sql: string
  /** How many statements that is. */
  readonly steps: number
  /** How long the answer to it is waited for. */
  readonly boundMillis: number
}

/** One round trip, whatever the options. */
export const of = (options: Options, boundMillis: number): Begin => {
  const { accessMode, isolation, lockWaitTimeout } = options
  if (lockWaitTimeout === undefined && isolation === undefined && accessMode === undefined) {
    return { sql: "START TRANSACTION", steps: 1, boundMillis }
  }
  const parts: Array<string> = []
  if (lockWaitTimeout !== undefined) {
    const seconds = Math.max(1, duration.toSeconds(lockWaitTimeout))
    parts.push(`SET ${before} = @@SESSION.innodb_lock_wait_timeout, innodb_lock_wait_timeout = ${seconds}`)
  }
  // A session without autocommit may be in a transaction that a read has begun: there the level is refused. START TRANSACTION
  // alone would end it too.
  if (isolation !== undefined) parts.push(commit, `SET TRANSACTION ISOLATION LEVEL ${isolationLevels[isolation]}`)
  parts.push(accessMode === undefined ? "START TRANSACTION" : `START TRANSACTION ${accessModes[accessMode]}`)
  return { sql: parts.join("; "), steps: parts.length, boundMillis }
}

/** No transaction follows and the connection stays, whatever `completion_type` says. */
export const commit = "COMMIT AND NO CHAIN NO RELEASE"
export const rollback = "ROLLBACK AND NO CHAIN NO RELEASE"

/** What follows the transaction's end, for the connection to be as it was. */
export const setBack = ({ lockWaitTimeout }: Options): Array<string> =>
  lockWaitTimeout === undefined ? [] : [`SET innodb_lock_wait_timeout = ${before}, ${before} = NULL`]

/**
 * Sends BEGIN, and a text in the same packet where there is one: its answer is given then, or those of its statements where it has
 * several. Until the server has answered BEGIN, a failure is BEGIN's own.
 */
export const send = (
  link: Link,
  job: Job,
  { boundMillis, sql, steps }: Begin,
  statement: string | undefined,
  /** How the driver is to read its rows. */
  reading: object,
  answer: Answer
): void => {
  link.unsent = undefined
  let begun = 0
  const done: Answer = (error, results, fields) => {
    clearTimeout(bound)
    if (error === null) {
      return statement === undefined
        ? answer(null, results)
        : answer(null, behind(steps, results), behind(steps, fields))
    }
    if (begun >= steps) return answer(error, undefined)
    const failure = link.beginFailure = MysqlError.fromDriver(error, sql)
    if (driver.isConnectionLost(error)) link.lose(failure)
    else link.doom("ended-by-server", failure)
    answer(failure, undefined)
  }
  job.awaiting = done
  const bound = duration.later(
    () => link.abandon(new Error(`No answer to ${sql} within ${boundMillis} ms`), driver.noAnswer()),
    boundMillis
  )
  const query = own.send(
    link.raw,
    { ...reading, sql: statement === undefined ? sql : `${sql}; ${statement}` },
    (error, results, fields) => job.awaiting === done && job.answer(error, results, fields)
  )
  // The OK of each of its statements comes by itself, before what follows has been done. A closed connection makes no query.
  query?.on("result", () => {
    if (++begun === steps) clearTimeout(bound)
  })
}

// internal

/** The session's value, which need not be the server's: an application may set its own when it connects. */
const before = "@safesync_lock_wait_timeout"

/** The answer that comes after so many, or all of them where there are several. */
const behind = (steps: number, answers: unknown): unknown => {
  if (!Array.isArray(answers)) return undefined
  return answers.length === steps + 1 ? answers[steps] : answers.slice(steps)
}

const isolationLevels = {
  "read-uncommitted": "READ UNCOMMITTED",
  "read-committed": "READ COMMITTED",
  "repeatable-read": "REPEATABLE READ",
  "serializable": "SERIALIZABLE"
} as const

const accessModes = { "read-only": "READ ONLY", "read-write": "READ WRITE" } as const
