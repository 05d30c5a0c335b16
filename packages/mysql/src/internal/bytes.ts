/**
 * Text as bytes of a bounded length.
 *
 * @internal
 */
import { createHash } from "node:crypto"

/**
 * The text's UTF-8 bytes, or `sha256:` and its hash where they would be more than `limit`. So it is with half of a surrogate pair, as
 * of an emoji that was cut in two: UTF-8 has the same bytes for all of them.
 */
export const bounded = (text: string, limit: number): Uint8Array => {
  const isWhole = !halfOfAPair.test(text)
  const bytes = Buffer.from(text, isWhole ? "utf8" : "utf16le")
  return isWhole && bytes.length <= limit
    ? bytes
    : Buffer.from(`sha256:${createHash("sha256").update(bytes).digest("hex")}`)
}

/** The text's UTF-8 bytes; none, or more than `limit`, are a mistake of the program and throw. */
export const name = (what: string, text: string, limit: number): Uint8Array => {
  if (text === "") throw new Error(`${what} must not be empty`)
  return atMost(what, text, limit)
}

/** The text's UTF-8 bytes; more than `limit`, or half of a surrogate pair, are a mistake of the program and throw. */
export const atMost = (what: string, text: string, limit: number): Uint8Array => {
  whole(what, text)
  const bytes = Buffer.from(text, "utf8")
  if (bytes.length > limit) throw new Error(`${what} may have at most ${limit} bytes, not ${bytes.length}`)
  return bytes
}

/** Half of a surrogate pair, which no UTF-8 has, is a mistake of the program and throws. */
export const whole = (what: string, text: string): void => {
  if (halfOfAPair.test(text)) throw new Error(`${what} must not hold half of a surrogate pair`)
}

// internal

const halfOfAPair = /\p{Surrogate}/u
