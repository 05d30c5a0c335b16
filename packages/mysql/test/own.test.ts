import { MysqlClient as Client } from "@effect/sql-mysql2/MysqlClient"
import { SqlClient } from "@effect/sql/SqlClient"
import { describe, expect, it, layer } from "@effect/vitest"
import * as IdempotentInsert from "@safesync/mysql/IdempotentInsert"
import * as Occ from "@safesync/mysql/Occ"
import * as RowLock from "@safesync/mysql/RowLock"
import * as Transaction from "@safesync/mysql/Transaction"
import * as MysqlServer from "@safesync/testkit/MysqlServer"
import * as Effect from "effect/Effect"
import * as FastCheck from "effect/FastCheck"
import * as Option from "effect/Option"
import * as Runtime from "effect/Runtime"
import * as own from "../src/internal/own.js"
import { anotherClient, inDatabase, tag } from "./support.js"

describe("own statements", () => {
  it("put values in place of question marks that are no part of a name", () => {
    expect(own.text("SELECT `a?`, `b``?` FROM t WHERE c = ? AND d = ?", [7, Buffer.from("'")])).toBe(
      "SELECT `a?`, `b``?` FROM t WHERE c = 7 AND d = x'27'"
    )
    expect(own.text("SELECT ?, ?, ?", [null, 2n ** 63n, Buffer.alloc(0)])).toBe("SELECT NULL, 9223372036854775808, x''")
  })

  it.effect("an answer that lacks a row or a column is a failure, and never taken for none", () =>
    Effect.gen(function*() {
      const one = (row: own.Reader) => [row.text(0), row.number(1)] as const
      const read = (...rows: ReadonlyArray<unknown>) => Effect.exit(own.readOne("SELECT 1", rows, one))
      expect(tag(yield* read([Buffer.from("a"), Buffer.from("1")]))).toBe(undefined)
      for (
        const rows of [
          [],
          [undefined],
          [{ id: "a", n: 1 }],
          [[]],
          [[Buffer.from("a")]],
          [[Buffer.from("a"), null]],
          [[Buffer.from("a"), 1]],
          [["a", Buffer.from("1")]],
          [[Buffer.from("a"), Buffer.from("x")]],
          [[Buffer.from("a"), Buffer.from("1")], [Buffer.from("a"), Buffer.from("1")]]
        ]
      ) {
        const exit = yield* read(...rows)
        expect([rows, tag(exit)]).toEqual([rows, "StatementFailed"])
      }
    }))
})

layer(MysqlServer.layer, { excludeTestServices: true })("values in the text of a statement", (it) => {
  for (
    const [charset, mode] of [
      ["UTF8MB4_UNICODE_CI", "STRICT_TRANS_TABLES"],
      ["LATIN1_SWEDISH_CI", "NO_BACKSLASH_ESCAPES,ANSI_QUOTES"],
      ["GBK_CHINESE_CI", "ANSI"]
    ] as const
  ) {
    it.effect(`any value is written and found as it is, with ${charset} and ${mode}`, () =>
      inDatabase(Effect.gen(function*() {
        const sql = yield* SqlClient
        yield* sql`CREATE TABLE thing (id INT AUTO_INCREMENT PRIMARY KEY, name VARCHAR(200) CHARACTER SET utf8mb4
          COLLATE utf8mb4_0900_bin NOT NULL, n DOUBLE, whole BIGINT, flag TINYINT, raw VARBINARY(200), at DATETIME(3),
          version INT NOT NULL DEFAULT 0)`
        const client = yield* anotherClient({ poolConfig: { charset }, maxConnections: 1 })
        yield* client.unsafe(`SET SESSION sql_mode = '${mode}'`)
        const check = Runtime.runPromise(yield* Effect.runtime<SqlClient | MysqlServer.MysqlServer>())
        const any = FastCheck.asyncProperty(
          FastCheck.string({ unit: "grapheme", maxLength: 20 }),
          FastCheck.double({ noNaN: true, noDefaultInfinity: true, min: -1e300, max: 1e300 }),
          FastCheck.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
          FastCheck.boolean(),
          FastCheck.uint8Array({ maxLength: 40 }),
          FastCheck.date({
            min: new Date("1970-01-02T00:00:00Z"),
            max: new Date("2100-01-01T00:00:00Z"),
            noInvalidDate: true
          }),
          (name, n, whole, flag, raw, at) => {
            const set = { name, n, whole, flag, raw, at }
            return check(Effect.gen(function*() {
              const { insertId } = (yield* Transaction.run(
                IdempotentInsert.insert({ table: "thing", key: "PRIMARY", values: { name: `${name}'` } })
              ).pipe(Effect.provideService(Client, client))) as IdempotentInsert.Inserted
              yield* Transaction.run(Occ.update({
                table: "thing",
                key: { id: insertId, name: `${name}'` },
                version: { column: "version", expected: 0 },
                set
              })).pipe(Effect.provideService(Client, client))
              const found = yield* Transaction.run(
                RowLock.forUpdate({ table: "thing", where: { id: insertId, ...set } })
              )
                .pipe(Effect.provideService(Client, client))
              const [row] = yield* sql<
                Record<string, unknown>
              >`SELECT name, n, CAST(whole AS CHAR) AS whole, flag, raw, at
                FROM thing WHERE id = ${insertId}`
              expect({ ...row, raw: Buffer.from(row!["raw"] as Buffer).toString("hex") }).toEqual({
                name,
                n: n === 0 ? 0 : n,
                whole: String(whole),
                flag: Number(flag),
                raw: Buffer.from(raw).toString("hex"),
                at
              })
              expect(Option.isSome(found)).toBe(true)
            }))
          }
        )
        yield* Effect.promise(() => FastCheck.assert(any, { numRuns: 60 }))
      })))
  }
})
