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

/** About how many bytes the statement's packet has; exact to a few for each value, where it is large. */
export const of = ({ packet, sql, unprepared, values }: Measured): number => {
  if (packet !== undefined) return lengthOf(packet)
  let size = unprepared === true ? lengthOf(sql) : 0
  // In a text, bytes are hexadecimal digits.
  const each = unprepared === true ? 2 : 1
  for (const value of values) size += typeof value === "string" ? lengthOf(value) : each * bytesOf(value)
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

/** Of a short text not counted exactly. */
const lengthOf = (text: string): number => text.length < small / 4 ? text.length : Buffer.byteLength(text)

const bytesOf = (value: unknown): number => {
  if (value instanceof Uint8Array) return value.byteLength
  if (typeof value !== "object" || value === null || value instanceof Date) return 8
  try {
    // The driver writes what is no other value as JSON.
    return lengthOf(JSON.stringify(value) ?? "")
  } catch {
    return 8
  }
}
