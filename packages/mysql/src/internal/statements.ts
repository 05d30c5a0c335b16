/**
 * What there is to know of a statement's text and of its answer. Most texts come again and again, and are looked at once.
 *
 * @internal
 */
import * as Predicate from "effect/Predicate"
import * as inlined from "./inlined.js"
import * as Writes from "./writes.js"

export interface Facts {
  /** What the metrics need to know of it. */
  readonly told: Writes.Told | undefined
  /** The session differs afterwards from one that is fresh from the pool, whatever becomes of the transaction. */
  readonly changesSession: boolean
  /** It ends the transaction and begins another, which the status bit does not show. */
  readonly beginsAnother: boolean
  /** It may commit the transaction, as DDL does before it has done or refused anything, and `ANALYZE TABLE` with a result set. */
  readonly mayCommit: boolean
  /** It goes back to a savepoint. */
  readonly toSavepoint: boolean
  /** Its values may be written in its text, as far as that tells. */
  readonly mayBeInlined: boolean
  /** Its rows have been read as text, and are not the same that way. */
  binaryOnly: boolean
}

export const facts = (sql: string): Facts => {
  if (sql.length > longest) return look(sql)
  let found = known.get(sql)
  if (found === undefined) {
    found = look(sql)
    if (known.size >= mostKnown) known.delete(known.keys().next().value!)
    known.set(sql, found)
  }
  return found
}

export interface OkPacket {
  readonly affectedRows: number
  /** Its decimal digits beyond 2^53. */
  readonly insertId: number | string
  readonly serverStatus: number
}

/** Whether the transaction was open after the statement. */
export const isInTransaction = (ok: OkPacket): boolean => (ok.serverStatus & inTransaction) !== 0

export const isOk = (u: unknown): u is OkPacket =>
  Predicate.isObject(u) && u.constructor !== undefined && u.constructor.name === "ResultSetHeader"

/** The OK packet of a statement, or of the last one where there were several. A result set has none. */
export const lastOk = (results: unknown): OkPacket | undefined => {
  const last = Array.isArray(results) ? results[results.length - 1] : results
  return isOk(last) ? last : undefined
}

// internal

/** SERVER_STATUS_IN_TRANS, https://dev.mysql.com/doc/dev/mysql-server/latest/mysql__com_8h.html */
const inTransaction = 1

/** Longer texts are mostly those of bulk writes, which do not come again. */
const longest = 4_096
const mostKnown = 2_000
const known = new Map<string, Facts>()

const look = (sql: string): Facts => {
  const bare = sql.replace(asides, aside)
  return {
    told: Writes.describe(sql),
    changesSession: changesSession.test(bare),
    beginsAnother: beginsAnother.test(bare),
    mayCommit: mayCommit.test(bare),
    toSavepoint: toSavepoint.test(bare),
    mayBeInlined: inlined.mayBe(sql),
    binaryOnly: false
  }
}

/** Comments, quoted texts and names; of a comment that the server runs (`/*!80000 … *\/`) only the beginning. */
const asides =
  /'(?:[^'\\]|\\[\s\S]|'')*'|"(?:[^"\\]|\\[\s\S]|"")*"|`[^`]*`|\/\*!\d*|\/\*[\s\S]*?\*\/|--(?=\s|$)[^\n]*|#[^\n]*/g

/** A name stays a word. */
const aside = (text: string): string =>
  text.startsWith("/*") || text.startsWith("-") || text.startsWith("#") ? " " : "''"

/** An unprepared text may hold several statements. A procedure may do anything; so may what is prepared and executed. */
const changesSession =
  /(?:^|;)\s*(?:SET|USE|LOCK|FLUSH|XA|CALL|PREPARE|GET|LOAD|HANDLER|CREATE\s+TEMPORARY)\b|\bGET_LOCK\s*\(|@[\w$.']*\s*:=|\bINTO\s+@/i

const beginsAnother = /(?:^|;)\s*(?:BEGIN|START\s+TRANSACTION|(?:COMMIT|ROLLBACK)\b[^;]*\bCHAIN)\b/i

/** Whatever is not known never to: https://dev.mysql.com/doc/refman/8.4/en/implicit-commit.html */
const mayCommit =
  /(?:^|;)\s*(?!(?:SELECT|INSERT|REPLACE|UPDATE|DELETE|WITH|TABLE|VALUES|DO|SET|SHOW|EXPLAIN|DESC|SAVEPOINT|ROLLBACK|RELEASE)\b)[a-z]/i

const toSavepoint = /^\s*ROLLBACK\s+(?:WORK\s+)?TO\b/i
