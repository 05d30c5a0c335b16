/**
 * What must be in the database at the end, computed by one loop over the input: nothing concurrent in it, no database, no
 * transaction, and sums in whole ten-thousandths of a pound instead of the workers' decimals, so that an error of theirs is
 * not repeated here.
 *
 * @since 0.1.0
 */
import * as Option from "effect/Option"
import * as InvoiceLine from "./InvoiceLine.js"

/**
 * Money in ten-thousandths of a pound.
 *
 * @since 0.1.0
 * @category models
 */
export type Units = bigint

/**
 * @since 0.1.0
 * @category models
 */
export interface Product {
  stock: number
  lines: number
  sold: number
  returned: number
  revenue: Units
  highestPrice: Units
}

/**
 * @since 0.1.0
 * @category models
 */
export interface Invoice {
  /** Any line may be the first to arrive: each account, country and date that the invoice's lines name may be its header's. */
  readonly headers: Set<string>
  lines: number
  pieces: number
  net: Units
  vat: Units
}

/**
 * @since 0.1.0
 * @category models
 */
export interface Books {
  /** The positions of the lines that can be decoded, and of those that cannot. */
  readonly applied: Set<number>
  readonly undecodable: Set<number>
  readonly products: Map<string, Product>
  readonly accounts: Map<string, { lines: number; balance: Units }>
  readonly invoices: Map<string, Invoice>
}

/**
 * What every product has in stock before the first line.
 *
 * @since 0.1.0
 * @category constants
 */
export const openingStock = 10_000

/**
 * @since 0.1.0
 * @category computation
 */
export const compute = (lines: Iterable<InvoiceLine.RawLine>): Books => {
  const books: Books = {
    applied: new Set(),
    undecodable: new Set(),
    products: new Map(),
    accounts: new Map(),
    invoices: new Map()
  }
  for (const raw of lines) {
    const decoded = InvoiceLine.decode(raw)
    if (Option.isNone(decoded)) {
      books.undecodable.add(raw.line)
      continue
    }
    const line = decoded.value
    books.applied.add(raw.line)
    const price = units(raw.UnitPrice!)
    const amount = BigInt(line.quantity) * price

    const product = upsert(books.products, line.stockCode, newProduct)
    product.stock -= line.quantity
    product.lines += 1
    product.sold += Math.max(line.quantity, 0)
    product.returned += Math.max(-line.quantity, 0)
    product.revenue += amount
    if (price > product.highestPrice) product.highestPrice = price

    const account = upsert(books.accounts, InvoiceLine.account(line), () => ({ lines: 0, balance: 0n }))
    account.lines += 1
    account.balance += amount

    const invoice = upsert(books.invoices, line.invoiceNo, newInvoice)
    invoice.headers.add(header(InvoiceLine.account(line), line.country, line.invoiceDate))
    invoice.lines += 1
    invoice.pieces += line.quantity
    invoice.net += amount
  }
  for (const invoice of books.invoices.values()) invoice.vat = vat(invoice.net)
  return books
}

/**
 * @since 0.1.0
 * @category computation
 */
export const header = (account: string, country: string, date: string): string => `${account}, ${country}, ${date}`

/**
 * Decimal text in ten-thousandths, digit by digit.
 *
 * @since 0.1.0
 * @category money
 */
export const units = (text: string): Units => {
  const [whole, places = ""] = text.replace("-", "").split(".") as [string, string?]
  const absolute = BigInt(whole + places.padEnd(4, "0"))
  return text.startsWith("-") ? -absolute : absolute
}

/**
 * Value added tax of 17.5 %, as it was in December 2010, on an invoice's sum: rounded to the penny once, half away from zero.
 *
 * @since 0.1.0
 * @category money
 */
export const vat = (net: Units): Units => {
  const thousandths = (net < 0n ? -net : net) * 175n
  const pence = (thousandths + 50_000n) / 100_000n
  return (net < 0n ? -pence : pence) * 100n
}

const newProduct = (): Product => ({
  stock: openingStock,
  lines: 0,
  sold: 0,
  returned: 0,
  revenue: 0n,
  highestPrice: 0n
})

const newInvoice = (): Invoice => ({ headers: new Set(), lines: 0, pieces: 0, net: 0n, vat: 0n })

const upsert = <A>(map: Map<string, A>, key: string, make: () => A): A => {
  const found = map.get(key)
  if (found !== undefined) return found
  const made = make()
  map.set(key, made)
  return made
}
