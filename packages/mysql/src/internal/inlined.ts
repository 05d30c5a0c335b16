/**
 * A statement with its values in its text, by which BEGIN and the statement become one packet.
 *
 * Only where a value means the same in the text as bound. A statement of this package compares its values with columns: there a
 * whole number and a plain text do. Of anybody else's, what the server said when the connection prepared it decides: the driver
 * binds a whole number as one where the server asked for one, and as DOUBLE elsewhere, which is not what DECIMAL or JSON make of it in
 * a text. Servers before 8.0.22 do not say, and all is bound.
 *
 * @internal
 */
import * as Predicate from "effect/Predicate"

/** Nothing where a value is not among those, or where a question mark is no place for a value. */
export const text = (sql: string, values: ReadonlyArray<unknown>): string | undefined => {
  const parts = sql.split("?")
  if (parts.length !== values.length + 1) return undefined
  let all = parts[0]!
  for (let i = 0; i < values.length; i++) {
    const value = literal(values[i])
    if (value === undefined) return undefined
    all += value + parts[i + 1]!
  }
  return all
}

/** `text` for a statement that the connection has prepared, if it has been `learnt`. */
export const learntText = (connection: object, sql: string, values: ReadonlyArray<unknown>): string | undefined => {
  const places = known.get(connection)?.get(sql)
  if (places === undefined || places.kinds.length !== values.length) return undefined
  let all = places.parts[0]!
  for (let i = 0; i < values.length; i++) {
    const value = values[i] === null ? "NULL" : typeof values[i] === places.kinds[i] ? literal(values[i]) : undefined
    if (value === undefined) return undefined
    all += ` ${value} ${places.parts[i + 1]!}`
  }
  return all
}

/** Notes what the server said of the values and columns of a statement, as mysql2 keeps it on the command that ran it. */
export const learn = (connection: object, sql: string, command: unknown): void => {
  if (!Predicate.hasProperty(command, "statement") || !Predicate.isObject(command.statement)) return
  const { columns, parameters } = command.statement as { readonly columns?: unknown; readonly parameters?: unknown }
  let statements = known.get(connection)
  if (statements === undefined) known.set(connection, statements = new Map())
  if (statements.has(sql) || statements.size >= mostKnown) return
  statements.set(sql, readsTheSame(columns) ? placesOf(sql, parameters) : undefined)
}

/**
 * Whether the driver makes the same values of these columns' text as of their binary form. FLOAT has fewer digits as text,
 * and of times and dates the driver's options decide.
 */
export const readsTheSame = (fields: unknown): boolean =>
  Array.isArray(fields) && fields.every(({ columnType }) => exact.has(columnType))

// ---------------------------------------------------------------------------------------------------------------------
// internal
// ---------------------------------------------------------------------------------------------------------------------

interface Places {
  /** What stands before, between and behind the values. */
  readonly parts: ReadonlyArray<string>
  readonly kinds: ReadonlyArray<"number" | "string">
}

/** By connection, as the driver's prepared statements are: another one's tables may have other types under the same names. */
const known = new WeakMap<object, Map<string, Places | undefined>>()
const mostKnown = 500

const placesOf = (sql: string, parameters: unknown): Places | undefined => {
  const parts = sql.split("?")
  if (!Array.isArray(parameters) || parameters.length !== parts.length - 1) return undefined
  const kinds = parameters.map(({ columnType }) =>
    integers.has(columnType) ? "number" as const : texts.has(columnType) ? "string" as const : undefined
  )
  return kinds.every((_) => _ !== undefined) ? { parts, kinds } : undefined
}

const literal = (value: unknown): string | undefined => {
  if (typeof value === "number") {
    return !Number.isSafeInteger(value) ? undefined : value < 0 ? `(${value})` : String(value)
  }
  return typeof value === "string" && plain.test(value) ? `'${value}'` : undefined
}

/** Nothing to escape, whatever the SQL mode and the connection's character set. */
const plain = /^[ !#-&(-[\]-~\u00a0-\ud7ff]{0,255}$/

/** TINYINT, SMALLINT, INT, BIGINT, MEDIUMINT: as those the driver binds a number where the server asks for one. */
const integers = new Set([1, 2, 3, 8, 9])

/** VARCHAR, VAR_STRING, CHAR. */
const texts = new Set([15, 253, 254])

/** TINYINT, SMALLINT, INT, BIGINT, MEDIUMINT, YEAR, VARCHAR, DECIMAL, ENUM, SET, the BLOBs and TEXTs, VAR_STRING, CHAR. */
const exact = new Set([1, 2, 3, 8, 9, 13, 15, 246, 247, 248, 249, 250, 251, 252, 253, 254])
