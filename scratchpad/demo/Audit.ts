/**
 * Whether the database holds what the sequential computation says, to the penny and the piece, and whether every line is
 * where it belongs: applied once, or in the dead-letter stream.
 *
 * @since 0.1.0
 */
import * as SqlClient from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import * as Inbox from "@safesync/mysql/Inbox"
import * as Redis from "@safesync/redis-streams/Redis"
import type { RedisError } from "@safesync/redis-streams/RedisError"
import * as BigDecimal from "effect/BigDecimal"
import * as Effect from "effect/Effect"
import { type RawLine } from "./InvoiceLine.js"
import * as Sequential from "./Sequential.js"

/**
 * @since 0.1.0
 * @category models
 */
export interface Audit {
  /** Lines that the inbox remembers. */
  readonly applied: number
  /** How many lines the products have counted more than the inbox remembers of them. */
  readonly appliedTwice: number
  /** Entries in the dead-letter stream. */
  readonly deadLettered: number
  /** Lines that neither the inbox nor the dead letters know, and those that a product has not counted though the inbox knows them. */
  readonly lost: number
  /** How many products, accounts and invoices were compared. */
  readonly compared: { readonly products: number; readonly accounts: number; readonly invoices: number }
  /** Every difference between the database and the computation, in words; none if the audit holds. */
  readonly differences: ReadonlyArray<string>
}

/**
 * @since 0.1.0
 * @category models
 */
export const holds = ({ appliedTwice, differences, lost }: Audit): boolean =>
  appliedTwice === 0 && lost === 0 && differences.length === 0

/**
 * Compares. `lines` are all that were sent, `sent` how many entries were made of each of them.
 *
 * @since 0.1.0
 * @category audit
 */
export const audit = (options: {
  readonly lines: ReadonlyArray<RawLine>
  readonly books: Sequential.Books
  readonly sentTimes: (line: number) => number
  readonly deadLetterStream: string
}): Effect.Effect<Audit, SqlError | RedisError, SqlClient.SqlClient | Redis.Redis> =>
  Effect.gen(function*() {
    const { books, lines } = options
    const differences: Array<string> = []
    const rows = yield* tables
    const remembered = checkInbox(rows.inbox, books, differences)
    const counted = checkCounts(
      rows.figures,
      lines.filter(({ line }) => remembered.has(line) && books.applied.has(line)),
      differences
    )

    const dead = yield* deadLetters(options.deadLetterStream)
    const deadTimes = new Map<number, number>()
    for (const { line, reason } of dead) {
      deadTimes.set(line, (deadTimes.get(line) ?? 0) + 1)
      if (!books.undecodable.has(line)) differences.push(`line ${line} is a dead letter, though it is sound: ${reason}`)
    }
    for (const line of books.undecodable) {
      const times = deadTimes.get(line) ?? 0
      if (times > 0) expectEqual(differences, `dead letters of line ${line}`, times, options.sentTimes(line))
    }
    let lost = counted.missing
    for (const { line } of lines) {
      if (remembered.has(line) || deadTimes.has(line)) continue
      lost++
      differences.push(`line ${line} is lost`)
    }
    checkProducts(rows, books, differences)
    checkAccounts(rows, books, differences)
    checkInvoices(rows, books, differences)
    return {
      applied: remembered.size,
      appliedTwice: counted.surplus,
      deadLettered: dead.length,
      lost,
      compared: { products: books.products.size, accounts: books.accounts.size, invoices: books.invoices.size },
      differences
    }
  })

// internal

type Cell = string | number
type Row = Readonly<Record<string, Cell>>
type Table = ReadonlyArray<Row>

const tables = Effect.gen(function*() {
  const sql = yield* SqlClient.SqlClient
  const all = (table: string) => sql<Row>`SELECT * FROM ${sql(table)}`
  return {
    figures: yield* all("product_figures"),
    stock: yield* all("product_stock"),
    accounts: yield* all("account"),
    headers: yield* sql<Row>`SELECT invoice_no, account, country,
      DATE_FORMAT(invoice_date, '%Y-%m-%d %H:%i:%s') AS date FROM invoice`,
    totals: yield* all("invoice_total"),
    taxes: yield* all("invoice_tax"),
    inbox: yield* sql<Row>`SELECT CAST(message_id AS CHAR) AS line FROM ${sql(Inbox.table)}`
  }
})

type Tables = Effect.Effect.Success<typeof tables>

const expectEqual = (differences: Array<string>, what: string, found: Cell, expected: Cell): void => {
  if (String(found) !== String(expected)) differences.push(`${what}: ${found} in the database, ${expected} computed`)
}

const units = (cell: Cell): bigint => Sequential.units(String(cell))

const pounds = (units: bigint): string => BigDecimal.format(BigDecimal.make(units, 4))

/** The lines whose effects were committed: a line's effects and its id are one transaction. */
const checkInbox = (
  inbox: Table,
  { undecodable }: Sequential.Books,
  differences: Array<string>
): ReadonlySet<number> => {
  const remembered = new Set(inbox.map((row) => Number(row["line"])))
  for (const line of remembered) {
    if (undecodable.has(line)) differences.push(`line ${line} is in the inbox, though it cannot be decoded`)
  }
  return remembered
}

