/**
 * The server's name of an advisory lock: at most 64 characters, compared without regard to case.
 *
 * @internal
 */
import { createHash } from "node:crypto"

const hashLength = 32
const readableLength = 64 - hashLength - 1

/** A readable beginning for the operator, and 128 bits of SHA-256 over namespace and name that make it unique. */
export const encode = (namespace: string, name: string): string => {
  const hash = createHash("sha256").update(namespace).update("\0").update(name).digest("hex").slice(0, hashLength)
  const readable = `${namespace}/${name}`.replace(/[^\w/.-]/g, "_").slice(0, readableLength)
  return `${readable}:${hash}`
}
