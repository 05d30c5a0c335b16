import { MysqlClient } from "@effect/sql-mysql2/MysqlClient"
import { SqlClient } from "@effect/sql/SqlClient"
import { expect, layer } from "@effect/vitest"
import * as IdempotentInsert from "@safesync/mysql/IdempotentInsert"
import * as RowLock from "@safesync/mysql/RowLock"
import * as Transaction from "@safesync/mysql/Transaction"
import * as MysqlServer from "@safesync/testkit/MysqlServer"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import { accounts, add, balances, defect, failure, holding, inDatabase, outside, tag } from "./support.js"

layer(MysqlServer.layer, { excludeTestServices: true })("RowLock", (it) => {
  it.effect("L9: read, compute, write under the lock loses no update", () =>
    inDatabase(Effect.gen(function*() {
      yield* accounts
      const sql = yield* SqlClient
      const increment = Transaction.run(Effect.gen(function*() {
        const row = Option.getOrThrow(yield* RowLock.forUpdate({ table: "account", where: { id: 1 } }))
        yield* sql`UPDATE account SET balance = ${Number(row["balance"]) + 1} WHERE id = 1`
      }))
      yield* Effect.all(Array.from({ length: 80 }, () => increment), { concurrency: 8 })
      expect(yield* balances).toEqual([80, 0, 0])
    })))

  it.effect("L9: returns the row as it is under the lock, none where there is none; null means IS NULL", () =>
    inDatabase(Effect.gen(function*() {
      yield* accounts
      const sql = yield* SqlClient
      yield* sql`CREATE TABLE ${sql("order")} (${sql("group")} INT PRIMARY KEY, ${sql("key")} INT NULL)`
      yield* sql`INSERT INTO ${sql("order")} VALUES (1, NULL), (2, 2)`
      yield* Transaction.run(Effect.gen(function*() {
        expect(yield* RowLock.forUpdate({ table: "account", where: { id: 9 } })).toEqual(Option.none())
        const row = yield* RowLock.forUpdate({ table: "order", where: { key: null } })
        expect(Option.map(row, (_) => _["group"])).toEqual(Option.some(1))
      }))
    })))

  it.effect("L9: a row that is to be the only one is refused where there are several", () =>
    inDatabase(Effect.gen(function*() {
      yield* accounts
      for (const lock of [RowLock.forUpdate, RowLock.forShare]) {
        const exit = yield* Effect.exit(
          Transaction.run(lock({ table: "account", where: { balance: 0 }, unique: true }))
        )
        expect(failure(exit)).toMatchObject({ _tag: "TooManyRows", found: 3 })
        const one = yield* Transaction.run(lock({ table: "account", where: { id: 2 }, unique: true }))
        expect(Option.map(one, (row) => row["id"])).toEqual(Option.some(2))
        expect(Option.isSome(yield* Transaction.run(lock({ table: "account", where: { balance: 0 } })))).toBe(true)
      }
    })))

  it.effect("L9, L11: nowait, skip locked, and a wait bounded below one second", () =>
    inDatabase(Effect.gen(function*() {
      yield* accounts
      const holder = yield* holding(RowLock.forUpdate({ table: "account", where: { id: 1 } }))
      const lock = (wait: RowLock.Wait) =>
        Transaction.run(RowLock.forUpdate({ table: "account", where: { id: 1 }, wait }))
      expect(tag(yield* Effect.exit(lock("nowait")))).toBe("LockNotAvailable")
      expect(yield* lock("skip-locked")).toEqual(Option.none())
      const bounded = yield* Effect.exit(lock("200 millis"))
      expect(tag(bounded)).toBe("LockWaitTimeout")
      yield* holder.release
      expect(Option.isSome(yield* lock("wait"))).toBe(true)
    })))

  it.effect("L11: a bound of nothing at all, or of less than a millisecond, is a bound", () =>
    inDatabase(Effect.gen(function*() {
      yield* accounts
      const holder = yield* holding(RowLock.forUpdate({ table: "account", where: { id: 1 } }))
      for (const wait of [0, "10 micros"] as const) {
        const exit = yield* Effect.exit(
          Transaction.run(RowLock.forUpdate({ table: "account", where: { id: 1 }, wait }))
        )
        expect(tag(exit)).toBe("LockWaitTimeout")
      }
      yield* holder.release
    })))

  it.effect("all matching rows are locked and the first is returned", () =>
    inDatabase(Effect.gen(function*() {
      yield* accounts
      const sql = yield* SqlClient
      yield* Transaction.run(Effect.gen(function*() {
        const row = yield* RowLock.forUpdate({ table: "account", where: { balance: 0 } })
        expect(Option.map(row, (_) => _["id"])).toEqual(Option.some(1))
        const free = yield* outside(sql<{ id: number }>`SELECT id FROM account FOR UPDATE SKIP LOCKED`)
        expect(free).toEqual([])
      }))
    })))

  it.effect("statements are few, however many rows are locked at a time", () =>
    inDatabase(Effect.gen(function*() {
      yield* accounts
      const sql = yield* SqlClient
      yield* Transaction.run(Effect.gen(function*() {
        const { connectionId } = yield* Transaction.Transaction
        // the first statement is not prepared, since it travels with BEGIN
        yield* sql`DO 0`
        for (let n = 1; n <= 9; n++) {
          const values = Array.from({ length: n }, (_, i) => i + 1)
          const rows = yield* RowLock.forUpdateMany({ table: "account", key: "id", values })
          expect(rows.length).toBe(Math.min(n, 3))
        }
        const prepared = yield* outside(sql<{ text: string }>`
          SELECT SQL_TEXT AS text FROM performance_schema.prepared_statements_instances i
          JOIN performance_schema.threads t ON t.THREAD_ID = i.OWNER_THREAD_ID
          WHERE t.PROCESSLIST_ID = ${connectionId} AND SQL_TEXT LIKE '%ORDER BY%FOR UPDATE'`)
        expect(prepared.map(({ text }) => text.split("?").length - 1).sort((a, b) => a - b)).toEqual([1, 2, 4, 8, 16])
      }))
    })))

  it.effect("L9: shared locks go together, an exclusive one does not", () =>
    inDatabase(Effect.gen(function*() {
      yield* accounts
      const holder = yield* holding(RowLock.forShare({ table: "account", where: { id: 1 } }))
      const options = { table: "account", where: { id: 1 }, wait: "nowait" } as const
      expect(Option.isSome(yield* Transaction.run(RowLock.forShare(options)))).toBe(true)
      expect(tag(yield* Effect.exit(Transaction.run(RowLock.forUpdate(options))))).toBe("LockNotAvailable")
      yield* holder.release
    })))

  it.effect("L9: several rows are locked in the key's order: crosswise callers do not deadlock", () =>
    inDatabase(Effect.gen(function*() {
      yield* accounts
      const transfer = (values: ReadonlyArray<number>) =>
        Transaction.run(Effect.gen(function*() {
          const rows = yield* RowLock.forUpdateMany({ table: "account", key: "id", values })
          expect(rows.map((row) => row["id"])).toEqual([1, 2, 3])
          yield* Effect.forEach(values, (id) => add(id, 1))
        }))
      yield* Effect.all(
        Array.from({ length: 30 }, (_, i) => transfer(i % 2 === 0 ? [1, 2, 3] : [3, 2, 1])),
        { concurrency: 6 }
      )
      expect(yield* balances).toEqual([30, 30, 30])
    })))

  it.effect("L9: a composite key: rows in the key's order, those that exist, no lock on any other", () =>
    inDatabase(Effect.gen(function*() {
      const sql = yield* SqlClient
      yield* sql`CREATE TABLE line (invoice VARCHAR(9), no INT, pence INT NOT NULL DEFAULT 0, PRIMARY KEY (invoice, no))`
      yield* Effect.forEach(
        ["a", "b", "c"],
        (invoice) => sql`INSERT INTO line (invoice, no) VALUES (${invoice}, 1), (${invoice}, 2), (${invoice}, 3)`
      )
      const rows = yield* Transaction.run(Effect.gen(function*() {
        const rows = yield* RowLock.forUpdateMany({
          table: "line",
          key: ["invoice", "no"],
          values: [{ no: 3, invoice: "b" }, { invoice: "b", no: 1 }, { invoice: "a", no: 2 }, { invoice: "x", no: 1 }, {
            invoice: "b",
            no: 1
          }]
        })
        const locked = yield* outside(sql<{ row: string }>`
          SELECT LOCK_DATA AS ${sql("row")} FROM performance_schema.data_locks
          WHERE OBJECT_SCHEMA = DATABASE() AND LOCK_MODE = 'X,REC_NOT_GAP' ORDER BY LOCK_DATA`)
        expect(locked.map(({ row }) => row)).toEqual(["'a', 2", "'b', 1", "'b', 3"])
        return rows
      }))
      expect(rows.map((row) => [row["invoice"], row["no"]])).toEqual([["a", 2], ["b", 1], ["b", 3]])
    })))

  it.effect("L9: composite keys: crosswise callers do not deadlock", () =>
    inDatabase(Effect.gen(function*() {
      const sql = yield* SqlClient
      yield* sql`CREATE TABLE line (invoice INT, no INT, n INT NOT NULL DEFAULT 0, PRIMARY KEY (invoice, no))`
      yield* sql`INSERT INTO line (invoice, no) VALUES (1, 1), (1, 2), (2, 1)`
      const values = [{ invoice: 1, no: 1 }, { invoice: 1, no: 2 }, { invoice: 2, no: 1 }]
      const add = (values: ReadonlyArray<{ readonly invoice: number; readonly no: number }>) =>
        Transaction.run(
          Effect.zipRight(
            RowLock.forUpdateMany({ table: "line", key: ["invoice", "no"], values }),
            sql`UPDATE line SET n = n + 1`
          )
        )
      yield* Effect.all(
        Array.from({ length: 30 }, (_, i) => add(i % 2 === 0 ? values : [...values].reverse())),
        { concurrency: 6 }
      )
      expect(yield* sql`SELECT n FROM line`).toEqual([{ n: 30 }, { n: 30 }, { n: 30 }])
    })))

  it.effect("L9: keys may be bytes of any kind, dates and large numbers; no values lock nothing", () =>
    inDatabase(Effect.gen(function*() {
      const sql = yield* SqlClient
      const bytes = new Uint8Array([0, 0xff, 0xfe, 0x80, 9]).subarray(1, 4)
      const when = new Date("2024-02-29T12:00:00.000Z")
      yield* sql`CREATE TABLE thing (id VARBINARY(16), at DATETIME, n BIGINT UNSIGNED, PRIMARY KEY (id, at, n))`
      yield* Transaction.run(
        IdempotentInsert.insert({ table: "thing", values: { id: bytes, at: when, n: 2n ** 63n + 1n }, key: "PRIMARY" })
      )
      const [many, one, none] = yield* Transaction.run(Effect.all([
        RowLock.forUpdateMany({
          table: "thing",
          key: ["id", "at", "n"],
          values: [{ id: bytes, at: when, n: 2n ** 63n + 1n }]
        }),
        RowLock.forUpdate({ table: "thing", where: { id: bytes, at: when } }),
        RowLock.forUpdateMany({ table: "thing", key: "id", values: [] })
      ]))
      expect(many).toEqual([{ id: Buffer.from(bytes), at: when, n: "9223372036854775809" }])
      expect(Option.toArray(one)).toEqual(many)
      expect(none).toEqual([])
    })))

  it.effect("L9: a table with a dot in its name stands in backticks", () =>
    inDatabase(Effect.gen(function*() {
      const sql = yield* SqlClient
      yield* sql`CREATE TABLE ${sql.literal("`a.b`")} (id INT PRIMARY KEY)`
      yield* sql`INSERT INTO ${sql.literal("`a.b`")} VALUES (1)`
      const { database } = (yield* MysqlClient).config
      const rows = yield* Transaction.run(Effect.all([
        RowLock.forUpdate({ table: "`a.b`", where: { id: 1 } }),
        RowLock.forShare({ table: `${database}.\`a.b\``, where: { id: 1 } }),
        RowLock.forUpdateMany({ table: "`a.b`", key: "id", values: [1] }).pipe(
          Effect.map(([row]) => Option.fromNullable(row))
        )
      ]))
      expect(rows).toEqual(Array(3).fill(Option.some({ id: 1 })))
    })))

  it.effect("a schema decodes the row; one that does not fit is MalformedRow, which tells no value, and stays locked", () =>
    inDatabase(Effect.gen(function*() {
      const sql = yield* SqlClient
      yield* sql`CREATE TABLE person (id INT PRIMARY KEY, born DATETIME, name VARCHAR(20), note TEXT)`
      yield* sql`INSERT INTO person VALUES (1, '2000-01-01', 'Ann', ''), (2, NULL, 's3cret', '')`
      const Person = Schema.Struct({ id: Schema.Int, name: Schema.NonEmptyString, born: Schema.ValidDateFromSelf })
      const options = { table: "person", wait: "nowait", schema: Person } as const
      const ann: typeof Person.Type = { id: 1, name: "Ann", born: new Date(2000, 0, 1) }
      const [exclusive, shared, several, missing] = yield* Transaction.run(Effect.all([
        RowLock.forUpdate({ ...options, where: { id: 1 } }),
        RowLock.forShare({ ...options, where: { id: 1 } }),
        RowLock.forUpdateMany({ ...options, key: "id", values: [1] }),
        RowLock.forUpdate({ ...options, where: { id: 3 } })
      ]))
      expect(exclusive).toEqual(Option.some(ann))
      expect(shared).toEqual(Option.some(ann))
      expect(several).toEqual([ann])
      expect(missing).toEqual(Option.none())

      yield* Transaction.run(Effect.gen(function*() {
        const Other = Schema.Struct({ ...Person.fields, name: Schema.Literal("Ann"), more: Schema.Int })
        const malformed = yield* Effect.exit(
          RowLock.forUpdateMany({ ...options, schema: Other, key: "id", values: [2] })
        )
        expect(failure(malformed)).toMatchObject({ _tag: "MalformedRow", table: "person" })
        expect(failure(malformed)!.message).toBe(
          "A row of person does not fit the schema: Type at name, Type at born, Missing at more"
        )
        const every = yield* Effect.exit(RowLock.forShare({ ...options, schema: Schema.Never, where: { id: 2 } }))
        expect(failure(every)!.message).toBe("A row of person does not fit the schema: Type at its root")
        expect(String(malformed) + JSON.stringify(malformed)).not.toContain("s3cret")
        const locked = Transaction.run(RowLock.forUpdate({ table: "person", where: { id: 2 }, wait: "nowait" }))
        expect(tag(yield* Effect.exit(outside(locked)))).toBe("LockNotAvailable")
      }))
    })))

  it.effect("an empty condition is refused", () =>
    inDatabase(Effect.gen(function*() {
      const where = {} as { id: number }
      expect(String(defect(
        yield* Effect.exit(
          Transaction.run(Effect.suspend(() => RowLock.forUpdate({ table: "account", where })))
        )
      ))).toMatch(/every row/)
    })))

  it.effect("L9: each row of a composite key is found and locked, however the table is partitioned by a date", () =>
    inDatabase(Effect.gen(function*() {
      const sql = yield* SqlClient
      const byRange = "PARTITION a VALUES LESS THAN ('2024-01-02'), PARTITION b VALUES LESS THAN ('2024-01-03')"
      for (
        const [type, partitions] of [
          ["DATE", `BY RANGE COLUMNS (day) (${byRange}, PARTITION c VALUES LESS THAN (MAXVALUE))`],
          ["DATETIME", `BY RANGE COLUMNS (day) (${byRange}, PARTITION c VALUES LESS THAN (MAXVALUE))`],
          [
            "DATE",
            "BY RANGE COLUMNS (day, shop) (PARTITION a VALUES LESS THAN ('2024-01-02', 9), " +
            "PARTITION c VALUES LESS THAN (MAXVALUE, MAXVALUE))"
          ],
          [
            "DATE",
            `BY RANGE COLUMNS (day) SUBPARTITION BY KEY (shop) SUBPARTITIONS 2 (${byRange}, ` +
            "PARTITION c VALUES LESS THAN (MAXVALUE))"
          ],
          [
            "DATE",
            "BY LIST COLUMNS (day) (PARTITION a VALUES IN ('2024-01-01', '2024-01-03'), PARTITION b VALUES IN ('2024-01-02'))"
          ],
          [
            "DATE",
            "BY RANGE (TO_DAYS(day)) (PARTITION a VALUES LESS THAN (TO_DAYS('2024-01-02')), " +
            "PARTITION c VALUES LESS THAN MAXVALUE)"
          ],
          ["DATE", "BY HASH (TO_DAYS(day)) PARTITIONS 4"],
          ["DATE", "BY KEY (day) PARTITIONS 4"],
          [
            "TIMESTAMP",
            "BY RANGE (UNIX_TIMESTAMP(day)) (PARTITION a VALUES LESS THAN (UNIX_TIMESTAMP('2024-01-02')), " +
            "PARTITION c VALUES LESS THAN MAXVALUE)"
          ],
          ["DATE", ""]
        ] as const
      ) {
        yield* sql.unsafe(
          `CREATE TABLE takings (day ${type} NOT NULL, shop INT NOT NULL, PRIMARY KEY (day, shop))${
            partitions === "" ? "" : ` PARTITION ${partitions}`
          }`
        )
        yield* sql`INSERT INTO takings VALUES ('2024-01-01', 1), ('2024-01-02', 2), ('2024-01-03', 3), ('2024-01-03', 4)`
        // Of a handful of rows the server locks them all.
        yield* sql`INSERT INTO takings ${
          sql.insert(Array.from({ length: 300 }, (_, n) => ({ day: `2024-01-0${1 + n % 3}`, shop: 10 + n })))
        }`
        const read = yield* sql<{ day: Date; shop: number }>`SELECT day, shop FROM takings WHERE shop < 4 ORDER BY day`
        const texts = [1, 2, 3].map((n) => ({ day: `2024-01-0${n}`, shop: n }))
        for (const values of [read, texts, read.slice(1), read.slice(2)]) {
          const lock = RowLock.forUpdateMany({ table: "takings", key: ["day", "shop"], values })
          const held = yield* holding(lock)
          expect([type, partitions, held.got.map(({ shop }) => shop)]).toEqual([
            type,
            partitions,
            values.map(({ shop }) => shop)
          ])
          // They are locked, and no other is.
          const left = yield* Transaction.run(
            Effect.forEach([1, 2, 3, 4], (shop) =>
              RowLock.forUpdate({
                table: "takings",
                where: { shop, day: `2024-01-0${Math.min(shop, 3)}` },
                wait: "skip-locked"
              }))
          )
          expect(left.map(Option.isNone)).toEqual(
            [1, 2, 3, 4].map((shop) => values.some((value) => value.shop === shop))
          )
          yield* held.release
        }
        yield* sql`DROP TABLE takings`
      }
    })))

  it.effect("L9: thousands of rows of a composite key are locked, and no other", () =>
    inDatabase(Effect.gen(function*() {
      const sql = yield* SqlClient
      yield* sql`CREATE TABLE line (invoice VARCHAR(10), no INT, PRIMARY KEY (invoice, no))`
      const values = Array.from({ length: 5_000 }, (_, n) => ({ invoice: `i${n % 500}`, no: Math.floor(n / 500) }))
      yield* sql`INSERT INTO line ${sql.insert(values)}`
      const held = yield* holding(
        RowLock.forUpdateMany({ table: "line", key: ["invoice", "no"], values: values.slice(0, 4_000) })
      )
      expect(held.got.length).toBe(4_000)
      const left = yield* Transaction.run(
        sql`SELECT COUNT(*) AS n FROM (SELECT no FROM line FOR UPDATE SKIP LOCKED) AS free`
      )
      expect(left).toEqual([{ n: 1_000 }])
      yield* held.release
    })))
})
