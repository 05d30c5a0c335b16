import { SqlClient } from "@effect/sql/SqlClient"
import { expect, layer } from "@effect/vitest"
import * as Rows from "@safesync/mysql/Rows"
import * as Transaction from "@safesync/mysql/Transaction"
import * as MysqlServer from "@safesync/testkit/MysqlServer"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { accounts, defect, failure, inDatabase, tag } from "./support.js"

const ids = (from: number) =>
  Effect.flatMap(SqlClient, (sql) => sql<{ id: number }>`SELECT id FROM account WHERE id >= ${from} ORDER BY id`)

layer(MysqlServer.layer, { excludeTestServices: true })("Rows", (it) => {
  it.effect("one row is read; no row and several rows are failures that tell how many came", () =>
    inDatabase(Effect.gen(function*() {
      yield* accounts
      expect(yield* Rows.one(ids(3))).toEqual({ id: 3 })
      expect(tag(yield* Effect.exit(Rows.one(ids(4))))).toBe("NoRow")
      expect(failure(yield* Effect.exit(Rows.one(ids(2))))).toMatchObject({ _tag: "TooManyRows", found: 2 })
    })))

  it.effect("a row that may be missing is an Option; several rows are a failure", () =>
    inDatabase(Effect.gen(function*() {
      yield* accounts
      expect(yield* Rows.oneOrNone(ids(3))).toEqual(Option.some({ id: 3 }))
      expect(yield* Rows.oneOrNone(ids(4))).toEqual(Option.none())
      expect(tag(yield* Effect.exit(Rows.oneOrNone(ids(1))))).toBe("TooManyRows")
    })))

  it.effect("a scalar is the value of the only column; NULL is a value; a second column is a defect", () =>
    inDatabase(Effect.gen(function*() {
      yield* accounts
      const sql = yield* SqlClient
      const count = yield* Rows.scalar(sql<{ n: number }>`SELECT COUNT(*) AS n FROM account`)
      expect(count + 1).toBe(4)
      expect(yield* Rows.scalar(sql<{ most: number | null }>`SELECT MAX(id) AS most FROM account WHERE id > 9`))
        .toBeNull()
      expect(tag(yield* Effect.exit(Rows.scalar(ids(4))))).toBe("NoRow")
      expect(tag(yield* Effect.exit(Rows.scalar(ids(2))))).toBe("TooManyRows")
      const two = yield* Effect.exit(Rows.scalar(sql`SELECT id, balance FROM account WHERE id = 1`))
      expect(String(defect(two))).toContain("one column")
    })))

  it.effect("affected rows are those that the condition matched, inside a transaction and outside; rows are a defect", () =>
    inDatabase(Effect.gen(function*() {
      yield* accounts
      const sql = yield* SqlClient
      const update = Rows.affected(sql`UPDATE account SET balance = 0 WHERE id >= 2`)
      expect(yield* update).toBe(2)
      expect(yield* Transaction.run(update)).toBe(2)
      expect(yield* Rows.affected(sql`DELETE FROM account WHERE id = 9`)).toBe(0)
      expect(String(defect(yield* Effect.exit(Rows.affected(sql`SELECT 1`))))).toContain("answered rows")
    })))
})
