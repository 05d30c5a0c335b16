/**
 * The one door for statements of this package's own: they write and read what they mean, whatever the application has set on its
 * client, its pool, its sessions or its server.
 *
 * - Their text is ASCII, and their values are numbers and bytes, which no character set and no SQL mode changes.
 * - The driver gives the bytes of each column, in the order of the statement, so that no cast, no name transform, no form of rows
 *   and no option for numbers, dates and texts has a part in it. Of a number these are its digits.
 * - An answer that is not as the statement asked for is an error, and never taken for "there is none".
 *
 * @internal
 */
import * as Effect from "effect/Effect"
import type { Query } from "mysql2"
import * as MysqlError from "../MysqlError.js"
import type { Answer } from "./turns.js"

/** A row: the bytes of each column, in the order of the statement. */
export type Cells = ReadonlyArray<Buffer | null>

/** The driver's field, as it is given to a `typeCast`. */
interface Field {
  readonly type: string
  readonly buffer: () => Buffer | null
}

/** Options of one query, which are stronger than the pool's. Of the pool, a `typeCast` is only overruled by another function. */
export const asCells = {
  rowsAsArray: true,
  nestTables: false,
  typeCast: (field: Field): Buffer | null => field.buffer()
} as const

/** `asCells` for a statement that the driver has prepared: there whole numbers come as such. */
export const asBoundCells = {
  ...asCells,
  typeCast: (field: Field, next: () => unknown): Buffer | null => {
    if (!integers.has(field.type)) return field.buffer()
    const value = next()
    return value === null ? null : Buffer.from(String(value))
  }
} as const

/** Rows by column, as the driver reads them by itself, for connections of our own: they speak UTF-8, and numbers may be digits. */
export const asRows = {
  rowsAsArray: false,
  nestTables: false,
  typeCast: (_: Field, next: () => unknown): unknown => next()
} as const

/** Reads every row of an answer. A row that lacks a column, or has NULL where `text` or `integer` reads it, is a failure. */
export const read = <A>(
  sql: string,
  rows: ReadonlyArray<unknown>,
  one: (row: Reader) => A
): Effect.Effect<ReadonlyArray<A>, MysqlError.MysqlError> =>
  Effect.suspend(() => {
    try {
      return Effect.succeed(rows.map((row) => one(new Reader(row as Cells))))
    } catch (error) {
      if (error instanceof Unreadable) return Effect.fail(unreadable(sql))
      throw error
    }
  })

/** `read` for a statement that always answers with one row. */
export const readOne = <A>(
  sql: string,
  rows: ReadonlyArray<unknown>,
  one: (row: Reader) => A
): Effect.Effect<A, MysqlError.MysqlError> =>
  Effect.flatMap(
    read(sql, rows, one),
    (all) => all.length === 1 ? Effect.succeed(all[0]!) : Effect.fail(unreadable(sql))
  )

/** The failure of a statement whose answer is not as it was asked for. */
export const unreadable = (sql: string): MysqlError.MysqlError =>
  MysqlError.fromDriver(
    Object.assign(new Error("The answer has not the rows and columns that were asked for"), {
      code: "UNREADABLE_ANSWER"
    }),
    sql
  )

export class Reader {
  constructor(private readonly cells: Cells) {}

  bytes(at: number): Buffer | undefined {
    const cell = Array.isArray(this.cells) ? this.cells[at] : undefined
    if (cell === null) return undefined
    if (!Buffer.isBuffer(cell)) throw new Unreadable()
    return cell
  }

  hex(at: number): string | undefined {
    return this.bytes(at)?.toString("hex")
  }

  textOrNull(at: number): string | undefined {
    return this.bytes(at)?.toString("utf8")
  }

  text(at: number): string {
    const text = this.textOrNull(at)
    if (text === undefined) throw new Unreadable()
    return text
  }

  number(at: number): number {
    const text = this.text(at)
    if (!/^-?\d+(?:\.\d+)?$/.test(text)) throw new Unreadable()
    return Number(text)
  }
}

/** The statement with its values in its text. */
export const text = (sql: string, values: ReadonlyArray<unknown>): string => filled(sql, values, literal)!

/** A value as a literal that nothing in it can end. */
export const literal = (value: unknown): string => {
  if (value === null) return "NULL"
  if (value instanceof Uint8Array) return `x'${hex(value)}'`
  if (typeof value === "bigint" || Number.isSafeInteger(value)) return String(value)
  throw new Error("A statement of this package has numbers and bytes as values")
}

export const hex = (bytes: Uint8Array): string =>
  Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("hex")

/** A statement with values in place of its question marks, but for those in quoted names; nothing where a value has no literal. */
export const filled = (
  sql: string,
  values: ReadonlyArray<unknown>,
  as: (value: unknown) => string | undefined
): string | undefined => {
  let at = 0
  let all = true
  const text = sql.replace(places, (found) => {
    if (found !== "?") return found
    const value = as(values[at++])
    if (value === undefined) all = false
    return value ?? ""
  })
  return all && at === values.length ? text : undefined
}

/** Sends a text as it is: the pool's `queryFormat` has no part in what this package sends. */
export const send = (connection: object, options: object, answer: Answer): Query | undefined => {
  const raw = connection as Sends
  const { queryFormat } = raw.config
  if (queryFormat === undefined) return raw.query({ values: [], ...options }, answer)
  // The driver calls it before `query` returns.
  raw.config.queryFormat = undefined
  try {
    return raw.query({ values: [], ...options }, answer)
  } finally {
    raw.config.queryFormat = queryFormat
  }
}

// internal

const integers = new Set(["TINY", "SHORT", "INT24", "LONG", "LONGLONG"])

class Unreadable extends Error {}

/** Names hide question marks, and so do texts in quotes, which only a fragment of the caller's may hold. */
const places = /`(?:[^`]|``)*`|'(?:[^'\\]|\\.|'')*'|"(?:[^"\\]|\\.|"")*"|\?/gs

/** A connection of mysql2's. */
interface Sends {
  readonly config: { queryFormat?: unknown }
  readonly query: (options: object, answer: Answer) => Query | undefined
}
