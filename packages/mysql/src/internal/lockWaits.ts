/**
 * Who holds and who waits, in the server's own tables, and how its answers are read. Nothing of these changes anything.
 *
 * Texts of statements are the server's digests, in which it has put a `?` in place of every value. The text itself is
 * searched for a trace by the server, and does not come to us; only the report of a deadlock has it, and it is sent back
 * to be digested.
 *
 * https://dev.mysql.com/doc/refman/8.4/en/performance-schema-lock-tables.html
 *
 * @internal
 */
import { LockParty } from "../LockParty.js"

export type Row = Readonly<Record<string, unknown>>

/**
 * Waits for rows, then waits for advisory locks; `of` picks those of one connection. A millisecond of an answer is enough
 * for whoever waits, so the server is not kept longer than a second.
 */
export const waits = (
  options: { readonly of?: number | undefined; readonly limit: number; readonly text: boolean }
) => {
  const waiter = options.of === undefined ? "" : `AND wt.PROCESSLIST_ID = ${Math.trunc(options.of)}`
  const limit = Math.max(1, Math.trunc(options.limit))
  return `SELECT /*+ MAX_EXECUTION_TIME(1000) */ * FROM ((
    SELECT 'row' AS kind, CONCAT(l.OBJECT_SCHEMA, '.', l.OBJECT_NAME) AS name, l.INDEX_NAME AS indexName, l.LOCK_MODE AS mode,
      ${columns(options.text)}
    FROM performance_schema.data_lock_waits w
    JOIN performance_schema.data_locks l ON l.ENGINE_LOCK_ID = w.REQUESTING_ENGINE_LOCK_ID AND l.ENGINE = w.ENGINE
    JOIN performance_schema.threads wt ON wt.THREAD_ID = w.REQUESTING_THREAD_ID
    JOIN performance_schema.threads ht ON ht.THREAD_ID = w.BLOCKING_THREAD_ID
    ${joins}
    WHERE TRUE ${waiter} LIMIT ${limit}
  ) UNION ALL (
    SELECT 'advisory', p.OBJECT_NAME, NULL, p.LOCK_TYPE,
      ${columns(options.text)}
    FROM performance_schema.metadata_locks p
    JOIN performance_schema.metadata_locks g ON g.OBJECT_TYPE = p.OBJECT_TYPE AND g.OBJECT_NAME = p.OBJECT_NAME
      AND g.LOCK_STATUS = 'GRANTED'
    JOIN performance_schema.threads wt ON wt.THREAD_ID = p.OWNER_THREAD_ID
    JOIN performance_schema.threads ht ON ht.THREAD_ID = g.OWNER_THREAD_ID
    ${joins}
    WHERE p.OBJECT_TYPE = 'USER LEVEL LOCK' AND p.LOCK_STATUS = 'PENDING' ${waiter} LIMIT ${limit}
  )) AS waits LIMIT ${limit}`
}

/** The waiter's statement is the wait itself, so it began when the statement did. */
const columns = (text: boolean): string =>
  `ws.TIMER_WAIT / 1e9 AS waitedMillis, ${
    [["waiter", "wt", "wx", "ws"], ["holder", "ht", "hx", "hs"]].map(([side, thread, transaction, statement]) =>
      `${thread}.PROCESSLIST_ID AS ${side}Id,
      CONCAT(${thread}.PROCESSLIST_USER, '@', ${thread}.PROCESSLIST_HOST) AS ${side}Account,
      ${transaction}.TIMER_WAIT / 1e9 AS ${side}Millis,
      ${text ? `${statement}.SQL_TEXT` : `${statement}.DIGEST_TEXT`} AS ${side}Statement,
      REGEXP_SUBSTR(${statement}.SQL_TEXT, 'traceparent=.[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}') AS ${side}Trace`
    ).join(", ")
  }`

const joins = [["wx", "ws", "wt"], ["hx", "hs", "ht"]].map(([transaction, statement, thread]) =>
  `LEFT JOIN performance_schema.events_transactions_current ${transaction}
      ON ${transaction}.THREAD_ID = ${thread}.THREAD_ID AND ${transaction}.STATE = 'ACTIVE'
    LEFT JOIN performance_schema.events_statements_current ${statement}
      ON ${statement}.THREAD_ID = ${thread}.THREAD_ID AND ${statement}.NESTING_EVENT_LEVEL = 0`
).join(" ")

export const party = (row: Row, side: "waiter" | "holder"): LockParty => {
  const millis = row[`${side}Millis`]
  return new LockParty({
    connectionId: Number(row[`${side}Id`]),
    account: text(row[`${side}Account`]),
    transactionMillis: millis === null || millis === undefined ? undefined : Math.round(Number(millis)),
    // What was prepared is digested as what executes it.
    statement: text(row[`${side}Statement`])?.replace(/^EXECUTE (?=[A-Z(])/, ""),
    ...trace(text(row[`${side}Trace`]))
  }, { disableValidation: true })
}

const text = (u: unknown): string | undefined => typeof u === "string" && u.length > 0 ? u : undefined

/** The ids of a `traceparent`: https://www.w3.org/TR/trace-context/#traceparent-header */
export const trace = (
  statement: string | undefined
): { readonly traceId?: string | undefined; readonly spanId?: string | undefined } => {
  const found = /traceparent=.[\da-f]{2}-([\da-f]{32})-([\da-f]{16})/.exec(statement ?? "")
  return found === null ? {} : { traceId: found[1], spanId: found[2] }
}

export const innodbStatus = "SHOW ENGINE INNODB STATUS"

/** Fails with 3676 for what the server had cut short. */
export const digest = "SELECT STATEMENT_DIGEST_TEXT(?) AS digest"

export interface Participant {
  readonly connectionId: number
  /** With its values: not to be told. */
  readonly statement: string
  readonly victim: boolean
}

/** `digest`: what the server made of its statement. */
export const deadlocked = (connectionId: number, statement: string, digest: unknown): LockParty =>
  new LockParty({ connectionId, statement: text(digest), ...trace(statement) }, { disableValidation: true })

/** The transactions of the last deadlock that the server has detected, none where there was none. */
export const lastDeadlock = (status: string): ReadonlyArray<Participant> => {
  const begin = status.indexOf("\nLATEST DETECTED DEADLOCK\n")
  if (begin < 0) return []
  const report = status.slice(begin)
  const victim = /^\*\*\* WE ROLL BACK TRANSACTION \((\d+)\)$/m.exec(report)
  const sections = report.slice(0, victim?.index).matchAll(
    /^\*\*\* \((\d+)\) TRANSACTION:\n[^]*?^MySQL thread id (\d+),.*\n([^]*?)^\*\*\* \(\1\) /gm
  )
  return Array.from(sections, ([_, number, connectionId, statement]) => ({
    connectionId: Number(connectionId),
    statement: statement!.trim(),
    victim: number === victim?.[1]
  }))
}
