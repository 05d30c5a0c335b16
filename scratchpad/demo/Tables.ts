/**
 * The demo's tables and its reference data. Products and accounts are there before the first line, as in a shop; everything
 * else comes with the lines.
 *
 * @since 0.1.0
 */
import * as SqlClient from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import * as Inbox from "@safesync/mysql/Inbox"
import * as Effect from "effect/Effect"
import { type Books, openingStock } from "./Sequential.js"

/**
 * Creates the tables in an empty database.
 *
 * Products, accounts and invoices count their lines: so the audit sees a line that was applied twice. Codes are compared as
 * they are written, in upper or lower case, which the server's default collation would not do.
 *
 * @since 0.1.0
 * @category migrations
 */
export const migration: Effect.Effect<void, SqlError, SqlClient.SqlClient> = Effect.gen(function*() {
  const sql = yield* SqlClient.SqlClient
  const statements = [
    `CREATE TABLE product_figures (
      stock_code VARCHAR(20) PRIMARY KEY,
      version INT NOT NULL,
      line_count INT NOT NULL,
      sold BIGINT NOT NULL,
      returned BIGINT NOT NULL,
      revenue DECIMAL(24, 4) NOT NULL,
      highest_price DECIMAL(15, 4) NOT NULL
    )`,
    `CREATE TABLE product_stock (
      stock_code VARCHAR(20) PRIMARY KEY,
      quantity BIGINT NOT NULL
    )`,
    `CREATE TABLE account (
      account VARCHAR(20) PRIMARY KEY,
      line_count INT NOT NULL,
      balance DECIMAL(24, 4) NOT NULL
    )`,
    `CREATE TABLE invoice (
      invoice_no VARCHAR(13) PRIMARY KEY,
      account VARCHAR(20) NOT NULL,
      country VARCHAR(60) NOT NULL,
      invoice_date DATETIME NOT NULL
    )`,
    `CREATE TABLE invoice_total (
      invoice_no VARCHAR(13) PRIMARY KEY,
      line_count INT NOT NULL,
      pieces BIGINT NOT NULL,
      net DECIMAL(24, 4) NOT NULL
    )`,
    `CREATE TABLE invoice_tax (
      invoice_no VARCHAR(13) PRIMARY KEY,
      vat DECIMAL(24, 2) NOT NULL
    )`
  ]
  for (const statement of statements) {
    yield* sql.unsafe(`${statement} ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin`)
  }
  yield* Inbox.migration
})

/**
 * The products and accounts that the books name, all at their beginning.
 *
 * @since 0.1.0
 * @category reference data
 */
export const referenceData = (books: Books): Effect.Effect<void, SqlError, SqlClient.SqlClient> =>
  Effect.gen(function*() {
    const sql = yield* SqlClient.SqlClient
    const insert = (table: string, rows: ReadonlyArray<Record<string, string | number>>) =>
      Effect.forEach(pages(rows), (page) => sql`INSERT INTO ${sql(table)} ${sql.insert(page)}`, { discard: true })
    const products = [...books.products.keys()]
    const zero = { version: 1, line_count: 0, sold: 0, returned: 0, revenue: 0, highest_price: 0 }
    yield* insert("product_figures", products.map((stock_code) => ({ stock_code, ...zero })))
    yield* insert("product_stock", products.map((stock_code) => ({ stock_code, quantity: openingStock })))
    yield* insert("account", [...books.accounts.keys()].map((account) => ({ account, line_count: 0, balance: 0 })))
  })

// internal

/** A statement takes at most 65,535 parameters. */
const pages = <A>(rows: ReadonlyArray<A>): ReadonlyArray<ReadonlyArray<A>> =>
  Array.from({ length: Math.ceil(rows.length / 1_000) }, (_, n) => rows.slice(n * 1_000, (n + 1) * 1_000))
