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
import * as json from "./internal/json.js"
import { halfOfAPair } from "./internal/options.js"

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
 * a `ParseError`: whoever reads the entry would take it for the value. So is half of a surrogate pair in a header, which UTF-8 does not
 * have, and more than 3,900 headers: a script of the server's passes
 * on no entry of 4,000 fields, so that one could neither be sent by a script nor be moved to a dead-letter stream.
 *
 * A value that fits the schema and does not come back from its JSON as it is (NaN, a Date under `DateFromSelf`, a function under
 * `Unknown`) is a `ParseError` when it is encoded. That costs nothing where the schema can tell, which is of strings, booleans, `Int`,
 * `Finite`, literals, and structs, arrays, records and unions of them. Other values are decoded again, for some microseconds each.
 *
 * A whole number that a double cannot hold, as Python writes it, is a bigint when it is read: exact under `Unknown`, and a
 * `ParseError` under `Number`.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = <A, I>(schema: Schema.Schema<A, I>): StreamEntry<A> => {
  const encodeValue = ParseResult.encode(schema)
  const decodeValue = ParseResult.decodeUnknown(schema)
  const decodeText = ParseResult.decodeUnknown(Schema.parseJson(schema))
  const isLossless = json.isLossless(schema.ast)
  const decode = (data: string | undefined): Effect.Effect<A, ParseResult.ParseIssue> => {
    const parsed = data === undefined ? undefined : attempt(() => json.parse(data))
    // A text that is no JSON is for the codec of JSON to describe.
    return parsed?.value === undefined ? decodeText(data) : decodeValue(parsed.value)
  }
  const encode = (value: A): Effect.Effect<string, ParseResult.ParseIssue> =>
    ParseResult.flatMap(encodeValue(value), (encoded) => {
      const text = attempt(() => isLossless ? JSON.stringify(encoded) : json.stringify(encoded))
      return text.value === undefined
        ? ParseResult.fail(new ParseResult.Type(schema.ast, value, text.why))
        : isLossless
        ? ParseResult.succeed(text.value)
        : ParseResult.map(decode(text.value), () => text.value)
    })
  return {
    encode: (value, headers) =>
      (headers === undefined ? undefined : refusal(headers)) ??
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

const refusal = (headers: Headers) =>
  Object.hasOwn(headers, "data")
    ? dataIsTaken
    : Object.keys(headers).length > mostHeaders
    ? tooManyHeaders
    : Object.entries(headers).some((header) => header.some((text) => halfOfAPair.test(text)))
    ? notUnicode
    : undefined

const notUnicode = refused("a header must not hold half of a surrogate pair")

const dataIsTaken = refused("no header can be called data")

/**
 * `unpack` in a script gives at most 7,999 values, so that XADD in one adds no 4,000 fields. The value, the key, the message id and
 * all that is added to a dead entry have their place among the rest.
 */
const mostHeaders = 3_900
const tooManyHeaders = refused(`an entry can have at most ${mostHeaders} headers`)

type Attempt<A> = { readonly value: A; readonly why?: undefined } | { readonly value?: undefined; readonly why: string }

const attempt = <A>(f: () => A): Attempt<A> => {
  try {
    return { value: f() }
  } catch (error) {
    return { why: error instanceof Error ? error.message : String(error) }
  }
}

const none: Headers = Object.freeze(Object.create(null))

/** Stays an `Either` where the schema is synchronous, so that decoding a batch needs no fiber. */
const asParseError = <A>(self: Effect.Effect<A, ParseResult.ParseIssue>): Effect.Effect<A, ParseResult.ParseError> =>
  ParseResult.mapError(self, ParseResult.parseError)
