/**
 * A statement with its values in its text, by which BEGIN and the statement become one packet.
 *
 * Only for statements of this package, where a value is compared with a column: there a whole number and a plain text mean
 * the same in the text as bound. All others are bound.
 *
 * @internal
 */

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

/**
 * Whether the driver makes the same values of these columns' text as of their binary form. FLOAT has fewer digits as text,
 * and of times and dates the driver's options decide.
 */
export const readsTheSame = (fields: unknown): boolean =>
  Array.isArray(fields) && fields.every(({ columnType }) => exact.has(columnType))

// ---------------------------------------------------------------------------------------------------------------------
// internal
// ---------------------------------------------------------------------------------------------------------------------

const literal = (value: unknown): string | undefined => {
  if (typeof value === "number") return Number.isSafeInteger(value) ? String(value) : undefined
  return typeof value === "string" && plain.test(value) ? `'${value}'` : undefined
}

/** Nothing to escape, whatever the SQL mode and the connection's character set. */
const plain = /^[ !#-&(-[\]-~\u00a0-\ud7ff]{0,255}$/

/** TINYINT, SMALLINT, INT, BIGINT, MEDIUMINT, YEAR, VARCHAR, DECIMAL, ENUM, SET, the BLOBs and TEXTs, VAR_STRING, CHAR. */
const exact = new Set([1, 2, 3, 8, 9, 13, 15, 246, 247, 248, 249, 250, 251, 252, 253, 254])
