import { expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { gzipSync } from "node:zlib"
import { generate } from "../GeneratedInput.js"
import * as Input from "../Input.js"
import * as InvoiceLine from "../InvoiceLine.js"

const header = InvoiceLine.columns.join(",")
const csv = `${header}
536365,85123A,WHITE HANGING HEART T-LIGHT HOLDER,6,2010-12-01 08:26:00,2.55,17850.0,United Kingdom
536381,82567,"AIRLINE LOUNGE,METAL SIGN",2,2010-12-01 09:41:00,2.1,,United Kingdom
`

const folder = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "safesync-input-"))),
  (folder) => Effect.sync(() => rmSync(folder, { recursive: true }))
)

/** Reads a file that holds these bytes. */
const read = (name: string, content: string | Buffer, limit = Infinity) =>
  Effect.flatMap(folder, (folder) => {
    writeFileSync(join(folder, name), content)
    return Input.fromFile(join(folder, name), limit)
  })

const refusal = (name: string, content: string | Buffer) =>
  Effect.map(
    Effect.flip(read(name, content)),
    ({ message }) => message.replace(/^--input \S+\/safesync-input-\w+\//, "")
  )

it.scopedLive("reads a CSV file as it is, packed or not, quoted commas and byte order mark included", () =>
  Effect.gen(function*() {
    const plain = yield* read("lines.csv", csv)
    expect(plain).toEqual([
      {
        line: 1,
        InvoiceNo: "536365",
        StockCode: "85123A",
        Description: "WHITE HANGING HEART T-LIGHT HOLDER",
        Quantity: "6",
        InvoiceDate: "2010-12-01 08:26:00",
        UnitPrice: "2.55",
        CustomerID: "17850.0",
        Country: "United Kingdom"
      },
      expect.objectContaining({ line: 2, Description: "AIRLINE LOUNGE,METAL SIGN", CustomerID: "" })
    ])
    expect(yield* read("lines.csv.gz", gzipSync(csv))).toEqual(plain)
    expect(yield* read("lines.csv", `\uFEFF${csv}`)).toEqual(plain)
    expect(yield* read("lines.csv", csv, 1)).toEqual(plain.slice(0, 1))
  }))

it.scopedLive("finds columns by their names, and leaves out what a short line lacks", () =>
  Effect.gen(function*() {
    const [line] = yield* read("lines.csv", `Extra,${[...InvoiceLine.columns].reverse().join(",")}\nx,EIRE,1.0\n`)
    expect(line).toEqual({ line: 1, Country: "EIRE", CustomerID: "1.0" })
  }))

it.scopedLive("says in one line what is wrong with a file and what to do", () =>
  Effect.gen(function*() {
    expect((yield* Effect.flip(Input.fromFile("/nowhere/lines.csv", 10))).message).toBe(
      "--input /nowhere/lines.csv: there is no such file. Correct the path, or leave --input out for a generated input."
    )
    expect((yield* Effect.flip(Input.fromFile(tmpdir(), 10))).message).toMatch("it is a folder")
    expect(yield* refusal("empty.csv", "")).toMatch(/^empty.csv: it is empty\. Give/)
    expect(yield* refusal("empty.csv.gz", gzipSync(""))).toMatch("it is empty")
    expect(yield* refusal("header.csv", `${header}\n`)).toMatch("it has a header and no lines")
    expect(yield* refusal("other.csv", "Invoice,StockCode\n1,2\n")).toMatch(
      /^other.csv: it lacks the columns InvoiceNo, Description, .*Its first line must name/
    )
    expect(yield* refusal("quote.csv", `${header}\n1,2,"3\n`)).toMatch("it cannot be read as CSV (Quote Not Closed")
    const packed = gzipSync(csv.repeat(100))
    expect(yield* refusal("cut.csv.gz", packed.subarray(0, packed.length - 20))).toMatch(
      "it is truncated. Copy it again"
    )
    expect(yield* refusal("cut.csv.gz", packed.subarray(0, 5))).toMatch("it is truncated. Copy it again")
    packed.fill(0xff, 30, 60)
    expect(yield* refusal("damaged.csv.gz", packed)).toMatch("the gzip file is damaged")
    for (const message of [yield* refusal("quote.csv", `${header}\n1,2,"3\n`), yield* refusal("empty.csv", "")]) {
      expect(message).not.toContain("\n")
    }
  }))

it.effect("decodes a line, money as a decimal", () =>
  Effect.gen(function*() {
    const [first, second] = (yield* Input.fromText([csv], 10)).map((raw) => Option.getOrThrow(InvoiceLine.decode(raw)))
    expect(InvoiceLine.account(first!)).toBe("17850")
    expect(InvoiceLine.account(second!)).toBe("guest-536381")
    expect(String(InvoiceLine.amount(first!))).toBe("BigDecimal(15.3)")
    expect(String(InvoiceLine.amount(second!))).toBe("BigDecimal(4.2)")
  }))

it.effect("refuses a line that makes no sense", () =>
  Effect.gen(function*() {
    const [good] = yield* Input.fromText([csv], 1)
    const spoil: ReadonlyArray<Partial<Record<keyof InvoiceLine.RawLine, string | undefined>>> = [
      { InvoiceNo: "" },
      { StockCode: " " },
      { StockCode: undefined },
      { Quantity: "6.5" },
      { Quantity: "a dozen" },
      { UnitPrice: "2,55" },
      { UnitPrice: "1e3" },
      { UnitPrice: "0.00001" },
      { UnitPrice: "NaN" },
      { InvoiceDate: "2010-02-30 08:26:00" },
      { InvoiceDate: "2010-12-01 24:26:00" },
      { CustomerID: "nobody" },
      { Country: "" }
    ]
    for (const fields of spoil) {
      expect([fields, InvoiceLine.decode({ ...good!, ...fields } as InvoiceLine.RawLine)]).toEqual([
        fields,
        Option.none()
      ])
    }
    const us = InvoiceLine.decode({ ...good!, InvoiceDate: "12/1/2010 8:26" })
    expect(Option.getOrThrow(us).invoiceDate).toBe("2010-12-01 08:26:00")
  }))

it.effect("generates the same input from the same seed, with the dirt of the real one", () =>
  Effect.gen(function*() {
    const text = [...generate({ lines: 5_000, seed: 1 })]
    expect([...generate({ lines: 5_000, seed: 1 })]).toEqual(text)
    expect([...generate({ lines: 5_000, seed: 2 })]).not.toEqual(text)
    const raws = yield* Input.fromText(text, Infinity)
    expect(raws.length).toBe(5_000)
    const lines = raws.map((raw) => InvoiceLine.decode(raw)).filter(Option.isSome).map(({ value }) => value)
    const codes = new Map<string, number>()
    for (const { stockCode } of lines) codes.set(stockCode, (codes.get(stockCode) ?? 0) + 1)
    const count = (test: (line: InvoiceLine.InvoiceLine) => boolean) => lines.filter(test).length
    expect(raws.length - lines.length).toBeGreaterThan(5)
    expect(count((line) => line.invoiceNo.startsWith("C") && line.quantity < 0)).toBeGreaterThan(10)
    expect(count((line) => Option.isNone(line.customerId))).toBeGreaterThan(1_000)
    expect(count((line) => line.unitPrice.value === 0n)).toBeGreaterThan(5)
    expect(text.length - new Set(text).size).toBeGreaterThan(20)
    expect(text.some((row) => row.includes(`"VINTAGE BLUE LUNCH BAG, SPOTTY"`))).toBe(true)
    expect(Math.max(...codes.values())).toBeGreaterThan(lines.length / codes.size * 5)
    expect([...codes.keys()].filter((code) => code !== code.toUpperCase() && codes.has(code.toUpperCase()))).not
      .toEqual([])
  }))
