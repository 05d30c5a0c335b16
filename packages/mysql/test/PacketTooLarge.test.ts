import { SqlClient } from "@effect/sql/SqlClient"
import { expect, layer } from "@effect/vitest"
import * as IdempotentInsert from "@safesync/mysql/IdempotentInsert"
import * as MysqlError from "@safesync/mysql/MysqlError"
import * as Occ from "@safesync/mysql/Occ"
import * as Outbox from "@safesync/mysql/Outbox"
import * as RowLock from "@safesync/mysql/RowLock"
import * as Transaction from "@safesync/mysql/Transaction"
import * as MysqlServer from "@safesync/testkit/MysqlServer"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { inDatabase } from "./support.js"

const limit = 1_048_576

const long = "x".repeat(limit + 1_000)
const bytes = Buffer.alloc(limit + 1_000, 1)

const prepared = Effect.flatMap(
  SqlClient,
  (sql) =>
    Effect.zipRight(
      Outbox.migration,
      sql`CREATE TABLE file (id INT PRIMARY KEY, name TEXT, version INT NOT NULL DEFAULT 1, content LONGBLOB)`
    )
)

/** Ways to send a value of more than a megabyte. */
const ways: Record<string, (sql: SqlClient) => Effect.Effect<unknown, unknown, Transaction.Transaction | SqlClient>> = {
  "a text": (sql) => sql`INSERT INTO file (id, content) VALUES (2, ${long})`,
  "many values, none of them too large": (sql) => {
    const third = long.slice(0, limit / 3 + 100)
    return sql`INSERT INTO file (id, content) VALUES (2, ${third}), (3, ${third}), (4, ${third})`
  },
  "characters of several bytes": (sql) =>
    sql`INSERT INTO file (id, content) VALUES (2, ${"€".repeat(limit / 3 + 100)})`,
  "many short texts of characters of several bytes": (sql) =>
    sql`INSERT INTO file ${
      sql.insert(Array.from({ length: 30 }, (_, i) => ({ id: i + 10, content: "€".repeat(15_000) })))
    }`,
  "characters that are escaped": (sql) =>
    sql`INSERT INTO file (id, content) VALUES (2, ${"'".repeat(700_000)})`.unprepared,
  "a stream of characters that are escaped": (sql) =>
    Stream.runDrain(sql`SELECT id FROM file WHERE content = ${"'".repeat(700_000)}`.stream),
  "bytes": (sql) => sql`INSERT INTO file (id, content) VALUES (2, ${bytes})`,
  "bytes that are sent as digits": (sql) =>
    sql`INSERT INTO file (id, content) VALUES (2, ${bytes.subarray(0, 700_000)})`.unprepared,
  "a text that is not prepared": (sql) => sql`INSERT INTO file (id, content) VALUES (2, ${long})`.unprepared,
  "a statement without values": (sql) => sql.unsafe(`INSERT INTO file (id, content) VALUES (2, '${long}')`).unprepared,
  "values": (sql) => sql`SELECT id FROM file WHERE content = ${long}`.values,
  "a stream": (sql) => Stream.runDrain(sql`SELECT id FROM file WHERE content = ${long}`.stream),
  "Outbox.append": () => Outbox.append({ stream: "files", schema: Schema.String, value: long }),
  "IdempotentInsert": () =>
    IdempotentInsert.insert({ table: "file", values: { id: 2, content: long }, key: "PRIMARY" }),
  "Occ.update": () =>
    Occ.update({ table: "file", key: { id: 1 }, version: { column: "version", expected: 1 }, set: { content: long } }),
  "RowLock": () => RowLock.forUpdate({ table: "file", where: { content: long }, wait: "nowait" })
}

layer(MysqlServer.layerOwn({ args: [`--max-allowed-packet=${limit}`] }), { excludeTestServices: true })(
  "PacketTooLarge",
  (it) => {
    for (const [name, way] of Object.entries(ways)) {
      for (const first of [true, false]) {
        const place = first ? "as the first statement" : "later"
        it.effect(`L6: what exceeds max_allowed_packet says so, with both sizes, and the transaction goes on: ${name}, ${place}`, () =>
          inDatabase(Effect.gen(function*() {
            yield* prepared
            const sql = yield* SqlClient
            yield* sql`INSERT INTO file (id, name) VALUES (1, 'before')`
            const error = yield* Transaction.run(Effect.gen(function*() {
              if (!first) yield* sql`UPDATE file SET name = 'first' WHERE id = 1`
              const error = yield* Effect.flip(MysqlError.refail(way(sql)))
              yield* sql`UPDATE file SET name = 'after' WHERE id = 1`
              return error
            }))
            expect(error).toMatchObject({ _tag: "PacketTooLarge", limit, size: expect.any(Number) })
            expect((error as MysqlError.PacketTooLarge).size).toBeGreaterThanOrEqual(limit)
            expect((error as MysqlError.PacketTooLarge).message).toMatch(
              /too large: \d+ bytes, where the server takes 1048576/
            )
            expect(yield* sql`SELECT id, name FROM file`).toEqual([{ id: 1, name: "after" }])
          })))
      }
    }

    it.effect("what just fits is written", () =>
      inDatabase(Effect.gen(function*() {
        yield* prepared
        const sql = yield* SqlClient
        yield* Transaction.run(sql`INSERT INTO file (id, content) VALUES (1, ${bytes.subarray(0, limit - 100)})`)
        yield* Transaction.run(Effect.zipRight(
          sql`INSERT INTO file (id, content) VALUES (2, ${"é".repeat(limit / 2 - 50)})`,
          sql`INSERT INTO file (id, content) VALUES (3, ${bytes.subarray(0, limit / 2 - 100)})`.unprepared
        ))
        expect(yield* sql`SELECT LENGTH(content) AS n FROM file`).toEqual(
          [limit - 100, limit - 100, limit / 2 - 100].map((n) => ({ n }))
        )
      })))

    it.effect("the server is asked once for each connection, and only where a statement is large", () =>
      inDatabase(Effect.gen(function*() {
        yield* prepared
        const sql = yield* SqlClient
        const asked = Effect.map(
          sql<{ Value: string }>`SHOW SESSION STATUS LIKE 'Com_select'`,
          ([row]) => Number(row!.Value)
        )
        const write = (id: number, size: number) =>
          sql`INSERT INTO file (id, content) VALUES (${id}, ${bytes.subarray(0, size)})`
        const counts = yield* Transaction.run(
          Effect.all([asked, write(1, 60_000), asked, write(2, 100_000), write(3, 100_000), asked])
        )
        expect([counts[2] - counts[0], counts[5] - counts[2]]).toEqual([0, 1])
      })))
  }
)
