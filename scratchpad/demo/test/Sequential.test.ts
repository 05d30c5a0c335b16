import { expect, it } from "@effect/vitest"
import type { RawLine } from "../InvoiceLine.js"
import * as Sequential from "../Sequential.js"

const line = (number: number, fields: Partial<RawLine>): RawLine => ({
  line: number,
  InvoiceNo: "536365",
  StockCode: "85123A",
  Description: "WHITE HANGING HEART T-LIGHT HOLDER",
  Quantity: "6",
  InvoiceDate: "2010-12-01 08:26:00",
  UnitPrice: "2.55",
  CustomerID: "17850.0",
  Country: "United Kingdom",
  ...fields
})

it("keeps books of products, accounts and invoices", () => {
  const books = Sequential.compute([
    line(1, {}),
    line(2, { StockCode: "85123a", UnitPrice: "0.1", Quantity: "3", InvoiceDate: "2010-12-01 08:27:00" }),
    line(3, { InvoiceNo: "C536366", Quantity: "-2", UnitPrice: "4" }),
    line(4, { InvoiceNo: "536367", CustomerID: "" }),
    line(5, { Quantity: "half" }),
    line(6, {})
  ])
  expect([...books.applied]).toEqual([1, 2, 3, 4, 6])
  expect([...books.undecodable]).toEqual([5])
  expect(books.products.get("85123A")).toEqual({
    stock: 10_000 - 16,
    lines: 4,
    sold: 18,
    returned: 2,
    revenue: 379_000n,
    highestPrice: 40_000n
  })
  expect(books.products.get("85123a")).toMatchObject({ lines: 1, revenue: 3_000n })
  expect(books.accounts).toEqual(
    new Map([["17850", { lines: 4, balance: 229_000n }], ["guest-536367", { lines: 1, balance: 153_000n }]])
  )
  expect(books.invoices.get("536365")).toEqual({
    headers: new Set(["17850, United Kingdom, 2010-12-01 08:26:00", "17850, United Kingdom, 2010-12-01 08:27:00"]),
    lines: 3,
    pieces: 15,
    net: 309_000n,
    vat: 54_100n
  })
})

it("reads decimal text digit by digit", () => {
  expect(["2.55", "-0.1", "4", "0.0001", "-11062.06", "99999999999.9999"].map(Sequential.units)).toEqual(
    [25_500n, -1_000n, 40_000n, 1n, -110_620_600n, 999_999_999_999_999n]
  )
})

it("rounds the tax on the sum once, half away from zero", () => {
  // 17.5 % of 1.00 is 0.175, of 0.20 is 0.035, of 0.02 is 0.0035
  expect(["1", "-1", "0.20", "0.02", "0"].map((net) => Sequential.vat(Sequential.units(net)))).toEqual(
    [1_800n, -1_800n, 400n, 0n, 0n]
  )
})
