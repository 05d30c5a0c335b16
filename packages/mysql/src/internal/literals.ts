/**
 * Values of the caller's as literals, for a statement that is sent as text: each means what it means when the driver binds it, and
 * nothing in it can end it. Texts are UTF-8, whatever character set the connection has.
 *
 * @internal
 */
import * as own from "./own.js"

/** A connection of mysql2's. */
interface Connection {
  readonly config: { readonly charsetNumber?: unknown }
  readonly escape: (value: unknown) => string
}

export interface Statement {
  readonly sql: string
  readonly values: ReadonlyArray<unknown>
}

/** The statement with its values in it. What has no literal, such as NaN, is a mistake of the program and throws. */
export const inText = (raw: unknown, sql: string, values: ReadonlyArray<unknown>): string => {
  const text = own.filled(sql, values, (value) => literal(raw as Connection, value))
  if (text === undefined) throw new Error("A value of a statement cannot be sent: it is no number, text, date or bytes")
  return text
}

/**
 * `inText` where the driver would send a text in a character set that may not have all of its characters: it puts others in their
 * place without a word. Nothing where the values can be bound.
 */
export const whereNeeded = (raw: unknown, sql: string, values: ReadonlyArray<unknown>): string | undefined =>
  speaksUtf8((raw as Connection).config.charsetNumber) ||
    values.every((value) => typeof value !== "string" || ascii.test(value))
    ? undefined
    : inText(raw, sql, values)

// internal

const literal = (raw: Connection, value: unknown): string | undefined => {
  switch (typeof value) {
    case "string":
      return `_utf8mb4 x'${own.hex(Buffer.from(value, "utf8"))}'`
    case "number":
      // Others than whole numbers are bound as DOUBLE, so they have an exponent.
      return Number.isSafeInteger(value)
        ? signed(value)
        : Number.isFinite(value)
        ? signed(value, String(value).includes("e") ? "" : "e0")
        : undefined
    case "bigint":
      return signed(value)
    case "boolean":
      return value ? "1" : "0"
    case "object":
      return value === null
        ? "NULL"
        : value instanceof Uint8Array
        ? `_binary x'${own.hex(value)}'`
        // The driver's own text of it, in its own time zone.
        : value instanceof Date && !Number.isNaN(value.getTime())
        ? raw.escape(value)
        : undefined
    default:
      return undefined
  }
}

const signed = (value: number | bigint, exponent = ""): string =>
  value < 0 ? `(${value}${exponent})` : `${value}${exponent}`

/** The numbers of utf8mb4's collations: https://dev.mysql.com/doc/refman/8.4/en/show-collation.html */
const speaksUtf8 = (charset: unknown): boolean =>
  typeof charset !== "number" || charset === 45 || charset === 46 || charset >= 224 && charset <= 247 || charset >= 255

const ascii = /^[\0-\x7f]*$/
