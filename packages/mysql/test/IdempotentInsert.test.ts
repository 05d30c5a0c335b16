import { SqlClient } from "@effect/sql/SqlClient"
import { expect, layer } from "@effect/vitest"
import * as IdempotentInsert from "@safesync/mysql/IdempotentInsert"
import * as Transaction from "@safesync/mysql/Transaction"
import * as MysqlServer from "@safesync/testkit/MysqlServer"
import * as Effect from "effect/Effect"
import { failure, inDatabase, tag } from "./support.js"

const table = Effect.flatMap(
  SqlClient,
  (sql) =>
    sql`CREATE TABLE invoice (no VARCHAR(40) PRIMARY KEY, serial INT NOT NULL, amount INT NOT NULL,
    UNIQUE KEY ${sql("the serial")} (serial), CHECK (amount >= 0))`
)

const insert = (no: string, serial: number, amount = 0) =>
  IdempotentInsert.insert({ table: "invoice", values: { no, serial, amount }, key: "PRIMARY" })

layer(MysqlServer.layer, { excludeTestServices: true })("IdempotentInsert", (it) => {
  it.effect("L14: absorbs a duplicate of the named key, and the transaction goes on", () =>
    inDatabase(Effect.gen(function*() {
      yield* table
      const sql = yield* SqlClient
      const tags = yield* Transaction.run(Effect.forEach([
        insert("a", 1),
        insert("a", 1),
        insert("b", 2)
      ], (_) => Effect.map(_, (result) => result._tag)))
      expect(tags).toEqual(["Inserted", "AlreadyExists", "Inserted"])
      expect(yield* sql`SELECT no FROM invoice ORDER BY no`).toEqual([{ no: "a" }, { no: "b" }])
    })))

  it.effect("L14: absorbs no other duplicate and no other failure; values that quote the message do not confuse it", () =>
    inDatabase(Effect.gen(function*() {
      yield* table
      yield* Transaction.run(insert("x' for key 'invoice.PRIMARY", 1))
      const other = yield* Effect.exit(Transaction.run(insert("y' for key 'invoice.PRIMARY", 1)))
      expect(failure(other)).toMatchObject({ _tag: "DuplicateKey", key: "the serial" })
      expect(tag(yield* Effect.exit(Transaction.run(insert("c", 3, -1))))).toBe("CheckViolation")
      expect(tag(yield* Effect.exit(Transaction.run(insert("c".repeat(41), 3))))).toBe("StatementFailed")
    })))

  it.effect("L14: nor one of a key of the same name that a trigger finds in another table; that beneath a view is named with its table", () =>
    inDatabase(Effect.gen(function*() {
      yield* table
      const sql = yield* SqlClient
      yield* sql`CREATE TABLE audit (no VARCHAR(40) PRIMARY KEY)`
      yield* sql`INSERT INTO audit VALUES ('a')`
      yield* sql`CREATE TRIGGER audited AFTER INSERT ON invoice FOR EACH ROW INSERT INTO audit VALUES (NEW.no)`
        .unprepared
      const exit = yield* Effect.exit(Transaction.run(insert("a", 1)))
      expect(failure(exit)).toMatchObject({ _tag: "DuplicateKey", key: "PRIMARY", table: "audit" })
      expect(yield* sql`SELECT no FROM invoice`).toEqual([])

      yield* Transaction.run(insert("b", 2))
      yield* sql`CREATE VIEW bill AS SELECT * FROM invoice`
      const throughView = (key: string) =>
        Transaction.run(IdempotentInsert.insert({ table: "bill", values: { no: "b", serial: 3, amount: 0 }, key }))
      expect(failure(yield* Effect.exit(throughView("PRIMARY")))).toMatchObject({ table: "invoice" })
      expect((yield* throughView("invoice.PRIMARY"))._tag).toBe("AlreadyExists")
    })))

  it.effect("L14: names of keys are compared as the server does; the generated id and the key are told", () =>
    inDatabase(Effect.gen(function*() {
      const sql = yield* SqlClient
      yield* sql`CREATE TABLE ticket (id INT PRIMARY KEY AUTO_INCREMENT, code VARBINARY(8), UNIQUE KEY ByCode (code))`
      const ticket = IdempotentInsert.insert({
        table: "ticket",
        values: { code: new Uint8Array([0xff, 0, 0x80]) },
        key: "BYCODE"
      })
      expect(yield* Transaction.run(ticket)).toEqual(new IdempotentInsert.Inserted({ insertId: 1 }))
      expect(yield* Transaction.run(ticket)).toEqual(new IdempotentInsert.AlreadyExists({ key: "ByCode" }))
      expect(yield* sql`SELECT HEX(code) AS code FROM ticket`).toEqual([{ code: "FF0080" }])
    })))

  it.effect("L14: a table with a dot in its name, and one with a dot in the name of its key", () =>
    inDatabase(Effect.gen(function*() {
      const sql = yield* SqlClient
      for (const name of ["a.b", "PRIMARY.b"]) {
        yield* sql`CREATE TABLE ${sql.literal(`\`${name}\``)} (id INT PRIMARY KEY, n INT, UNIQUE KEY ${
          sql.literal("`k.1`")
        } (n))`
        const insert = (id: number, n: number, key: string) =>
          Transaction.run(IdempotentInsert.insert({ table: `\`${name}\``, values: { id, n }, key }))
        expect((yield* insert(1, 1, "PRIMARY"))._tag).toBe("Inserted")
        expect(yield* insert(1, 2, "primary")).toEqual(new IdempotentInsert.AlreadyExists({ key: "PRIMARY" }))
        expect(yield* insert(2, 1, "K.1")).toEqual(new IdempotentInsert.AlreadyExists({ key: "k.1" }))
        expect(tag(yield* Effect.exit(insert(2, 1, "PRIMARY")))).toBe("DuplicateKey")
      }
    })))

  it.effect("an id beyond 2^53 is generated: its digits are told, all of them", () =>
    inDatabase(Effect.gen(function*() {
      const sql = yield* SqlClient
      yield* sql`CREATE TABLE ticket (id BIGINT UNSIGNED PRIMARY KEY AUTO_INCREMENT, code INT)`
      const inserted = (code: number) =>
        Transaction.run(IdempotentInsert.insert({ table: "ticket", values: { code }, key: "PRIMARY" }))
      yield* sql`ALTER TABLE ticket AUTO_INCREMENT = 9007199254740991`
      expect(yield* inserted(1)).toEqual(new IdempotentInsert.Inserted({ insertId: 9007199254740991 }))
      expect(yield* inserted(2)).toEqual(new IdempotentInsert.Inserted({ insertId: "9007199254740992" }))
      expect(yield* inserted(3)).toEqual(new IdempotentInsert.Inserted({ insertId: "9007199254740993" }))
      expect(yield* sql`SELECT CAST(id AS CHAR) AS id FROM ticket WHERE code = 3`).toEqual([{ id: "9007199254740993" }])
    })))

  it.effect("L14: in whatever language the server speaks", () =>
    inDatabase(Effect.gen(function*() {
      yield* table
      const sql = yield* SqlClient
      for (const language of ["de_DE", "fr_FR", "ja_JP"]) {
        const tags = yield* Transaction.run(
          Effect.gen(function*() {
            yield* sql`SET lc_messages = ${sql.literal(`'${language}'`)}`
            return [yield* insert(language, 1), yield* insert(language, 2)].map((result) => result._tag)
          }).pipe(Effect.zipLeft(sql`DELETE FROM invoice`))
        )
        expect(tags).toEqual(["Inserted", "AlreadyExists"])
      }
    })))

  it.effect("L14: of many at a time exactly one inserts", () =>
    inDatabase(Effect.gen(function*() {
      yield* table
      const results = yield* Effect.all(
        Array.from({ length: 24 }, () => Transaction.run(insert("one", 1))),
        { concurrency: 8 }
      )
      expect(results.filter((result) => result._tag === "Inserted").length).toBe(1)
    })))
})
