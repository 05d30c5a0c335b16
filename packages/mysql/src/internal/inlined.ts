/**
 * A statement with its values in its text, by which BEGIN and the statement become one packet.
 *
 * Only where a value means the same in the text as bound. A statement of this package compares its values with columns: there a
 * whole number and a plain text do. Of anybody else's, what the server said when the connection prepared it decides: the driver
 * binds a whole number as one where the server asked for one, and as DOUBLE elsewhere, which is not what DECIMAL or JSON make of it in
 * a text. Servers before 8.0.22 do not say, and all is bound.
 * What a function makes of a constant is not always what it makes of a value that it is given later (`ROUND` takes its digits from the
 * one alone), so values within the brackets of one are bound but for a few functions.
 *
 * @internal
 */
import * as Predicate from "effect/Predicate"

/** Nothing where a value is not among those, or where a question mark is no place for a value. */
export const text = (sql: string, values: ReadonlyArray<unknown>): string | undefined =>
  filled(sql.split("?"), values, literal)

/** Whether that may be done with a statement of anybody's, by its text: one alone, that says the same of a constant. */
export const mayBe = (sql: string): boolean =>
  readsOrWrites.test(sql) && !mayHide.test(sql) && !isInName(sql) && !mixes.test(sql) && !isGivenToOthers(sql)

/** Whether the connection leaves texts and answers as they are: functions of the user's may see them otherwise than when bound. */
export const leavesAsIs = ({ config: { queryFormat, typeCast } }: Prepares): boolean =>
  typeCast === true && queryFormat === undefined

/** `text` for a statement that the connection has prepared, if it has been `learnt`. */
export const learntText = (connection: object, sql: string, values: ReadonlyArray<unknown>): string | undefined => {
  const places = known.get(connection)?.get(sql)
  return places && filled(places.parts, values, (value, at) => inPlace(places.kinds[at]!, value))
}

/**
 * Notes what the server said of the values of a statement, as mysql2 keeps it on the command that ran it, and of the columns of its
 * answer.
 */
export const learn = (connection: object, sql: string, command: unknown, fields: unknown): void => {
  let statements = known.get(connection)
  if (statements === undefined) known.set(connection, statements = new Map())
  if (statements.has(sql) || statements.size >= mostKnown) return
  if (!Predicate.hasProperty(command, "statement") || !Predicate.isObject(command.statement)) return
  const { parameters } = command.statement as { readonly parameters?: unknown }
  const readsSame = fields === undefined || readsTheSame(fields)
  statements.set(sql, readsSame ? placesOf(sql, parameters, fields as ReadonlyArray<Column> | undefined) : undefined)
}

/** Whether the answer to the `learntText` of a statement has the columns that the statement had when its values were bound. */
export const answersTheSame = (connection: object, sql: string, fields: unknown): boolean => {
  const columns = known.get(connection)?.get(sql)?.columns
  return columns === undefined || columns === shapeOf(fields as ReadonlyArray<Column>)
}

/**
 * Whether the driver makes the same values of these columns' text as of their binary form. FLOAT has fewer digits as text,
 * of times and dates the driver's options decide, and ZEROFILL fills texts alone.
 */
export const readsTheSame = (fields: unknown): boolean =>
  Array.isArray(fields) && fields.every(({ columnType, flags }) => exact.has(columnType) && (flags & zerofill) === 0)

// internal

/** The parts of a statement with its values between them. */
const filled = (
  parts: ReadonlyArray<string>,
  values: ReadonlyArray<unknown>,
  as: (value: unknown, at: number) => string | undefined
): string | undefined => {
  if (parts.length !== values.length + 1) return undefined
  let all = parts[0]!
  for (let i = 0; i < values.length; i++) {
    const value = as(values[i], i)
    if (value === undefined) return undefined
    all += ` ${value} ${parts[i + 1]!}`
  }
  return all
}

const readsOrWrites = /^\s*(?:SELECT|INSERT|REPLACE|UPDATE|DELETE)\b/i

