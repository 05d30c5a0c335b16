/**
 * What mysql2 and the sockets below it raise, read without trusting its shape.
 *
 * @internal
 */
import * as Predicate from "effect/Predicate"
import { bounded, messageOf, property } from "./described.js"

export interface DriverError {
  readonly errno: number | undefined
  readonly sqlState: string | undefined
  readonly code: string
  readonly detail: string | undefined
  readonly cause: Error
}

/**
 * Errors whose text holds names of tables, columns, constraints, accounts and options, numbers of rows, and no value of
 * a row. Not here, since their text quotes values or the statement: 1062, 1064, 1292, 1366, 1367, 1411, 1525, 1690.
 */
const withoutValues = new Set([
  ...[1008, 1015, 1036, 1040, 1042, 1043, 1044, 1045, 1046, 1048, 1049, 1050, 1051, 1053, 1054, 1055, 1060, 1061, 1072],
  ...[1091, 1093, 1099, 1100, 1109, 1114, 1129, 1130, 1136, 1142, 1143, 1146, 1153, 1180, 1197, 1203, 1205, 1206, 1213],
  ...[1216, 1217, 1223, 1226, 1227, 1264, 1265, 1290, 1305, 1364, 1390, 1402, 1406, 1412, 1451, 1452, 1461, 1568, 1614],
  ...[1637, 1792, 1836, 1862, 1874, 3024, 3032, 3058, 3100, 3101, 3118, 3159, 3572, 3819, 3989, 4031, 4081, 4082, 4163]
])

/** The driver's error as fields; its own text, which may hold values, only where that is known to be safe. */
export const read = (error: unknown): DriverError => {
  const number = property(error, "errno")
  const sqlState = property(error, "sqlState")
  const symbol = property(error, "code")
  // Sockets and the resolver use negative numbers of the operating system: those are not the server's. What the server
  // says while it is not asked, such as 4031, comes with its number as the code.
  const errno = [number, symbol].find((_): _ is number => Predicate.isNumber(_) && _ > 0)
  const message = messageOf(error)
  const code = Predicate.isString(symbol) ? symbol : errno === undefined ? "UNKNOWN" : String(errno)
  const harmless = errno === undefined
    ? isConnectionLost(error) || aboutBinding.test(message)
    : withoutValues.has(errno)
  const detail = harmless ? message.trim() || undefined : undefined
  // The driver's own stack is left alone: formatting it costs more than the statement, and duplicates are no rarity.
  const cause = new Error(detail ?? code)
  cause.name = "MysqlDriverError"
  return { errno, sqlState: Predicate.isString(sqlState) ? sqlState || undefined : undefined, code, detail, cause }
}

/** What mysql2 says of a value that it cannot bind, without quoting it. */
const aboutBinding = /^Bind parameters must /

/** What the server said, to be read and not to be told. */
const text = (error: unknown): string => {
  const message = property(error, "sqlMessage") ?? property(error, "message")
  return Predicate.isString(message) ? message : ""
}

/** The server's words; nothing where it was the driver or the operating system that said something. */
export const words = (error: unknown): string => {
  const said = property(error, "sqlMessage")
  return Predicate.isString(said) ? bounded(said) : ""
}

/** 1290 is said of many options: `--read-only` and `--super-read-only` are the two that a failover sets. */
export const namesReadOnly = (error: unknown): boolean => /read[-_]only/i.test(text(error))

/** 1015, 1180: the storage engine's own number, such as 149 for a deadlock and 165 for a read-only table. */
export const engineErrno = (error: unknown): number => Number(/\berr(?:no:|or) (\d+)/.exec(text(error))?.[1])

/** 1451, 1452, 3819: which constraint, where the account may know it. */
export const constraint = (error: unknown): string | undefined => {
  const found = /CONSTRAINT `((?:[^`]|``)+)`|^Check constraint '(.+)' is violated/.exec(text(error))
  return found?.[1]?.replaceAll("``", "`") ?? found?.[2]
}

/**
 * The index's name, and its table's where the server tells it (MySQL 8.0.19), from `Duplicate entry '…' for key 'table.index'`; the
 * value may hold any text, so from the right. With other `lc_messages` the words are others, and it is the last name in quotes.
 */
export const duplicateKey = (error: unknown): { readonly key: string; readonly table: string | undefined } => {
  const message = text(error)
  const found = (/.* for key '(.*)'$/s.exec(message) ?? /.*'(.+)'[^']*$/s.exec(message))?.[1]
  const dot = found?.indexOf(".") ?? -1
  return { key: found?.slice(dot + 1) ?? "", table: dot < 0 ? undefined : found!.slice(0, dot) }
}

/** What the server says when it takes no connection, or none of this account, and when it closes one. */
const lostErrnos = new Set([
  ...[1040, 1042, 1043, 1053, 1129, 1130, 1152, 1158, 1159, 1160, 1161, 1184, 1203, 1862, 1927, 2006, 2013, 2055],
  ...[3032, 3118, 3159, 3168, 3169, 4031, 4081, 4082]
])

const lostCodes = new Set([
  "PROTOCOL_CONNECTION_LOST",
  "PROTOCOL_ENQUEUE_AFTER_FATAL_ERROR",
  "PROTOCOL_SEQUENCE_TIMEOUT",
  "PROTOCOL_ERROR",
  "HANDSHAKE_NO_SSL_SUPPORT",
  "HANDSHAKE_SSL_ERROR",
  "HANDSHAKE_UNKNOWN_ERROR",
  "AUTH_SWITCH_PLUGIN_ERROR",
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

/** Raised by mysql2 and its pool without a code. */
const lostMessages =
  /closed state|Pool is closed|connection timeout|No connections available|Queue limit reached|Connection is closed/i

export const isConnectionLost = (error: unknown): boolean => {
  const errno = property(error, "errno")
  const code = property(error, "code")
  return property(error, "fatal") === true ||
    Predicate.isNumber(errno) && lostErrnos.has(errno) ||
    Predicate.isNumber(code) && lostErrnos.has(code) ||
    Predicate.isString(code) && lostCodes.has(code) ||
    (code === undefined && lostMessages.test(text(error)))
}

/** Whether it is the driver's for sure: by a number of the server's or of the operating system's, a state or a code, and not by its text. */
export const isDrivers = (error: unknown): boolean =>
  Predicate.isNumber(property(error, "errno")) || Predicate.isString(property(error, "sqlState")) ||
  property(error, "code") !== undefined && isConnectionLost(error)

/** Ours: a bound has passed. */
export const noAnswer = (): Error =>
  Object.assign(new Error("No answer in time"), { code: "PROTOCOL_SEQUENCE_TIMEOUT", fatal: true })

/** Ours: the connection was thrown away while an answer was waited for. */
export const givenUp = (): Error =>
  Object.assign(new Error("The connection was given up"), { code: "PROTOCOL_CONNECTION_LOST", fatal: true })

/** Ours: the server does not answer on any other connection either, or waits for us on this one. */
export const silent = (): Error =>
  Object.assign(new Error("The server does not answer, and a question about it on another connection gave no hope"), {
    code: "ETIMEDOUT",
    fatal: true
  })

/** Ours: nobody has given a connection back. */
export const noneFree = (millis: number): Error =>
  new Error(`No connections available: none of the pool's came free within ${millis} ms`)

/** Ours: the pool was closed while an answer was waited for. */
export const closed = (): Error =>
  Object.assign(new Error("The pool was closed"), { code: "PROTOCOL_CONNECTION_LOST", fatal: true })
