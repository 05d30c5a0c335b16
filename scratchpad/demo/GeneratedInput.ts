/**
 * CSV text in the likeness of the Online Retail data: the same columns and the same dirt (skewed stock codes, codes that
 * differ in case, cancellations with a leading C and negative quantities, missing customers, prices of zero, quoted fields
 * with commas, lines that repeat another to the letter), and some lines that cannot be decoded at all.
 *
 * The same seed gives the same text.
 *
 * @since 0.1.0
 */
import { PCGRandom } from "effect/Utils"
import { columns } from "./InvoiceLine.js"

/**
 * @since 0.1.0
 * @category constructors
 */
export function* generate(options: { readonly lines: number; readonly seed: number }): Generator<string> {
  const random = new PCGRandom(options.seed)
  const chance = (share: number) => random.number() < share
  const pick = <A>(from: ReadonlyArray<A>): A => from[random.integer(from.length)]!
  const shop = products(random)
  yield row(columns)
  let left = options.lines
  let previous = ""
  let customer = ""
  const emit = (text: string) => {
    left--
    return previous = text
  }
  for (let invoice = 536365; left > 0; invoice++) {
    const cancelled = chance(0.08)
    const invoiceNo = `${cancelled ? "C" : ""}${invoice}`
    // Customers come back at once, for what they have forgotten: their invoices meet.
    if (customer === "" || chance(0.5)) customer = chance(0.5) ? "" : `${12346 + skewed(random, 400) * 7}.0`
    const country = chance(0.9) ? "United Kingdom" : pick(["Germany", "France", "EIRE", "Norway"])
    const minutes = (invoice - 536365) * 3 + 480
    const date = `2010-12-${two(1 + Math.floor(minutes / 1440) % 28)} ` +
      `${two(Math.floor(minutes / 60) % 24)}:${two(minutes % 60)}:00`
    // Most invoices are short, a few fill pages.
    const size = Math.min(
      left,
      1 + (chance(0.05) ? random.integer(250) : cancelled ? random.integer(4) : random.integer(36))
    )
    for (let n = 0; n < size && left > 0; n++) {
      if (n > 0 && chance(0.012)) {
        yield emit(previous)
        continue
      }
      const product = shop[skewed(random, shop.length)]!
      const quantity = chance(0.01) ? 1200 + random.integer(8000) : 1 + skewed(random, 48)
      const fields = [
        invoiceNo,
        product.code,
        product.description,
        String(cancelled ? -quantity : quantity),
        date,
        chance(0.006) ? "0.0" : product.price,
        customer,
        country
      ]
      yield emit(row(chance(0.004) ? spoiled(random, fields) : fields))
    }
  }
}

// internal

interface Product {
  readonly code: string
  readonly description: string
  readonly price: string
}

const colours = ["RED", "WHITE", "PINK", "VINTAGE BLUE", "REGENCY"]
const things = ["HANGING HEART T-LIGHT HOLDER", "LUNCH BAG, SPOTTY", `RECORD FRAME 7" SINGLE SIZE`, "METAL LANTERN"]

const products = (random: PCGRandom): ReadonlyArray<Product> =>
  Array.from({ length: 600 }, (_, n) => {
    const number = 20000 + Math.floor(n / 3) * 17
    const pence = 19 + random.integer(1500)
    return {
      code: n === 7 ? "POST" : n === 8 ? "M" : n === 9 ? "m" : `${number}${["", "A", "a"][n % 3]}`,
      description: `${colours[n % colours.length]} ${things[random.integer(things.length)]}`,
      // As the data set writes them: 2.55, 2.1, 3.0
      price: `${Math.floor(pence / 100)}.${pence % 10 === 0 ? pence % 100 / 10 : two(pence % 100)}`
    }
  })

/** A number below `below`, small ones much more often. */
const skewed = (random: PCGRandom, below: number): number => Math.floor(below * random.number() ** 1.8)

/** What a broken export or a hasty hand does to a line. */
const spoiled = (random: PCGRandom, fields: ReadonlyArray<string>): ReadonlyArray<string> => {
  const [invoiceNo, code, description, quantity, date, price, customer, country] = fields as [
    string,
    string,
    string,
    string,
    string,
    string,
    string,
    string
  ]
  switch (random.integer(6)) {
    case 0:
      return [invoiceNo, code, description, "a dozen", date, price, customer, country]
    case 1:
      return [invoiceNo, code, description, quantity, date, "n/a", customer, country]
    case 2:
      return [invoiceNo, "", description, quantity, date, price, customer, country]
    case 3:
      return [invoiceNo, code, description, quantity, "2010-02-30 10:00:00", price, customer, country]
    case 4:
      return [invoiceNo, code, description]
    default:
      return [invoiceNo, code, description, quantity, date, `1${price.replace(".", ",")}`, customer, country]
  }
}

const row = (fields: ReadonlyArray<string>): string =>
  `${fields.map((field) => /[",\n]/.test(field) ? `"${field.replaceAll(`"`, `""`)}"` : field).join(",")}\n`

const two = (n: number): string => String(n).padStart(2, "0")
