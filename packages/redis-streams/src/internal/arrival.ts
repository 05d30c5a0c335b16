/** An entry as it has come from the server, and what its bytes mean. */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import type * as Either from "effect/Either"
import * as ParseResult from "effect/ParseResult"
import { isUtf8 } from "node:buffer"
import { type Decoded, type Decoder, type Fields, forGroupHeader } from "../StreamEntry.js"
import { describe } from "./described.js"
import { withoutValues } from "./withoutValues.js"

export interface Arrival {
  readonly id: string
  readonly count: number
  readonly fields: Fields
  /** Whether all of it is UTF-8. If not, `fields` are not what the entry holds. */
  readonly isText: boolean
  /** By `performance.now()`, no later than when the server delivered it. */
  readonly freshAt: number
  /** The identity of its stream, if that has one. */
  readonly born: string | undefined
}

/** Why an entry is no message: for the dead-letter stream, and for logs, which must not tell its values. */
export interface Undecodable {
  readonly reason: string
  readonly withoutValues: string
}

export const make = (
  id: string,
  count: number,
  fields: ReadonlyArray<Buffer>,
  freshAt: number,
  born: string | undefined
): Arrival => {
  let isText = true
  const texts = new Array<string>(fields.length)
  for (let i = 0; i < fields.length; i++) {
    const field = fields[i]!
    const text = isData(field) ? "data" : field.toString()
    // What is no UTF-8 becomes U+FFFD, silently; but U+FFFD may also have been sent.
    isText &&= !text.includes("\uFFFD") || isUtf8(field)
    texts[i] = text
  }
  return { id, count, fields: texts, isText, freshAt, born }
}

/** Whether it was replayed for another group. */
export const isForOthers = ({ fields }: Arrival, group: string): boolean => {
  for (let i = 0; i + 1 < fields.length; i += 2) {
    if (fields[i] === forGroupHeader) return fields[i + 1] !== group
  }
  return false
}

/** Nothing where that takes an effect, or the schema throws. */
export const decodeNow = <A>(
  codec: Decoder<A>,
  { fields }: Arrival
): Either.Either<Decoded<A>, ParseResult.ParseError> | undefined => {
  try {
    return ParseResult.eitherOrUndefined(codec.decode(fields))
  } catch {
    return undefined
  }
}

export const decode = <A>(codec: Decoder<A>, { fields, isText }: Arrival): Effect.Effect<Decoded<A>, Undecodable> =>
  isText
    ? Effect.suspend(() => codec.decode(fields)).pipe(
      Effect.mapError((error) => ({ reason: error.message, withoutValues: withoutValues(error) })),
      // Its messages are the schema's too, and may throw.
      Effect.catchAllDefect((defect) =>
        Effect.fail({ reason: describe(Cause.die(defect)), withoutValues: "its schema has thrown an error" })
      )
    )
    : Effect.fail({ reason: "it is not UTF-8", withoutValues: "it is not UTF-8" })

// internal

/** The name of nearly every field, told without making a string of it: "data" as a number. */
const isData = (field: Buffer): boolean => field.length === 4 && field.readUInt32BE() === 0x64617461
