/**
 * One line of an invoice: as the text that the producer sends, and as what a worker understands.
 *
 * The producer sends the CSV fields as they are, so that a line that makes no sense still has a way: the worker's schema
 * refuses it and its entry goes to the dead-letter stream.
 *
 * @since 0.1.0
 */
import * as BigDecimal from "effect/BigDecimal"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import * as ParseResult from "effect/ParseResult"
import * as Schema from "effect/Schema"

/**
 * The columns of the Online Retail data set.
 *
 * @since 0.1.0
 * @category models
 */
export const columns = [
  "InvoiceNo",
  "StockCode",
  "Description",
  "Quantity",
  "InvoiceDate",
  "UnitPrice",
  "CustomerID",
  "Country"
] as const

const field = Schema.optionalWith(Schema.String, { exact: true })

/**
 * What goes over the wire. `line` is the line's position among the input's lines, from 1: the data has no other identity.
 *
 * @since 0.1.0
 * @category schemas
 */
export const RawLine = Schema.Struct({
  line: Schema.Int,
  InvoiceNo: field,
  StockCode: field,
  Description: field,
  Quantity: field,
  InvoiceDate: field,
  UnitPrice: field,
  CustomerID: field,
  Country: field
})

/**
 * @since 0.1.0
 * @category models
 */
export type RawLine = typeof RawLine.Type

/** Letters that a code may begin with and differ in are significant: 85123A and 85123a are two products. */
const code = (pattern: RegExp) => Schema.String.pipe(Schema.pattern(pattern))

/** Money is decimal from the first character to the last column: no float on the way. At most four places. */
const Money = Schema.transformOrFail(code(/^-?\d{1,11}(\.\d{1,4})?$/), Schema.BigDecimalFromSelf, {
  strict: true,
  decode: (text) => ParseResult.succeed(BigDecimal.unsafeFromString(text)),
  encode: (amount) => ParseResult.succeed(BigDecimal.format(amount))
})

const Quantity = Schema.transform(code(/^-?\d{1,9}$/), Schema.Int, {
  strict: true,
  decode: Number,
  encode: String
})

/** `2010-12-01 08:26:00`; `12/1/2010 8:26` as the data set was first published is read too. */
const InvoiceDate = Schema.transformOrFail(Schema.String, Schema.String, {
  strict: true,
  decode: (text, _, ast) => {
    const date = isoDate(text)
    return date === undefined ? ParseResult.fail(new ParseResult.Type(ast, text)) : ParseResult.succeed(date)
  },
  encode: (text) => ParseResult.succeed(text)
})

/** `17850.0`, as a spreadsheet writes a number; empty where nobody was logged in. */
const CustomerId = Schema.transform(code(/^(\d{1,12}(\.0)?)?$/), Schema.OptionFromSelf(Schema.String), {
  strict: true,
  decode: (text) => text === "" ? Option.none() : Option.some(text.replace(".0", "")),
  encode: Option.getOrElse(() => "")
})

/**
 * What a worker understands.
 *
 * @since 0.1.0
 * @category schemas
 */
export const InvoiceLine = Schema.Struct({
  line: Schema.Int,
  invoiceNo: Schema.propertySignature(code(/^[A-Z]?\d{1,12}$/)).pipe(Schema.fromKey("InvoiceNo")),
  stockCode: Schema.propertySignature(code(/^\S(.{0,18}\S)?$/)).pipe(Schema.fromKey("StockCode")),
  quantity: Schema.propertySignature(Quantity).pipe(Schema.fromKey("Quantity")),
  invoiceDate: Schema.propertySignature(InvoiceDate).pipe(Schema.fromKey("InvoiceDate")),
  unitPrice: Schema.propertySignature(Money).pipe(Schema.fromKey("UnitPrice")),
  customerId: Schema.propertySignature(CustomerId).pipe(Schema.fromKey("CustomerID")),
  country: Schema.propertySignature(code(/^\S.{0,59}$/)).pipe(Schema.fromKey("Country"))
})

/**
 * @since 0.1.0
 * @category models
 */
export type InvoiceLine = typeof InvoiceLine.Type

/**
 * The account that a line goes to: the customer's, or one of its own for each invoice of a guest.
 *
 * @since 0.1.0
 * @category accessors
 */
export const account = (line: InvoiceLine): string => Option.getOrElse(line.customerId, () => `guest-${line.invoiceNo}`)

/**
 * @since 0.1.0
 * @category accessors
 */
export const amount = (line: InvoiceLine): BigDecimal.BigDecimal =>
  BigDecimal.multiply(BigDecimal.fromBigInt(BigInt(line.quantity)), line.unitPrice)

/**
 * @since 0.1.0
 * @category decoding
 */
export const decode = (raw: RawLine): Option.Option<InvoiceLine> => Either.getRight(decodeEither(raw))

const decodeEither = Schema.decodeUnknownEither(InvoiceLine)

const isoDate = (text: string): string | undefined => {
  const iso = /^(\d{4})-(\d\d)-(\d\d) (\d\d:\d\d)(:\d\d)?$/.exec(text)
  const us = /^(\d{1,2})\/(\d{1,2})\/(\d{4}) (\d{1,2}:\d\d)$/.exec(text)
  const two = (digits: string) => digits.padStart(2, "0")
  const normal = iso !== null
    ? `${iso[1]}-${iso[2]}-${iso[3]} ${iso[4]}${iso[5] ?? ":00"}`
    : us !== null
    ? `${us[3]}-${two(us[1]!)}-${two(us[2]!)} ${us[4]!.padStart(5, "0")}:00`
    : undefined
  if (normal === undefined) return undefined
  // The 30th of February is read as the 2nd of March
  const time = new Date(`${normal.replace(" ", "T")}Z`)
  return !Number.isNaN(time.getTime()) && time.toISOString().startsWith(normal.replace(" ", "T")) ? normal : undefined
}
