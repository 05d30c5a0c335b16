/**
 * How a value becomes the fields of a stream entry, and back.
 *
 * The wire format is one field, `data`, that holds JSON, so that producers and consumers of COTI SafeSync for Python
 * interoperate. Headers are further fields beside it; they are written only when the caller gives some, since the
 * Python consumer refuses an entry with any other field than `data`.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as ParseResult from "effect/ParseResult"
import * as Schema from "effect/Schema"

/**
 * The fields of an entry as the server holds them: name, value, name, value…
 *
 * @category models
 * @since 0.1.0
 */
export type Fields = ReadonlyArray<string>

/**
 * Small strings that travel beside the value: a trace context, a key, a message id. None is called `data`: that is the field of
 * the value. At most 3,900 of them.
 *
 * @category models
 * @since 0.1.0
 */
export type Headers = Readonly<Record<string, string>> & { readonly data?: never }

/**
 * The header that holds the id by which a message is known when it is sent a second time, such as from the dead-letter
 * stream: `Delivery.messageId`.
 *
 * @category headers
 * @since 0.1.0
 */
export const messageIdHeader = "message-id"

/**
 * The header that an entry has beside `messageIdHeader` where that is the id of an earlier entry, whose stream had an identity:
 * `Delivery.born`. `DeadLetter.replay` writes it.
 *
 * @category headers
 * @since 0.1.0
 */
export const messageBornHeader = "message-born"

/**
 * The header that names the only group for which an entry is meant. Consumers of other groups ack it unseen.
 *
 * @category headers
 * @since 0.1.0
 */
export const forGroupHeader = "for-group"

/**
 * A value with its headers.
 *
 * @category models
 * @since 0.1.0
 */
export interface Decoded<out A> {
  readonly value: A
  readonly headers: Headers
}

/**
 * How a producer makes an entry of a value.
 *
 * @category models
 * @since 0.1.0
 */
export interface Encoder<in A> {
  readonly encode: (value: A, headers?: Headers | undefined) => Effect.Effect<Fields, ParseResult.ParseError>
}

/**
 * How a consumer reads the value of an entry.
 *
 * @category models
 * @since 0.1.0
 */
export interface Decoder<out A> {
  readonly decode: (fields: Fields) => Effect.Effect<Decoded<A>, ParseResult.ParseError>
}

/**
 * The codec of one stream. Both ways fail with effect's `ParseError`, whose text quotes the value.
 *
 * @category models
 * @since 0.1.0
 */
export interface StreamEntry<in out A> extends Encoder<A>, Decoder<A> {}

/**
 * The codec of the default wire format: `schema` as JSON in the field `data`, headers in the other fields. A header of that name is
 * a `ParseError`: whoever reads the entry would take it for the value. So are more than 3,900 headers: a script of the server's passes
 * on no entry of 4,000 fields, so that one could neither be sent by a script nor be moved to a dead-letter stream.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = <A, I>(schema: Schema.Schema<A, I>): StreamEntry<A> => {
  const encode = ParseResult.encode(Schema.parseJson(schema))
  const decodeText = ParseResult.decodeUnknown(Schema.parseJson(schema))
  const decodeParsed = ParseResult.decodeUnknown(schema)
  let isSynchronous = true
  // In two steps at half the cost. What they cannot do, or say why not, is for the whole codec.
  const decode = (data: string | undefined): Effect.Effect<A, ParseResult.ParseIssue> => {
    if (isSynchronous && data !== undefined) {
      const parsed = parse(data)
      const decoded = parsed === undefined ? undefined : ParseResult.eitherOrUndefined(decodeParsed(parsed.value))
      if (decoded?._tag === "Right") return decoded
      if (parsed !== undefined && decoded === undefined) isSynchronous = false
    }
    return decodeText(data)
  }
  return {
    encode: (value, headers) =>
      headers !== undefined && Object.hasOwn(headers, "data") ?
        dataIsTaken :
        headers !== undefined && Object.keys(headers).length > mostHeaders ?
        tooManyHeaders :
        ParseResult.map(asParseError(encode(value)), (data) => {
          const fields = ["data", data]
          for (const name in headers) {
            fields.push(name, (headers as Readonly<Record<string, string>>)[name]!)
          }
          return fields
        }),
    decode: (fields) => {
      if (fields.length === 2 && fields[0] === "data") {
        return ParseResult.map(asParseError(decode(fields[1])), (value) => ({ value, headers: none }))
      }
      const headers: Record<string, string> = Object.create(null)
      let data: string | undefined
      for (let i = 0; i + 1 < fields.length; i += 2) {
        if (fields[i] === "data") {
          data = fields[i + 1]
        } else {
          headers[fields[i]!] = fields[i + 1]!
        }
      }
      return ParseResult.map(asParseError(decode(data)), (value) => ({ value, headers }))
    }
  }
}

// internal

const refused = (why: string) =>
  Effect.fail(ParseResult.parseError(new ParseResult.Type(Schema.Never.ast, "headers", why)))

const dataIsTaken = refused("no header can be called data")

/**
 * `unpack` in a script gives at most 7,999 values, so that XADD in one adds no 4,000 fields. The value, the key, the message id and
 * all that is added to a dead entry have their place among the rest.
 */
const mostHeaders = 3_900
const tooManyHeaders = refused(`an entry can have at most ${mostHeaders} headers`)

const parse = (text: string): { readonly value: unknown } | undefined => {
  try {
    return { value: JSON.parse(text) }
  } catch {
    return undefined
  }
}

const none: Headers = Object.freeze(Object.create(null))

/** Stays an `Either` where the schema is synchronous, so that decoding a batch needs no fiber. */
const asParseError = <A>(self: Effect.Effect<A, ParseResult.ParseIssue>): Effect.Effect<A, ParseResult.ParseError> =>
  ParseResult.mapError(self, ParseResult.parseError)
