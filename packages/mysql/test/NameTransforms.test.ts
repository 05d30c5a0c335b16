import { SqlClient } from "@effect/sql/SqlClient"
import { expect, layer } from "@effect/vitest"
import * as IdempotentInsert from "@safesync/mysql/IdempotentInsert"
import * as Occ from "@safesync/mysql/Occ"
import * as RowLock from "@safesync/mysql/RowLock"
import * as Transaction from "@safesync/mysql/Transaction"
import * as MysqlServer from "@safesync/testkit/MysqlServer"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as String from "effect/String"
import { inDatabase, tag } from "./support.js"

const transforms = { transformQueryNames: String.camelToSnake, transformResultNames: String.snakeToCamel }

const prepared = Effect.flatMap(
  SqlClient,
  (sql) =>
    sql`CREATE TABLE order_line (order_no INT, line_no INT, unit_price INT, row_version INT NOT NULL DEFAULT 1,
    booked_at DATETIME(6), PRIMARY KEY (order_no, line_no))`.unprepared
)

const inCamelCase = <A, E>(effect: Effect.Effect<A, E, SqlClient | Transaction.Transaction>) =>
  inDatabase(Effect.zipRight(prepared, Transaction.run(effect)), transforms)

const insert = IdempotentInsert.insert({
  table: "orderLine",
  values: { orderNo: 1, lineNo: 2, unitPrice: 3 },
  key: "PRIMARY"
})

const row = { orderNo: 1, lineNo: 2, unitPrice: 3, rowVersion: 1, bookedAt: null }

layer(MysqlServer.layer, { excludeTestServices: true })("The client's name transforms", (it) => {
  it.effect("IdempotentInsert writes names as plain sql does", () =>
    inCamelCase(Effect.gen(function*() {
      const sql = yield* SqlClient
      expect((yield* insert)._tag).toBe("Inserted")
      expect((yield* insert)._tag).toBe("AlreadyExists")
      expect(yield* sql`SELECT * FROM ${sql("orderLine")}`).toEqual([row])
    })))

  it.effect("RowLock writes and reads names as plain sql does, with a schema too", () =>
    inCamelCase(Effect.gen(function*() {
      yield* insert
      const lock = { table: "orderLine", where: { orderNo: 1, lineNo: 2 } } as const
      expect(yield* RowLock.forUpdate(lock)).toEqual(Option.some(row))
      expect(yield* RowLock.forShare({ ...lock, schema: Schema.Struct({ unitPrice: Schema.Int }) })).toEqual(
        Option.some({ unitPrice: 3 })
      )
      const many = { table: "orderLine", key: ["orderNo", "lineNo"], values: [{ orderNo: 1, lineNo: 2 }] } as const
      expect(yield* RowLock.forUpdateMany(many)).toEqual([row])
      expect(yield* RowLock.forUpdateMany({ table: "orderLine", key: "lineNo", values: [2] })).toEqual([row])
    })))

  it.effect("Occ writes names as plain sql does, its version's too", () =>
    inCamelCase(Effect.gen(function*() {
      const sql = yield* SqlClient
      yield* insert
      const update = (expected: number, set: { readonly unitPrice?: number; readonly lineNo?: number }) =>
        Occ.update({
          table: "orderLine",
          key: { orderNo: 1, lineNo: 2 },
          version: { column: "rowVersion", expected },
          set: set as { readonly unitPrice: number }
        })
      expect(yield* update(1, { unitPrice: 4 })).toBe(2)
      expect(tag(yield* Effect.exit(update(1, { unitPrice: 5 })))).toBe("VersionConflict")
      expect(yield* update(2, { lineNo: 3, unitPrice: 6 })).toBe(3)
      expect(yield* sql`SELECT * FROM ${sql("orderLine")}`).toEqual([
        { ...row, lineNo: 3, unitPrice: 6, rowVersion: 3 }
      ])
      expect(
        yield* Occ.tryUpdate({
          table: "orderLine",
          key: { orderNo: 1, lineNo: 3 },
          version: { column: "rowVersion", expected: 3 },
          set: { unitPrice: 7 }
        })
      ).toBe(1)
    })))

  it.effect("a value may be a fragment of SQL: of a client with transforms, and of one without", () =>
    Effect.forEach([transforms, {}], (options) =>
      inDatabase(
        Effect.gen(function*() {
          yield* prepared
          const sql = yield* SqlClient
          const name = options === transforms ? "unitPrice" : "unit_price"
          const names = options === transforms
            ? { table: "orderLine", order: "orderNo", line: "lineNo", booked: "bookedAt" }
            : { table: "order_line", order: "order_no", line: "line_no", booked: "booked_at" }
          const again = IdempotentInsert.insert({
            table: names.table,
            values: {
              [names.order]: 1,
              [names.line]: sql`1 + ${1}`,
              [name]: sql`CHAR_LENGTH('a?b') + ${4}`,
              [names.booked]: sql`NOW(6)`
            },
            key: "PRIMARY"
          })
          const exits = yield* Transaction.run(Effect.all([again, again]))
          expect(exits.map(({ _tag }) => _tag)).toEqual(["Inserted", "AlreadyExists"])
          expect(yield* sql`SELECT line_no, unit_price, booked_at IS NOT NULL AS b FROM order_line`.withoutTransform)
            .toEqual([
              { line_no: 2, unit_price: 7, b: 1 }
            ])
        }),
        options
      )))
})
