/**
 * Text as bytes of a bounded length.
 *
 * @internal
 */
import { createHash } from "node:crypto"

/** The text's UTF-8 bytes, or `sha256:` and its hash where they would be more than `limit`. */
export const bounded = (text: string, limit: number): Uint8Array => {
  const bytes = Buffer.from(text, "utf8")
  return bytes.length <= limit ? bytes : Buffer.from(`sha256:${createHash("sha256").update(bytes).digest("hex")}`)
}

/** The text's UTF-8 bytes; none, or more than `limit`, are a mistake of the program and throw. */
export const name = (what: string, text: string, limit: number): Uint8Array => {
  if (text === "") throw new Error(`${what} must not be empty`)
  return atMost(what, text, limit)
}

/** The text's UTF-8 bytes; more than `limit` are a mistake of the program and throw. */
export const atMost = (what: string, text: string, limit: number): Uint8Array => {
  const bytes = Buffer.from(text, "utf8")
  if (bytes.length > limit) throw new Error(`${what} may have at most ${limit} bytes, not ${bytes.length}`)
  return bytes
}
