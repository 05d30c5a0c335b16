import { MysqlClient } from "@effect/sql-mysql2/MysqlClient"
import { SqlClient } from "@effect/sql/SqlClient"
import { expect, layer } from "@effect/vitest"
import * as MysqlError from "@safesync/mysql/MysqlError"
import * as MysqlMetrics from "@safesync/mysql/MysqlMetrics"
import * as Occ from "@safesync/mysql/Occ"
import * as Transaction from "@safesync/mysql/Transaction"
import * as TransactionError from "@safesync/mysql/TransactionError"
import * as MysqlServer from "@safesync/testkit/MysqlServer"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Metric from "effect/Metric"
import * as Schedule from "effect/Schedule"
import { accounts, balances, defect, failure, inDatabase, outside, tag, throughProxy } from "./support.js"

const setBalance = (id: number, expected: number, balance: number) =>
  Occ.update({ table: "account", key: { id }, version: { column: "version", expected }, set: { balance } })

layer(MysqlServer.layer, { excludeTestServices: true })("Occ", (it) => {
  it.effect("L12: returns the new version, tells a conflict from a missing row", () =>
    inDatabase(Effect.gen(function*() {
      yield* accounts
      expect(yield* Transaction.run(setBalance(1, 0, 5))).toBe(1)
      const conflict = yield* Effect.exit(Transaction.run(setBalance(1, 0, 6)))
      expect(failure(conflict)).toMatchObject({ _tag: "VersionConflict", expected: 0, actual: 1 })
      expect(tag(yield* Effect.exit(Transaction.run(setBalance(9, 0, 6))))).toBe("RowMissing")
      expect(yield* balances).toEqual([5, 0, 0])
    })))

  it.effect("L12: the same values again are no conflict, and a stale snapshot does not hide one", () =>
    inDatabase(Effect.gen(function*() {
      yield* accounts
      const sql = yield* SqlClient
      expect(yield* Transaction.run(setBalance(1, 0, 0))).toBe(1)
      const exit = yield* Effect.exit(Transaction.run(
        Effect.gen(function*() {
          const [row] = yield* sql<{ version: number }>`SELECT version FROM account WHERE id = 1`
          // somebody else commits after this transaction's snapshot was taken
          yield* outside(Transaction.run(setBalance(1, row!.version, 9)))
          return row!.version
        }).pipe(Effect.flatMap((version) => setBalance(1, version, 7))),
        { isolation: "repeatable-read" }
      ))
      expect(failure(exit)).toMatchObject({ _tag: "VersionConflict", expected: 1, actual: 2 })
    })))

  it.effect("L12: columns may be reserved words and look like parameters; keys may be composite or null", () =>
    inDatabase(Effect.gen(function*() {
      const sql = yield* SqlClient
      yield* sql`CREATE TABLE ${sql("select")} (${sql("key")} INT, ${sql("part")} INT, ${sql("?")} VARCHAR(10),
        ${sql("version_expected")} INT, ${sql("rev")} INT, PRIMARY KEY (${sql("key")}, ${sql("part")}))`
      yield* sql`INSERT INTO ${sql("select")} VALUES (1, 1, 'a', 1, 0), (1, 2, 'b', 2, 0)`
      yield* Transaction.run(Occ.update({
        table: "select",
        key: { key: 1, part: 2 },
        version: { column: "rev", expected: 0 },
        set: { "?": "c", version_expected: 9 }
      }))
      const rows = yield* sql`SELECT ${sql("?")} AS v, version_expected AS e, rev FROM ${sql("select")} ORDER BY part`
      expect(rows).toEqual([{ v: "a", e: 1, rev: 0 }, { v: "c", e: 9, rev: 1 }])
    })))

  it.effect("L12: the version column cannot be set, not even in another case", () =>
    inDatabase(Effect.gen(function*() {
      const exit = yield* Effect.exit(Transaction.run(Effect.suspend(() =>
        Occ.update({
          table: "account",
          key: { id: 1 },
          version: { column: "version", expected: 0 },
          set: { VERSION: 7 }
        })
      )))
      expect(String(defect(exit))).toMatch(/set by Occ.update alone/)
    })))

  it.effect("L12: a key that is none is refused: with the version in it, of several rows, or where the version is NULL", () =>
    inDatabase(Effect.gen(function*() {
      yield* accounts
      const sql = yield* SqlClient
      yield* sql`ALTER TABLE account ADD COLUMN kind INT NOT NULL DEFAULT 1, ADD COLUMN rev INT`
      const version = { column: "version", expected: 0 } as const
      const update = (options: { readonly key: Record<string, number>; readonly version?: string }) =>
        Effect.exit(Transaction.run(Occ.update({
          table: "account",
          key: options.key,
          version: { ...version, column: options.version ?? "version" },
          set: { balance: 7 }
        })))
      expect(String(defect(yield* update({ key: { id: 1, VERSION: 3 } })))).toMatch(/compared by Occ.update alone/)
      expect(String(defect(yield* update({ key: { kind: 1 } })))).toMatch(/matched 3 rows of account/)
      expect(String(defect(yield* update({ key: { id: 1 }, version: "rev" })))).toMatch(/rev of account holds NULL/)
      expect(yield* balances).toEqual([0, 0, 0])
    })))

  it.effect("L12: the new version is one more than the one that was read, in digits too, and what the row has", () =>
    inDatabase(Effect.gen(function*() {
      const sql = yield* SqlClient
      for (
        const [type, expected, next] of [
          ["INT", 5, 6],
          ["BIGINT", "5", "6"],
          ["BIGINT", "-1", "0"],
          ["BIGINT", "9007199254740993", "9007199254740994"],
          ["BIGINT UNSIGNED", "18446744073709551614", "18446744073709551615"],
          ["DECIMAL(30, 0)", "999999999999999999999", "1000000000000000000000"],
          ["DECIMAL(10, 2)", "5.50", "6.50"],
          ["DECIMAL(10, 2)", "-0.50", "0.50"],
          ["DECIMAL(10, 1)", 5.5, 6.5],
          ["DOUBLE", 5, 6],
          ["VARCHAR(20)", "9", "10"],
          ["INT(6) ZEROFILL", 5, 6]
        ] as const
      ) {
        yield* sql.unsafe(`CREATE TABLE v (id INT PRIMARY KEY, version ${type} NOT NULL)`)
        yield* sql`INSERT INTO v VALUES (1, ${expected})`
        const update = (expected: Occ.Version) =>
          Transaction.run(Occ.update({ table: "v", key: { id: 1 }, version: { column: "version", expected }, set: {} }))
        const got = yield* update(expected)
        expect([type, got]).toEqual([type, next])
        const [row] = yield* sql<{ version: unknown }>`SELECT CAST(version + 0 AS CHAR) AS version FROM v`
        expect([type, row!.version]).toEqual([type, String(next)])
        const conflict = failure(yield* Effect.exit(update(expected)))
        expect(conflict).toMatchObject({ _tag: "VersionConflict", expected, actual: next })
        yield* sql`DROP TABLE v`
      }
    })))

  it.effect("L12: digits that the pool reads as text are no conflict and no other number", () =>
    inDatabase(
      Effect.gen(function*() {
        const sql = yield* SqlClient
        yield* sql`CREATE TABLE v (id INT PRIMARY KEY, n INT NOT NULL, version BIGINT NOT NULL)`
        yield* sql`INSERT INTO v VALUES (1, 0, 5)`
        const increment = Effect.gen(function*() {
          const [row] = yield* sql<{ n: number; version: string }>`SELECT n, version FROM v`
          expect(typeof row!.version).toBe("string")
          return yield* Occ.update({
            table: "v",
            key: { id: 1 },
            version: { column: "version", expected: row!.version },
            set: { n: row!.n + 1 }
          })
        }).pipe(Transaction.run(), Occ.retry(Schedule.recurs(200)))
        const versions = yield* Effect.all(Array.from({ length: 20 }, () => increment), { concurrency: 4 })
        expect([...versions].sort((a, b) => Number(a) - Number(b))).toEqual(
          Array.from({ length: 20 }, (_, i) => `${i + 6}`)
        )
        expect(yield* sql`SELECT n, version FROM v`).toEqual([{ n: 20, version: "25" }])
      }),
      { poolConfig: { bigNumberStrings: true } }
    ))

  it.effect("L12: a version that the row cannot take is a defect, and nothing of the transaction is committed", () =>
    inDatabase(
      Effect.gen(function*() {
        const sql = yield* SqlClient
        // As an application has it that sets its sessions so: the pool is this one connection.
        yield* sql`SET SESSION sql_mode = ''`
        for (
          const [type, full, trigger] of [
            ["TINYINT UNSIGNED", 255, undefined],
            ["BIGINT", "9223372036854775807", undefined],
            ["DECIMAL(3, 0)", 999, undefined],
            ["FLOAT", 16_777_216, undefined],
            ["DOUBLE", "9007199254740992", undefined],
            ["VARCHAR(1)", 9, undefined],
            ["INT", 5, "SET NEW.version = OLD.version"],
            ["INT", 5, "SET NEW.version = NEW.version + 1"]
          ] as const
        ) {
          yield* sql.unsafe(`CREATE TABLE v (id INT PRIMARY KEY, n INT NOT NULL, version ${type} NOT NULL)`)
          yield* sql`INSERT INTO v VALUES (1, 0, ${full})`
          if (trigger !== undefined) {
            yield* sql.unsafe(`CREATE TRIGGER bump BEFORE UPDATE ON v FOR EACH ROW ${trigger}`).unprepared
          }
          const exit = yield* Effect.exit(Transaction.run(
            Occ.update({ table: "v", key: { id: 1 }, version: { column: "version", expected: full }, set: { n: 1 } })
          ))
          expect([type, String(defect(exit))]).toEqual([type, expect.stringMatching(/version of v did not become/)])
          expect([type, yield* sql`SELECT n FROM v`]).toEqual([type, [{ n: 0 }]])
          yield* sql`DROP TABLE v`
        }
      }),
      { maxConnections: 1 }
    ))

  it.effect("L12: a version that no number or no digits hold is refused before anything is sent", () =>
    inDatabase(Effect.gen(function*() {
      yield* accounts
      for (const expected of [Number.MAX_SAFE_INTEGER, 2 ** 53, NaN, Infinity, "", "five", "1e3", "5 OR 1"]) {
        const exits = yield* Effect.forEach(
          [Occ.update, Occ.tryUpdate] as const,
          (update) =>
            Effect.exit(Transaction.run<number | string, unknown, never>(
              update({
                table: "account",
                key: { id: 1 },
                version: { column: "version", expected },
                set: { balance: 1 }
              }) as never
            ))
        )
        for (const exit of exits) expect(String(defect(exit))).toMatch(/no number that one can be added to/)
      }
      expect(yield* balances).toEqual([0, 0, 0])
    })))

  it.effect("L12: columns of the key may be set", () =>
    inDatabase(Effect.gen(function*() {
      yield* accounts
      const move = (id: number, to: number, expected: number) =>
        Transaction.run(
          Occ.update({
            table: "account",
            key: { id },
            version: { column: "version", expected },
            set: { ID: to, balance: 4 }
          })
        )
      expect(yield* move(1, 8, 0)).toBe(1)
      expect(yield* balances).toEqual([0, 0, 4])
      expect(failure(yield* Effect.exit(move(8, 9, 0)))).toMatchObject({ _tag: "VersionConflict", actual: 1 })
      expect(tag(yield* Effect.exit(move(1, 9, 0)))).toBe("RowMissing")
    })))

  it.effect("L12: it takes one round trip, and none more for a conflict", () =>
    inDatabase(Effect.gen(function*() {
      yield* accounts
      yield* throughProxy((proxy) =>
        Effect.gen(function*() {
          const sql = yield* SqlClient
          const trips = (expected: number) =>
            Effect.exit(Transaction.run(Effect.gen(function*() {
              yield* sql`SELECT version FROM account WHERE id = ${1}`
              const before = (yield* proxy.counters).roundTrips
              const exit = yield* Effect.exit(setBalance(1, expected, 1))
              return [tag(exit), (yield* proxy.counters).roundTrips - before]
            })))
          yield* trips(0)
          expect(yield* trips(1)).toMatchObject({ value: [undefined, 1] })
          expect(yield* trips(1)).toMatchObject({ value: ["VersionConflict", 1] })
        })
      )
    })))

  it.effect("L13: retry by the caller's schedule loses no update", () =>
    inDatabase(Effect.gen(function*() {
      yield* accounts
      const sql = yield* SqlClient
      let attempts = 0
      const increment = Effect.gen(function*() {
        attempts++
        const [row] = yield* sql<{ balance: number; version: number }>`SELECT * FROM account WHERE id = 1`
        yield* setBalance(1, row!.version, row!.balance + 1)
      }).pipe(
        Transaction.run(),
        Occ.retry(Schedule.intersect(Schedule.jittered(Schedule.spaced("3 millis")), Schedule.recurs(500)))
      )
      yield* Effect.all(Array.from({ length: 40 }, () => increment), { concurrency: 6 })
      expect(yield* balances).toEqual([40, 0, 0])
      expect(attempts).toBeGreaterThan(40)
    })))

  it.effect("L12: values may be bytes and null, a conflict is counted for its table", () =>
    inDatabase(Effect.gen(function*() {
      const sql = yield* SqlClient
      yield* sql`CREATE TABLE blob_of (id VARBINARY(4) PRIMARY KEY, data VARBINARY(8), note TEXT, version INT NOT NULL)`
      const id = new Uint8Array([0xfe, 0xff])
      yield* sql`INSERT INTO blob_of VALUES (${Buffer.from(id)}, NULL, 'x', 4)`
      const write = Occ.update({
        table: "blob_of",
        key: { id },
        version: { column: "version", expected: 4 },
        set: { data: new Uint8Array([0x80, 0]), note: null }
      }).pipe(Transaction.run())
      const conflicts = Effect.map(
        Metric.value(Metric.tagged(MysqlMetrics.occConflicts, "table", "blob_of")),
        ({ count }) => count
      )
      expect(yield* write).toBe(5)
      expect(yield* sql`SELECT HEX(data) AS data, note, version FROM blob_of`).toEqual([
        { data: "8000", note: null, version: 5 }
      ])
      expect(yield* conflicts).toBe(0)
      expect(tag(yield* Effect.exit(write))).toBe("VersionConflict")
      expect(yield* conflicts).toBe(1)
    })))

  it.effect("L12: a table with a dot in its name stands in backticks, and is the one that is written", () =>
    inDatabase(Effect.gen(function*() {
      const sql = yield* SqlClient
      yield* sql`CREATE TABLE ${sql.literal("`a.b`")} (id INT PRIMARY KEY, n INT, version INT NOT NULL)`
      yield* sql`INSERT INTO ${sql.literal("`a.b`")} VALUES (1, 0, 0)`
      const { database } = (yield* MysqlClient).config
      const set = (table: string, expected: number) =>
        Occ.update({ table, key: { id: 1 }, version: { column: "version", expected }, set: { n: expected } })
      const versions = yield* Transaction.run(Effect.all([set("`a.b`", 0), set(`${database}.\`a.b\``, 1)]))
      expect(versions).toEqual([1, 2])
      expect(tag(yield* Effect.exit(Transaction.run(set("`a.b`", 1))))).toBe("VersionConflict")
      const written = (table: string) =>
        MysqlMetrics.writes.unsafeValue(
          MysqlMetrics.labels({ table, op_type: "update", status: "success" })
        ).count
      expect([written("a.b"), written("b")]).toEqual([2, 0])
    })))

  it.effect("L12: the version column among values whose names the compiler does not know is a defect", () =>
    inDatabase(Effect.gen(function*() {
      yield* accounts
      const write = (key: Record<string, number>, set: Record<string, number>) =>
        Effect.exit(Transaction.run(
          Occ.update({ table: "account", key, version: { column: "version", expected: 0 }, set })
        ))
      expect(String(defect(yield* write({ id: 1 }, { version: 7 })))).toContain("is set by Occ.update alone")
      expect(String(defect(yield* write({ id: 1, version: 0 }, { balance: 7 })))).toContain("is compared by")
      expect(yield* write({ id: 1 }, { balance: 7 })).toEqual(Exit.succeed(1))
    })))

  it.effect("L13: what is retried: VersionConflict, Deadlock, LockWaitTimeout, and nothing else", () =>
    Effect.gen(function*() {
      const error = (errno: number) => MysqlError.fromDriver({ errno })
      const conflict = new Occ.VersionConflict({ table: "t", expected: 1, actual: 2 })
      const attempts = (failure: unknown) => {
        let n = 0
        const attempt = Effect.suspend(() => {
          n++
          return Effect.fail(failure)
        })
        return Effect.map(Effect.exit(Occ.retry(attempt, Schedule.recurs(2))), () => n)
      }
      const refused = (errno: number) => new TransactionError.CommitFailed({ connectionId: 1, cause: error(errno) })
      // a member of a group that was late says so at COMMIT
      for (const failure of [conflict, error(1213), error(1205), refused(3101)]) {
        expect(yield* attempts(failure)).toBe(3)
      }
      for (
        const failure of [
          new Occ.RowMissing({ table: "t" }),
          refused(1290),
          error(3572),
          error(2013),
          error(1062),
          "mine"
        ]
      ) {
        expect(yield* attempts(failure)).toBe(1)
      }
    }))

  it.effect("L13: only conflicts, deadlocks and lock wait timeouts are retried", () =>
    inDatabase(Effect.gen(function*() {
      yield* accounts
      let attempts = 0
      const attempt = Effect.suspend(() => {
        attempts++
        return setBalance(9, 0, 1)
      }).pipe(Transaction.run(), Occ.retry(Schedule.recurs(5)))
      expect(tag(yield* Effect.exit(attempt))).toBe("RowMissing")
      expect(attempts).toBe(1)
    })))
})
