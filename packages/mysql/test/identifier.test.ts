import { describe, expect, it } from "@effect/vitest"
import * as identifier from "../src/internal/identifier.js"
import * as where from "../src/internal/where.js"

describe("identifier", () => {
  it("quotes names, the parts of a table's each for itself", () => {
    expect(identifier.column("select")).toBe("`select`")
    expect(identifier.column("a.b")).toBe("`a.b`")
    expect(identifier.column("a`b`; DROP TABLE x")).toBe("`a``b``; DROP TABLE x`")
    expect(identifier.table("order")).toBe("`order`")
    expect(identifier.table("shop.or`der")).toBe("`shop`.`or``der`")
  })

  it("a part in backticks is one name, whatever is in it", () => {
    expect(identifier.table("`a.b`")).toBe("`a.b`")
    expect(identifier.table("shop.`a.b`")).toBe("`shop`.`a.b`")
    expect(identifier.table("`my.shop`.`a.``b`")).toBe("`my.shop`.`a.``b`")
    expect(identifier.table("`order`")).toBe("`order`")
    expect(identifier.table("`a`; DROP TABLE `x`")).toBe("```a``; DROP TABLE ``x```")
    expect(["`a.b`", "shop.`a.b`", "shop.order", "order", "`my.shop`.order", "shop.`a``b`"].map(identifier.ownName))
      .toEqual(["a.b", "a.b", "order", "order", "order", "a`b"])
    for (const name of ["``", "shop.``", "`a `"]) expect(() => identifier.table(name)).toThrow(/Not an identifier/)
  })

  it("refuses what no name of the server may be", () => {
    for (const name of ["", "a".repeat(65), "a\0b", "a "]) {
      expect(() => identifier.column(name)).toThrow(/Not an identifier/)
    }
    for (const name of ["shop.", ".order", "a .b"]) expect(() => identifier.table(name)).toThrow(/Not an identifier/)
    expect(identifier.column("a".repeat(64))).toHaveLength(66)
    expect(identifier.column(" a")).toBe("` a`")
  })
})

describe("where", () => {
  it("L12: values are bound by position, null is IS NULL and bound by none", () => {
    expect(where.equal({ a: 1, b: null, "c?": "x" })).toEqual({
      sql: "`a` = ? AND `b` IS NULL AND `c?` = ?",
      values: [1, "x"]
    })
    expect(where.equal({ a: 0, b: false, c: "" }).values).toEqual([0, false, ""])
    expect(() => where.equal({})).toThrow(/every row/)
  })

  it("bytes become a Buffer of the same memory, everything else stays", () => {
    const bytes = new Uint8Array([1, 2, 3, 4]).subarray(1, 3)
    const bound = where.bound(bytes)
    expect(Buffer.isBuffer(bound)).toBe(true)
    expect([...bound]).toEqual([2, 3])
    const buffer = Buffer.from("x")
    expect(where.bound(buffer)).toBe(buffer)
    expect(where.bound("x")).toBe("x")
    expect(where.equal({ id: bytes }).values).toEqual([Buffer.from([2, 3])])
  })
})