/** Another statement, a quoted text, or a comment. */
const mayHide = /[;'"#]|--|\/\*/

/** Whether a question mark is part of a quoted name. */
const isInName = (sql: string): boolean => sql.split("`").some((part, at) => at % 2 === 1 && part.includes("?"))

/** A connection of mysql2's. */
interface Prepares {
  readonly config: { readonly typeCast?: unknown; readonly queryFormat?: unknown }
}

/** As mysql2 describes a column, and a value's place. */
interface Column {
  readonly name: string
  readonly columnType: number
  readonly characterSet: number
  readonly flags: number
}

type Kind = "number" | "unsigned" | "string"

interface Places {
  /** What stands before, between and behind the values. */
  readonly parts: ReadonlyArray<string>
  readonly kinds: ReadonlyArray<Kind>
  /** The `shapeOf` the answer's columns, if it has any. */
  readonly columns: string | undefined
}

/** By connection, as the driver's prepared statements are: another one's tables may have other types under the same names. */
const known = new WeakMap<object, Map<string, Places | undefined>>()
const mostKnown = 500

const placesOf = (
  sql: string,
  parameters: unknown,
  columns: ReadonlyArray<Column> | undefined
): Places | undefined => {
  const parts = sql.split("?")
  if (!Array.isArray(parameters) || parameters.length !== parts.length - 1) return undefined
  // A column without a name of its own is called by its text, with the value in it.
  if (columns?.some(({ name }) => name.includes("?")) === true) return undefined
  const kinds = (parameters as ReadonlyArray<Column>).map(kindOf)
  const isKnown = kinds.every((_) => _ !== undefined) && !(choice.test(sql) && kinds.includes("unsigned"))
  return isKnown ? { parts, kinds, columns: columns && shapeOf(columns) } : undefined
}

const kindOf = ({ characterSet, columnType, flags }: Column): Kind | undefined =>
  integers.has(columnType)
    ? (flags & unsigned) === 0 ? "number" : "unsigned"
    : texts.has(columnType) && characterSet !== binary
    ? "string"
    : undefined

const inPlace = (kind: Kind, value: unknown): string | undefined =>
  kind === "unsigned"
    // LIMIT is such a place, which takes a NULL or a negative number only when it is bound.
    ? typeof value === "number" && value >= 0 ? literal(value) : undefined
    : value === null
    ? "NULL"
    : typeof value === kind
    ? literal(value)
    : undefined

/** Texts and bytes of whatever length are read in one way. */
const shapeOf = (columns: ReadonlyArray<Column>): string =>
  columns.map(({ characterSet, columnType, flags, name }) =>
    `${columnType >= 249 && columnType <= 254 ? 15 : columnType} ${characterSet === binary} ${flags & unsigned} ${name}`
  ).join("\n")

/** Whether a value stands within the brackets of anything else than those words. */
const isGivenToOthers = (sql: string): boolean => {
  const words: Array<string> = []
  for (const [token, word] of sql.replace(/`[^`]*`/g, "x").matchAll(/([\w$.\u0080-\uffff]*)\s*\(|[)?]/g)) {
    if (token === "?") {
      if (!words.every((_) => harmless.has(_))) return true
    } else if (token === ")") words.pop()
    else words.push(word!.toUpperCase())
  }
  return false
}

/** No word is an operator or a comma. */
const harmless = new Set(
  ("|VALUES|VALUE|ROW|IN|EXISTS|AND|OR|XOR|NOT|ON|WHERE|HAVING|WHEN|THEN|ELSE|SET|SELECT|IF|IFNULL|COALESCE|CONCAT")
    .split("|")
)

/** A column of several types' rows; a collation, which need not be one of the connection's character set where a bound value gets it. */
const mixes = /\b(?:UNION|EXCEPT|INTERSECT|COLLATE)\b/i

/** BIGINT UNSIGNED and a value, unlike a whole number in the text, are not DECIMAL together. */
const choice = /\b(?:CASE|IF|IFNULL|COALESCE)\b/i

const literal = (value: unknown): string | undefined => {
  if (typeof value === "number") {
    return !Number.isSafeInteger(value) ? undefined : value < 0 ? `(${value})` : String(value)
  }
  return typeof value === "string" && plain.test(value) ? `'${value}'` : undefined
}

/** Flags of a column, and the character set of bytes. */
const unsigned = 32
const zerofill = 64
const binary = 63

/**
 * Nothing to escape, whatever the SQL mode and the connection's character set. ASCII alone: of other characters a driver makes
 * what the character set has for them, and that may be a quote or a backslash (of `ħ` in latin1, of `¥` in sjis).
 */
const plain = /^[ !#-&(-[\]-~]{0,255}$/

/** TINYINT, SMALLINT, INT, BIGINT, MEDIUMINT: as those the driver binds a number where the server asks for one. */
const integers = new Set([1, 2, 3, 8, 9])

/** VARCHAR, VAR_STRING, CHAR. */
const texts = new Set([15, 253, 254])

/** TINYINT, SMALLINT, INT, BIGINT, MEDIUMINT, YEAR, VARCHAR, DECIMAL, ENUM, SET, the BLOBs and TEXTs, VAR_STRING, CHAR. */
const exact = new Set([1, 2, 3, 8, 9, 13, 15, 246, 247, 248, 249, 250, 251, 252, 253, 254])