/** A product counts its lines as they are applied. The inbox knows each line once, however often it was applied. */
const checkCounts = (
  figures: Table,
  applied: ReadonlyArray<RawLine>,
  differences: Array<string>
): { readonly missing: number; readonly surplus: number } => {
  const expected = new Map<string, number>()
  for (const { StockCode } of applied) expected.set(StockCode!, (expected.get(StockCode!) ?? 0) + 1)
  let missing = 0
  let surplus = 0
  for (const row of figures) {
    const product = String(row["stock_code"])
    const more = Number(row["line_count"]) - (expected.get(product) ?? 0)
    if (more !== 0) {
      differences.push(
        `product ${product} has counted ${Math.abs(more)} lines ${more > 0 ? "more" : "less"} than the inbox`
      )
    }
    missing += Math.max(-more, 0)
    surplus += Math.max(more, 0)
  }
  return { missing, surplus }
}

/** Pairs rows with what was computed under the same key; what is on one side only is a difference. */
const pair = <A>(
  table: Table,
  key: string,
  name: string,
  computed: ReadonlyMap<string, A>,
  differences: Array<string>,
  compare: (row: Row, computed: A, check: (what: string, found: Cell, expected: Cell) => void) => void
): void => {
  const seen = new Set<string>()
  for (const row of table) {
    const id = String(row[key])
    const expected = computed.get(id)
    seen.add(id)
    if (expected === undefined) differences.push(`${name} ${id}: in the database, not computed`)
    else {
      compare(
        row,
        expected,
        (what, found, expected) => expectEqual(differences, `${what} of ${name} ${id}`, found, expected)
      )
    }
  }
  for (const id of computed.keys()) {
    if (!seen.has(id)) differences.push(`${name} ${id}: computed, not in the database`)
  }
}

const checkProducts = (
  { figures, stock }: Tables,
  { products }: Sequential.Books,
  differences: Array<string>
): void => {
  pair(stock, "stock_code", "product", products, differences, (row, product, check) => {
    check("stock", row["quantity"]!, product.stock)
  })
  pair(figures, "stock_code", "product", products, differences, (row, product, check) => {
    check("line count", row["line_count"]!, product.lines)
    check("pieces sold", row["sold"]!, product.sold)
    check("pieces returned", row["returned"]!, product.returned)
    check("revenue", pounds(units(row["revenue"]!)), pounds(product.revenue))
    check("highest price", pounds(units(row["highest_price"]!)), pounds(product.highestPrice))
    // Each line is one update of the figures, and each update one step of the version.
    check("version", row["version"]!, product.lines + 1)
  })
}

const checkAccounts = ({ accounts }: Tables, books: Sequential.Books, differences: Array<string>): void =>
  pair(accounts, "account", "account", books.accounts, differences, (row, account, check) => {
    check("line count", row["line_count"]!, account.lines)
    check("balance", pounds(units(row["balance"]!)), pounds(account.balance))
  })

const checkInvoices = (
  { headers, taxes, totals }: Tables,
  { invoices }: Sequential.Books,
  differences: Array<string>
): void => {
  pair(headers, "invoice_no", "invoice", invoices, differences, (row, invoice, check) => {
    const header = Sequential.header(String(row["account"]), String(row["country"]), String(row["date"]))
    if (!invoice.headers.has(header)) check("header", header, [...invoice.headers].join(" or "))
  })
  pair(totals, "invoice_no", "invoice", invoices, differences, (row, invoice, check) => {
    check("line count", row["line_count"]!, invoice.lines)
    check("pieces", row["pieces"]!, invoice.pieces)
    check("net", pounds(units(row["net"]!)), pounds(invoice.net))
  })
  pair(taxes, "invoice_no", "invoice", invoices, differences, (row, invoice, check) => {
    check("VAT", pounds(units(row["vat"]!)), pounds(invoice.vat))
  })
}

interface DeadLetter {
  readonly line: number
  /** The first line of the reason. */
  readonly reason: string
}

const deadLetters = (stream: string): Effect.Effect<ReadonlyArray<DeadLetter>, RedisError, Redis.Redis> =>
  Effect.gen(function*() {
    const redis = yield* Redis.Redis
    const letters: Array<DeadLetter> = []
    for (let from = "-";;) {
      const page = (yield* redis.command("XRANGE", stream, from, "+", "COUNT", "1000")) as ReadonlyArray<
        readonly [id: string, fields: ReadonlyArray<string>]
      >
      for (const [, fields] of page) {
        const field = (name: string) => fields[fields.indexOf(name) + 1]!
        const { line } = JSON.parse(field("data")) as RawLine
        letters.push({ line, reason: field("dead.reason").split("\n")[0]! })
      }
      const last = page.at(-1)
      if (last === undefined) return letters
      const [millis, sequence] = last[0].split("-") as [string, string]
      from = `${millis}-${Number(sequence) + 1}`
    }
  })
