// BEGIN goes in one packet with a plain statement that the connection has prepared before. It must mean what it means when it is
// bound, and nothing may come out of a value.
import * as Mysql2 from "@effect/sql-mysql2/MysqlClient"
import type { MysqlClient } from "@effect/sql-mysql2/MysqlClient"
import { SqlClient } from "@effect/sql/SqlClient"
import { expect, layer } from "@effect/vitest"
import * as RowLock from "@safesync/mysql/RowLock"
import * as Transaction from "@safesync/mysql/Transaction"
import * as MysqlServer from "@safesync/testkit/MysqlServer"
import * as Effect from "effect/Effect"
import * as FastCheck from "effect/FastCheck"
import * as Runtime from "effect/Runtime"
import { anotherClient, failure, inDatabase, tag, throughProxy } from "./support.js"

const tables = Effect.gen(function*() {
  const sql = yield* SqlClient
  yield* sql`CREATE TABLE thing (id INT PRIMARY KEY, tiny TINYINT, n BIGINT, u BIGINT UNSIGNED, price DECIMAL(30, 10), f FLOAT,
    name VARCHAR(300), words TEXT, doc JSON, at DATETIME(3), kind ENUM('a', 'b'), \`why?\` INT)`
  yield* sql`INSERT INTO thing VALUES (1, 1, 9007199254740991, 18446744073709551615, 12345678901234567890.1234567891, 0.1,
    'one', 'one', '{"a": 1}', '2020-01-01 00:00:00.5', 'a', 1), (2, 2, -5, 2, 2, 2, 'two', 'two', '2', '2020-01-02', 'b', 2)`
})

/** As `sql` is called: the parts of the text, and the values between them. */
const write = (...[text, ...values]: [TemplateStringsArray, ...Array<unknown>]) => ({ text: text.join("?"), values })

/** What a transaction answers whose only statement this is, and how often it went to the server. */
const asFirst = ({ text, values }: ReturnType<typeof write>) =>
  throughProxy((proxy) =>
    Effect.gen(function*() {
      const sql = yield* SqlClient
      const once = Transaction.run(sql.unsafe(text, values as Array<any>))
      const bound = yield* once
      const before = (yield* proxy.counters).roundTrips
      const again = yield* once
      return { bound, again, roundTrips: (yield* proxy.counters).roundTrips - before }
    })
  )

