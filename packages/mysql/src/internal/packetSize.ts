/**
 * Whether the server takes a statement of this size. One that is too large it answers by closing the connection, mostly before its
 * reason has come through, and the transaction is gone with it: so a large one is measured before it is sent.
 *
 * @internal
 */
import * as own from "./own.js"
import type { Job } from "./turns.js"

export interface Measured {
  readonly sql: string
  readonly values: ReadonlyArray<unknown>
  readonly packet?: string | undefined
  readonly unprepared?: boolean
}

/** Bytes up to which nobody asks: no server in use takes less, though the least that can be set is a kilobyte. */
export const small = 65_536

/** About how many bytes the statement's packet has; exact to a few for each value, where it may be large. */
export const of = (statement: Measured): number => {
  const { packet, sql, unprepared = false, values } = statement
  if (packet !== undefined) return packet.length * most <= small ? packet.length : Buffer.byteLength(packet)
  let atLeast = unprepared ? sql.length : 0
  for (const value of values) atLeast += typeof value === "string" ? value.length : bytesOf(value)
  if (atLeast * most <= small) return atLeast
  let size = unprepared ? Buffer.byteLength(sql) : 0
  for (const value of values) size += unprepared ? written(value) : sent(value)
  return size
}

/** Asks the server for its limit, once for each connection. `failed`: with what the question fails. */
export const check = (
  raw: object,
  job: Job,
  size: number,
  then: {
    readonly fits: () => void
    readonly tooLarge: (limit: number) => void
    readonly failed: (error: unknown) => void
  }
): void => {
  const judge = (limit: number) => size >= limit ? then.tooLarge(limit) : then.fits()
  const known = limits.get(raw)
  if (known !== undefined) return judge(known)
  job.awaiting = (error, rows) => {
    if (error !== null) return then.failed(error)
    const limit = Number((rows as ReadonlyArray<own.Cells> | undefined)?.[0]?.[0])
    if (!Number.isSafeInteger(limit)) return then.fits()
    limits.set(raw, limit)
    judge(limit)
  }
  own.send(
    raw,
    { ...own.asCells, sql: "SELECT @@SESSION.max_allowed_packet" },
    (error, rows) => job.answer(error, rows)
  )
}

// internal

/** A session's limit is what the server's was when it began. */
const limits = new WeakMap<object, number>()

/** As many bytes as one character of JavaScript's may become: three of UTF-8, or two of an escaped one. */
const most = 3

/** Of a value that is bound. */
const sent = (value: unknown): number => typeof value === "string" ? Buffer.byteLength(value) : bytesOf(value)

/** Of a value as the driver writes it into a text: bytes are hexadecimal digits, and some characters have a backslash. */
const written = (value: unknown): number => {
  if (typeof value !== "string") return 2 * bytesOf(value)
  return Buffer.byteLength(value) + (value.match(escaped)?.length ?? 0)
}

const escaped = /[\0\b\t\n\r\x1a"'\\]/g

const bytesOf = (value: unknown): number => {
  if (value instanceof Uint8Array) return value.byteLength
  if (typeof value !== "object" || value === null || value instanceof Date) return 8
  try {
    // The driver writes what is no other value as JSON.
    return Buffer.byteLength(JSON.stringify(value) ?? "")
  } catch {
    return 8
  }
}
