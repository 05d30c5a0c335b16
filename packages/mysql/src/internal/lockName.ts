/**
 * The server's name of an advisory lock: at most 64 characters, compared without regard to case.
 *
 * @internal
 */
import { createHash } from "node:crypto"
import * as own from "./own.js"

export interface LockName {
  /** One text for all that exclude each other, of at most 64 bytes. */
  readonly encoded: string
  /** As it stands in a statement. */
  readonly literal: string
  /** Whether it can be bound. */
  readonly isAscii: boolean
}

export interface Named {
  readonly namespace?: string | undefined
  readonly raw?: boolean | undefined
}

/** Throws for a raw name that the server would refuse. */
export const of = (name: string, { namespace, raw }: Named, database: string): LockName => {
  if (raw !== true) {
    const encoded = encode(namespace ?? database, name)
    return { encoded, literal: `'${encoded}'`, isAscii: true }
  }
  if (namespace !== undefined) {
    throw new Error("A raw name of an advisory lock is in no namespace: leave one of both out")
  }
  const length = [...name].length
  if (length < 1 || length > 64) {
    throw new Error(
      `The server's names of advisory locks have 1 to 64 characters, and a raw one is such a name: not ${length}`
    )
  }
  // The server compares without regard to case.
  const lower = name.toLowerCase()
  return {
    encoded: Buffer.byteLength(lower) <= 64 ? lower : encode("raw", lower),
    literal: `_utf8mb4 x'${own.hex(Buffer.from(name))}'`,
    isAscii: false
  }
}

// internal

const hashLength = 32
const readableLength = 64 - hashLength - 1

/** A readable beginning for the operator, and 128 bits of SHA-256 over namespace and name that make it unique. */
const encode = (namespace: string, name: string): string => {
  const hash = createHash("sha256").update(namespace).update("\0").update(name).digest("hex").slice(0, hashLength)
  const readable = `${namespace}/${name}`.replace(/[^\w/.-]/g, "_").slice(0, readableLength)
  return `${readable}:${hash}`
}
