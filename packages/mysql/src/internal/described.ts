/**
 * How a failure reads, whatever it is. Its getters, its `toString` and its `toJSON` may throw, it may be a proxy that was revoked, its
 * chain of causes may have no end, and its text may have megabytes: nothing here throws, and every text is bounded.
 *
 * @internal
 */
import * as Cause from "effect/Cause"
import * as Chunk from "effect/Chunk"
import { inspect } from "node:util"

/** A text of at most 4,096 bytes of UTF-8, cut between two characters. */
export const bounded = (text: string): string => {
  if (text.length * 3 <= longest) return text
  const { read } = encoder.encodeInto(text, bytes)
  if (read === text.length) return text
  return `${text.slice(0, encoder.encodeInto(text, bytes.subarray(0, longest - 3)).read)}…`
}

/** A property of anything; nothing where it cannot be read. */
export const property = (u: unknown, name: PropertyKey): unknown => {
  try {
    return (u as { readonly [_: PropertyKey]: unknown } | null | undefined)?.[name]
  } catch {
    return undefined
  }
}

/** Whether it was made by a class. */
export const isA = <A>(u: unknown, Class: abstract new(...args: Array<any>) => A): u is A => {
  try {
    return u instanceof Class
  } catch {
    return false
  }
}

/** The tag, without one the name of its class, `_OTHER` for what has neither. */
export const typeOf = (error: unknown): string => {
  // The name of what is no error may be that of a customer.
  const found = [property(error, "_tag"), isA(error, Error) ? property(error, "name") : undefined]
    .find((_) => typeof _ === "string" && _ !== "")
  return found === undefined ? "_OTHER" : bounded(found as string)
}

/** The message of an error, and of anything else what Node shows of it. */
export const messageOf = (error: unknown): string => {
  const message = property(error, "message")
  return bounded(typeof message === "string" ? message : shown(error))
}

/**
 * The cause as a logger or a tracer can be given it: itself, or if it cannot be printed, or is too long, its description. What they
 * throw ends the fiber that logs.
 */
export const loggable = <E>(cause: Cause.Cause<E>): Cause.Cause<E | string> => {
  const text = printed(cause)
  return text !== undefined && text.length <= longestLogged
    ? cause
    : Cause.fail(bounded(text ?? errorsOf(cause).map(shown).join("\n")))
}

// internal

const longest = 4096
const longestLogged = 4 * longest
/** More than this is not given to Effect, whose patterns may take the square of its length. */
const longestPrinted = 16 * longest

const encoder = new TextEncoder()
const bytes = new Uint8Array(longest)

/** The first hundred. */
const errorsOf = (cause: Cause.Cause<unknown>): ReadonlyArray<unknown> =>
  Chunk.toReadonlyArray(Chunk.take(Chunk.appendAll(Cause.failures(cause), Cause.defects(cause)), 100))

const isLong = (error: unknown): boolean =>
  [error, property(error, "stack"), property(error, "message")].some((text) =>
    typeof text === "string" && text.length > longestPrinted
  )

const printed = (cause: Cause.Cause<unknown>): string | undefined => {
  try {
    return errorsOf(cause).some(isLong) ? undefined : Cause.pretty(cause, { renderErrorCause: true })
  } catch {
    return undefined
  }
}

const shown = (error: unknown): string => {
  if (typeof error === "string") return error
  const message = property(error, "message")
  const head = typeof message === "string" ? `${typeOf(error)}: ${message}` : typeOf(error)
  try {
    const text = inspect(error, { depth: 4, customInspect: false, maxArrayLength: 100, maxStringLength: longest })
    return typeof message !== "string" || text.includes(message) ? text : `${head}\n${text}`
  } catch {
    return head
  }
}