layer(MysqlServer.layer, { excludeTestServices: true })("the first statement of a transaction", (it) => {
  it.effect("travels with BEGIN where its values mean the same in its text as bound, and reads and writes the same", () =>
    inDatabase(Effect.gen(function*() {
      yield* tables
      for (
        const statement of [
          write`SELECT id, n, u, price, name FROM thing WHERE id = ${1}`,
          write`SELECT id FROM thing WHERE n = ${-5}`,
          write`SELECT id FROM thing WHERE name = ${"two"} AND id > ${0} ORDER BY id LIMIT ${5}`,
          write`SELECT id FROM thing WHERE id IN (${1}, ${2}) FOR UPDATE`,
          write`SELECT n + ${1} AS n, n / ${3} AS third, CONCAT(${"a b;--"}, name) AS name FROM thing WHERE id = ${1}`,
          write`SELECT id FROM thing LIMIT${1}`,
          write`UPDATE thing SET n = n - ${-1}, name = ${"left: 100 %"} WHERE id = ${2}`,
          write`UPDATE thing SET n = IF(n > ${7}, n -${-7}, n) WHERE id = ${2}`,
          write`INSERT INTO thing (id, name, n) VALUES (${3}, ${"three"}, ${null}) ON DUPLICATE KEY UPDATE n = n + ${1}`,
          write`UPDATE \`thing\` SET \`n\` = ${-3}, \`name\` = ${"left: 100 %"} WHERE \`id\` = ${2}`,
          write`REPLACE INTO thing (id, name) VALUES (${4}, ${""})`,
          write`DELETE FROM thing WHERE id = ${99} AND name <> ${"-- all"}`
        ]
      ) {
        const { again, bound, roundTrips } = yield* asFirst(statement)
        expect([statement.text, again, roundTrips]).toEqual([statement.text, bound, 2])
      }
      const sql = yield* SqlClient
      expect(yield* sql`SELECT n, name FROM thing WHERE id > 1 ORDER BY id`).toEqual([
        { n: -3, name: "left: 100 %" },
        { n: null, name: "three" },
        { n: null, name: "" }
      ])
    })))

  it.effect("is bound, a round trip more, where it might mean another thing", () =>
    inDatabase(Effect.gen(function*() {
      yield* tables
      for (
        const statement of [
          // Bound, a number is DOUBLE where the server asks for none; in a text it is what its digits are.
          write`SELECT price + ${1} AS price FROM thing WHERE id = ${1}`,
          write`UPDATE thing SET doc = JSON_SET(doc, "$.a", ${7}) WHERE id = ${1}`,
          write`UPDATE thing SET doc = JSON_OBJECT(name, ${7}) WHERE id = ${1}`,
          write`SELECT id FROM thing WHERE name = ${5}`,
          write`SELECT id FROM thing WHERE id = ${"1x"} OR kind = ${"b"}`,
          write`SELECT ${1} AS one`,
          write`SELECT id FROM thing WHERE n = ${0.5} OR n = ${2 ** 60} OR u = ${18446744073709551615n}`,
          write`SELECT id FROM thing WHERE name = ${"it's"} OR words = ${"back\\slash"} OR name = ${"a\nb"}`,
          write`SELECT id FROM thing WHERE name = ${"übrig"} OR name = ${"€"}`,
          write`SELECT id FROM thing WHERE name = ${"x".repeat(256)}`,
          write`SELECT id FROM thing WHERE at = ${"2020-01-02"} OR at = ${new Date(0)}`,
          write`SELECT id FROM thing WHERE tiny = ${true} OR name = ${Buffer.from("two")}`,
          // FLOAT has fewer digits as text, and JSON and DATETIME are the driver's to read.
          write`SELECT f, doc, at FROM thing WHERE id = ${1}`,
          // A question mark that is none.
          write`SELECT \`why?\` AS why FROM thing WHERE id = ${1}`,
          write`SELECT id FROM thing WHERE name = 'what?' OR id = ${1}`,
          write`SELECT id /* or? */ FROM thing WHERE id = ${1}`
        ]
      ) {
        const { again, bound, roundTrips } = yield* asFirst(statement)
        expect([statement.text, again, roundTrips]).toEqual([statement.text, bound, 3])
      }
    })))

  it.effect("is bound where the server makes another thing of a constant than of a value that it is given later", () =>
    inDatabase(Effect.gen(function*() {
      yield* tables
      const sql = yield* SqlClient
      yield* sql`CREATE TABLE made (id INT UNSIGNED PRIMARY KEY, u BIGINT UNSIGNED, price DECIMAL(20, 6), digits VARCHAR(30),
        bytes VARBINARY(9), padded INT(8) ZEROFILL)`
      yield* sql`INSERT INTO made VALUES (1, 18446744073709551615, 1.5, '', 'one', 7), (2, 2, 2, '', 'two', 8)`
      for (
        const statement of [
          // A column without a name of its own has the value in its name.
          write`SELECT n + ${1} FROM thing WHERE id = ${2}`,
          write`SELECT name, ${"one"} FROM thing`,
          // How many digits there are behind the point is known of a constant alone.
          write`SELECT ROUND(price, ${2}) AS price FROM made`,
          write`SELECT TRUNCATE (price, ${2}) AS price FROM made`,
          write`SELECT (1 + \`ROUND\`.a) AS a FROM (SELECT ROUND((price), (${1})) AS a FROM made) AS \`ROUND\``,
          write`UPDATE made SET digits = ROUND(price, ${1})`,
          // BIGINT UNSIGNED or a constant is DECIMAL, and a negative constant no value of it.
          write`SELECT COALESCE(u, ${0}) AS u FROM made`,
          write`SELECT GREATEST(u, ${0}) AS u FROM made`,
          write`SELECT CASE id WHEN 1 THEN ${5} ELSE u END AS u FROM made`,
          write`SELECT id - ${-1} AS id FROM made`,
          write`SELECT CASE u WHEN ${-1} THEN 1 ELSE 0 END AS found FROM made`,
          write`SELECT SUM(id + ${-1}) AS sum FROM made`,
          write`UPDATE made SET price = u / ${-1000000}`,
          write`SELECT NULLIF(${"one"}, bytes) AS text FROM made`,
          write`SELECT id FROM made WHERE bytes = ${"one"}`,
          write`SELECT padded AS text FROM made UNION SELECT ${"one"}`
        ]
      ) {
        const { again, bound, roundTrips } = yield* asFirst(statement)
        expect([statement.text, again, roundTrips]).toEqual([statement.text, bound, 3])
      }
      expect(yield* sql`SELECT price FROM made`).toEqual([{ price: "-18446744073709.550000" }, { price: "-0.000002" }])
    })))

  it.effect("is read again where its columns are others than when it was bound", () =>
    inDatabase(
      Effect.gen(function*() {
        yield* tables
        const sql = yield* SqlClient
        const read = Transaction.run(sql`SELECT n FROM thing WHERE id = ${2}`)
        expect(yield* read).toEqual([{ n: -5 }])
        yield* sql`ALTER TABLE thing MODIFY n DECIMAL(20, 2)`
        expect(yield* read).toEqual([{ n: "-5.00" }])
        yield* sql`ALTER TABLE thing MODIFY n FLOAT`
        expect(yield* read).toEqual([{ n: -5 }])
      }),
      { maxConnections: 1 }
    ))

  it.effect("is read as the pool's options say", () =>
    inDatabase(Effect.gen(function*() {
      yield* tables
      const read = Effect.flatMap(SqlClient, (sql) =>
        Effect.all([
          Transaction.run(sql`SELECT n, name FROM thing WHERE id = ${2}`),
          Transaction.run(sql`SELECT name FROM thing WHERE ${"two"} COLLATE utf8mb4_bin = name`)
        ]))
      for (
        const poolConfig of [
          { rowsAsArray: true },
          { typeCast: (_: unknown, next: () => unknown) => [next()] },
          { bigNumberStrings: true },
          { nestTables: true },
          { charset: "LATIN1_SWEDISH_CI" }
        ]
      ) {
        const client = yield* anotherClient({ poolConfig: poolConfig as never, maxConnections: 1 })
        const [bound, again] = yield* Effect.all([read, read]).pipe(
          Effect.provideService(Mysql2.MysqlClient, client),
          Effect.provideService(SqlClient, client)
        )
        expect([poolConfig, again]).toEqual([poolConfig, bound])
      }
    })))

  it.effect("is read as the pool's options say where it is a row lock too", () =>
    inDatabase(Effect.gen(function*() {
      const sql = yield* SqlClient
      for (
        const [table, poolConfig] of [
          ["filled", { bigNumberStrings: true }],
          ["cast", { typeCast: (field: { buffer(): Buffer | null }) => field.buffer()?.toString("hex") }],
          ["named", { namedPlaceholders: true }],
          ["formatted", { queryFormat: (text: string) => text.replace(/:\w+/g, "") }]
        ] as const
      ) {
        const type = sql.literal(table === "filled" ? "BIGINT ZEROFILL" : "BIGINT")
        yield* sql`CREATE TABLE ${sql(table)} (\`it's\` VARCHAR(9) PRIMARY KEY, n ${type})`
        yield* sql`INSERT INTO ${sql(table)} VALUES ('a:b', 7)`
        const lock = RowLock.forUpdate({ table, where: { "it's": "a:b" } })
        const client = yield* anotherClient({ poolConfig: poolConfig as never, maxConnections: 1 })
        const [bound, first] = yield* Effect.all([
          Effect.scoped(Effect.flatMap(Transaction.make(), (transaction) => Transaction.provide(lock, transaction))),
          Transaction.run(lock)
        ]).pipe(Effect.provideService(Mysql2.MysqlClient, client), Effect.provideService(SqlClient, client))
        expect([table, first]).toEqual([table, bound])
        expect(first._tag).toBe("Some")
      }
    })))

  it.effect("nothing comes out of a text, whatever the connection's character set makes of its characters", () =>
    inDatabase(Effect.gen(function*() {
      yield* tables
      const found = (name: string) =>
        Effect.all([
          Transaction.run(Effect.flatMap(SqlClient, (sql) => sql`SELECT id FROM thing WHERE name = ${name}`)),
          Transaction.run(RowLock.forUpdate({ table: "thing", where: { name } }))
        ])
      // In latin1, ascii and binary the first is sent as a quote and the second as a backslash, in sjis and ujis so is the third; the
      // others end with that byte in one of the character sets.
      const hostile = ["ħ OR 1=1 OR ħ", "Ŝ", "¥", "十", "乗", "功"]
      for (const charset of ["LATIN1", "ASCII", "BINARY", "SJIS", "CP932", "UJIS", "GBK", "BIG5", "GB18030"]) {
        const client = yield* anotherClient({ poolConfig: { charset }, maxConnections: 1 })
        const inside = <A, E>(effect: Effect.Effect<A, E, MysqlClient | SqlClient>) =>
          effect.pipe(Effect.provideService(Mysql2.MysqlClient, client), Effect.provideService(SqlClient, client))
        const [[row]] = yield* inside(found("one"))
        expect([charset, row]).toEqual([charset, { id: 1 }])
        for (const name of hostile) {
          const exit = yield* Effect.exit(inside(found(name)))
          // What one of the character sets does not have is refused.
          if (exit._tag === "Failure") expect([3854, 3988]).toContain((failure(exit) as { errno?: number }).errno)
          else expect([charset, name, exit.value[0], exit.value[1]._tag]).toEqual([charset, name, [], "None"])
        }
      }
    })))

  it.effect("any number and any text arrive as they are", () =>
    inDatabase(
      Effect.gen(function*() {
        yield* tables
        const sql = yield* SqlClient
        const store = (name: string, n: number) =>
          Transaction.run(sql`UPDATE thing SET name = ${name}, n = ${n} WHERE id = ${1}`)
        yield* store("", 0)
        const runtime = yield* Effect.runtime<MysqlClient | SqlClient>()
        const hostile = FastCheck.constantFrom(
          "'",
          "\\",
          "\"",
          ";",
          "--",
          "#",
          "/*",
          "?",
          "\0",
          "\n",
          "%",
          "`",
          "€",
          "𝄞",
          " OR 1=1"
        )
        const texts = FastCheck.oneof(
          FastCheck.string({ maxLength: 20, unit: "grapheme" }),
          FastCheck.array(hostile, { maxLength: 5 }).map((_) => _.join(""))
        )
        yield* Effect.promise(() =>
          FastCheck.assert(
            FastCheck.asyncProperty(texts, FastCheck.maxSafeInteger(), (name, n) =>
              Runtime.runPromise(runtime)(Effect.gen(function*() {
                yield* store(name, n)
                expect(yield* sql`SELECT name, n FROM thing WHERE id = 1`).toEqual([{ name, n }])
              }))),
            { numRuns: 300 }
          )
        )
        expect(yield* sql`SELECT COUNT(*) AS count FROM thing`).toEqual([{ count: 2 }])
      }),
      { maxConnections: 1 }
    ))

  it.effect("a second statement in its text is refused, however often it is tried", () =>
    inDatabase(
      Effect.gen(function*() {
        yield* tables
        const sql = yield* SqlClient
        const two = Transaction.run(sql.unsafe("UPDATE thing SET n = ? WHERE id = 1; DELETE FROM thing", [1]))
        for (let times = 0; times < 3; times++) expect(tag(yield* Effect.exit(two))).toBe("StatementFailed")
        expect(yield* sql`SELECT COUNT(*) AS count FROM thing`).toEqual([{ count: 2 }])
      }),
      { maxConnections: 1 }
    ))

  it.effect("its failure is its own, and the next transaction begins", () =>
    inDatabase(
      Effect.gen(function*() {
        yield* tables
        const sql = yield* SqlClient
        const insert = (id: number) => Transaction.run(sql`INSERT INTO thing (id) VALUES (${id})`)
        yield* insert(10)
        expect(tag(yield* Effect.exit(insert(10)))).toBe("DuplicateKey")
        yield* insert(11)
        yield* sql`ALTER TABLE thing MODIFY id VARCHAR(10)`
        yield* insert(12)
        expect(yield* Effect.map(Effect.exit(insert(12)), failure)).toMatchObject({ _tag: "DuplicateKey" })
        expect(yield* sql`SELECT id FROM thing WHERE id >= 10 ORDER BY id`).toEqual([{ id: "10" }, { id: "11" }, {
          id: "12"
        }])
      }),
      { maxConnections: 1 }
    ))
})
