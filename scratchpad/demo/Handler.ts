/**
 * What one line of an invoice does to the database, in one transaction at READ COMMITTED: a plain SELECT after the wait for
 * an advisory lock must see what its last holder committed, not a snapshot from before the wait.
 *
 * Every transaction takes its locks in one order, table by table, so none can wait for another that waits for it. What
 * many lines share is locked last and so held shortest: the invoice, then the customer's account, which other invoices
 * share. An advisory lock is safe between row locks as long as this order is kept: whoever holds a row that is locked after
 * it no longer waits for it.
 *
 * @since 0.1.0
 */
import * as SqlClient from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import * as AdvisoryLock from "@safesync/mysql/AdvisoryLock"
import * as IdempotentInsert from "@safesync/mysql/IdempotentInsert"
import type { MysqlError, TransactionAborted } from "@safesync/mysql/MysqlError"
import * as Occ from "@safesync/mysql/Occ"
import * as RowLock from "@safesync/mysql/RowLock"
import type { Transaction } from "@safesync/mysql/Transaction"
import * as BigDecimal from "effect/BigDecimal"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as InvoiceLine from "./InvoiceLine.js"

/**
 * A product or an account that is not in the reference data.
 *
 * @since 0.1.0
 * @category errors
 */
export class ReferenceMissing
  extends Schema.TaggedError<ReferenceMissing>("@safesync/scratchpad/ReferenceMissing")("ReferenceMissing", {
    table: Schema.String
  })
{
  override get message() {
    return `The table ${this.table} does not have what this line refers to`
  }
}

/**
 * What applying a line can fail with.
 *
 * @since 0.1.0
 * @category errors
 */
export type HandlerError =
  | ReferenceMissing
  | Occ.VersionConflict
  | Occ.RowMissing
  | AdvisoryLock.AdvisoryLockError
  | MysqlError
  | TransactionAborted
  | SqlError

/**
 * Applies a line.
 *
 * @since 0.1.0
 * @category handlers
 */
export const apply = (
  line: InvoiceLine.InvoiceLine
): Effect.Effect<void, HandlerError, Transaction | SqlClient.SqlClient> =>
  Effect.gen(function*() {
    const found = yield* look(line)
    yield* updateFigures(line, found)
    if (!found.is_open) yield* openInvoice(line)
    yield* takeFromStock(line)
    yield* bill(line)
  })

// internal

interface Found {
  readonly version: number
  readonly line_count: number
  readonly sold: number
  readonly returned: number
  readonly revenue: string
  readonly highest_price: string
  /** 1 where the invoice has its header. */
  readonly is_open: 0 | 1
}

/** All that is read without a lock: what another transaction may have changed by the time that it is used. */
const look = (line: InvoiceLine.InvoiceLine) =>
  Effect.gen(function*() {
    const sql = yield* SqlClient.SqlClient
    const [found] = yield* sql<Found>`SELECT version, line_count, sold, returned, revenue, highest_price,
        EXISTS (SELECT * FROM invoice WHERE invoice_no = ${line.invoiceNo}) AS is_open
      FROM product_figures WHERE stock_code = ${line.stockCode}`
    return found ?? (yield* new ReferenceMissing({ table: "product_figures" }))
  })

/**
 * Optimistic: no lock while the new figures are computed; if another line of the product is faster, the transaction is run
 * again by the worker's schedule.
 */
const updateFigures = (line: InvoiceLine.InvoiceLine, found: Found) =>
  Occ.update({
    table: "product_figures",
    key: { stock_code: line.stockCode },
    version: { column: "version", expected: found.version },
    set: {
      line_count: found.line_count + 1,
      sold: found.sold + Math.max(line.quantity, 0),
      returned: found.returned + Math.max(-line.quantity, 0),
      revenue: plus(found.revenue, InvoiceLine.amount(line)),
      highest_price: BigDecimal.format(BigDecimal.max(decimal(found.highest_price), line.unitPrice))
    }
  })

/** Of the lines that find no header, the first writes it, and those that come at the same moment do nothing. */
const openInvoice = (line: InvoiceLine.InvoiceLine) =>
  IdempotentInsert.insert({
    table: "invoice",
    values: {
      invoice_no: line.invoiceNo,
      account: InvoiceLine.account(line),
      country: line.country,
      invoice_date: line.invoiceDate
    },
    key: "PRIMARY"
  })

const takeFromStock = (line: InvoiceLine.InvoiceLine) =>
  Effect.flatMap(
    SqlClient.SqlClient,
    (sql) => sql`UPDATE product_stock SET quantity = quantity - ${line.quantity} WHERE stock_code = ${line.stockCode}`
  )

/**
 * The invoice's totals are rows of two tables which the first line creates. There is no row yet that could be locked, and
 * the tax is rounded on the sum, so that it cannot be added up line by line: the lock is on the invoice's name.
 *
 * The account is there, and is locked as a row: from the read on nobody changes it before the write. What was read under
 * the two locks is written by one statement, since all other lines of the invoice wait for its end.
 */
const bill = (line: InvoiceLine.InvoiceLine) =>
  Effect.gen(function*() {
    const sql = yield* SqlClient.SqlClient
    const { invoiceNo, quantity } = line
    const account = InvoiceLine.account(line)
    yield* AdvisoryLock.acquireInTransaction(`invoice/${invoiceNo}`, { timeout: "20 seconds" })
    const [total] = yield* sql<{ readonly net: string }>`SELECT net FROM invoice_total WHERE invoice_no = ${invoiceNo}`
    if (total === undefined) {
      yield* sql`INSERT INTO invoice_total (invoice_no, line_count, pieces, net) VALUES (${invoiceNo}, 0, 0, 0)`
      yield* sql`INSERT INTO invoice_tax (invoice_no, vat) VALUES (${invoiceNo}, 0)`
    }
    const customer = yield* RowLock.forUpdate({ table: "account", where: { account } })
    if (Option.isNone(customer)) return yield* new ReferenceMissing({ table: "account" })
    const net = plus(total?.net ?? "0", InvoiceLine.amount(line))
    const balance = plus(String(customer.value["balance"]), InvoiceLine.amount(line))
    yield* sql`UPDATE invoice_total AS total JOIN invoice_tax USING (invoice_no) JOIN account AS customer
      SET total.line_count = total.line_count + 1, pieces = pieces + ${quantity}, net = ${net}, vat = ${vat(net)},
        customer.line_count = customer.line_count + 1, balance = ${balance}
      WHERE invoice_no = ${invoiceNo} AND account = ${account}`
  })

const decimal = BigDecimal.unsafeFromString

/** DECIMAL comes and goes as text: as a parameter of `balance + ?` it would become a float on the server. */
const plus = (sum: string, amount: BigDecimal.BigDecimal): string =>
  BigDecimal.format(BigDecimal.sum(decimal(sum), amount))

const rate = decimal("0.175")

const vat = (net: string): string =>
  BigDecimal.format(BigDecimal.round(BigDecimal.multiply(decimal(net), rate), { scale: 2, mode: "half-from-zero" }))
