/**
 * What mysql2 and the sockets below it raise, read without trusting its shape.
 *
 * @internal
 */
import * as Predicate from "effect/Predicate"

export interface DriverError {
  readonly errno: number | undefined
  readonly sqlState: string | undefined
  readonly code: string
  readonly detail: string | undefined
  readonly cause: Error
}

const property = (u: unknown, name: string): unknown =>
  Predicate.hasProperty(u, name) ? (u as Record<string, unknown>)[name] : undefined

/** Errors whose text holds names of tables, columns, accounts and options, and no value of a row. */
const withoutValues = new Set([
  1008,
  1040,
  1044,
  1045,
  1046,
  1048,
  1049,
  1050,
  1051,
  1054,
  1072,
  1091,
  1109,
  1136,
  1142,
  1143,
  1146,
  1203,
  1205,
  1213,
  1227,
  1290,
  1305,
  1364,
  1568,
  1792,
  1836,
  3024,
  3058,
  3101,
  3572,
  4031,
  4163
])

/** The driver's error as fields; its own text, which may hold values, only where that is known to be safe. */
export const read = (error: unknown): DriverError => {
  const number = property(error, "errno")
  const sqlState = property(error, "sqlState")
  const symbol = property(error, "code")
  // Sockets and the resolver use negative numbers of the operating system: those are not the server's.
  const errno = Predicate.isNumber(number) && number > 0 ? number : undefined
  const message = Predicate.isError(error) ? error.message : String(error)
  const code = Predicate.isString(symbol) ? symbol : errno === undefined ? "UNKNOWN" : String(errno)
  const detail = errno === undefined || withoutValues.has(errno) ? message.trim() || undefined : undefined
  // The driver's own stack is left alone: formatting it costs more than the statement, and duplicates are no rarity.
  const cause = new Error(detail ?? code)
  cause.name = "MysqlDriverError"
  return { errno, sqlState: Predicate.isString(sqlState) ? sqlState : undefined, code, detail, cause }
}

/** The index's name from `Duplicate entry '…' for key 'table.index'`; the value may hold any text, so from the right. */
export const duplicateKey = (error: unknown): string => {
  const message = property(error, "sqlMessage") ?? property(error, "message")
  const found = Predicate.isString(message) ? /.* for key '(.*)'$/s.exec(message)?.[1] : undefined
  return found === undefined ? "" : found.slice(found.indexOf(".") + 1)
}

const lostErrnos = new Set([
  1040,
  1053,
  1152,
  1158,
  1159,
  1160,
  1161,
  1184,
  1203,
  1927,
  2006,
  2013,
  2055,
  3168,
  3169,
  4031
])
const lostCodes = new Set([
  "PROTOCOL_CONNECTION_LOST",
  "PROTOCOL_ENQUEUE_AFTER_FATAL_ERROR",
  "PROTOCOL_SEQUENCE_TIMEOUT",
  "PROTOCOL_ERROR",
  "HANDSHAKE_NO_SSL_SUPPORT",
  "ECONNRESET",
  "ECONNREFUSED",
  "ECONNABORTED",
  "EPIPE",
  "ETIMEDOUT",
  "ENOTFOUND",
  "EAI_AGAIN",
  "EHOSTUNREACH",
  "ENETUNREACH"
])

export const isConnectionLost = (error: unknown): boolean => {
  const errno = property(error, "errno")
  const code = property(error, "code")
  const message = property(error, "message")
  return property(error, "fatal") === true ||
    Predicate.isNumber(errno) && lostErrnos.has(errno) ||
    Predicate.isString(code) && lostCodes.has(code) ||
    // Raised by mysql2 without a code.
    Predicate.isString(message) && /closed state|Pool is closed|Connection timeout|connection timeout/.test(message)
}
