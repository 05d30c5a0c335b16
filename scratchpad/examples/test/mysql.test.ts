// The examples of the guide, run as they are printed there.
import type { MysqlClient } from "@effect/sql-mysql2"
import { SqlClient } from "@effect/sql/SqlClient"
import { expect, layer } from "@effect/vitest"
import * as FencingToken from "@safesync/mysql/FencingToken"
import * as Inbox from "@safesync/mysql/Inbox"
import * as Outbox from "@safesync/mysql/Outbox"
import * as MysqlServer from "@safesync/testkit/MysqlServer"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { nextInvoice } from "../mysql/advisoryInTransaction.js"
import { take } from "../mysql/atomicUpdate.js"
import { sendReport } from "../mysql/fencingToken.js"
import { addLine } from "../mysql/idempotentInsert.js"
import { credit } from "../mysql/inbox.js"
import { appendNote } from "../mysql/occ.js"
import { nightlyReport } from "../mysql/onceADay.js"
import { ship } from "../mysql/outbox.js"
import { openPot } from "../mysql/rowAndAdvisory.js"
import { payInterest } from "../mysql/rowLock.js"
import { placeOrder } from "../mysql/savepoint.js"
import { transfer } from "../mysql/severalRows.js"
import { oneAtATime } from "../mysql/withLock.js"

const inDatabase = <A, E>(effect: Effect.Effect<A, E, MysqlClient.MysqlClient | SqlClient>) =>
  effect.pipe(
    Effect.tap(() => MysqlServer.assertClean()),
    Effect.provide(MysqlServer.database({ maxConnections: 8 }))
  )

const ddl = (...statements: ReadonlyArray<string>) =>
  Effect.flatMap(SqlClient, (sql) => Effect.forEach(statements, (statement) => sql.unsafe(statement)))

const accounts = ddl(
  "CREATE TABLE account (id INT PRIMARY KEY, balance INT NOT NULL)",
  "INSERT INTO account VALUES (1, 1000), (2, 1000)"
)

const purchases = ddl(
  "CREATE TABLE purchase (id VARCHAR(10) PRIMARY KEY, total INT NOT NULL)",
  `CREATE TABLE purchase_line (purchase VARCHAR(10), line INT, pence INT NOT NULL, PRIMARY KEY (purchase, line),
    FOREIGN KEY (purchase) REFERENCES purchase (id))`,
  "CREATE TABLE redeemed (voucher VARCHAR(10) PRIMARY KEY)"
)

const column = (statement: string) =>
  Effect.flatMap(SqlClient, (sql) =>
    Effect.map(sql.unsafe<Record<string, unknown>>(statement), (rows) => rows.map((row) => Object.values(row)[0])))

const many = <A, E, R>(times: number, effect: (index: number) => Effect.Effect<A, E, R>) =>
  Effect.forEach(Array.from({ length: times }, (_, i) => i), effect, { concurrency: 6 })

layer(MysqlServer.layer, { excludeTestServices: true })("examples of the guide", (it) => {
  it.effect("rowLock", () =>
    inDatabase(Effect.gen(function*() {
      yield* accounts
      yield* many(10, () => payInterest(1, 1_000))
      const expected = Array.from({ length: 10 }).reduce<number>((sum) => sum + Math.round(sum * 0.1), 1_000)
      expect(yield* column("SELECT balance FROM account")).toEqual([expected, 1_000])
      expect(yield* payInterest(9, 1)).toEqual(Option.none())
    })))

  it.effect("occ", () =>
    inDatabase(Effect.gen(function*() {
      yield* ddl(
        "CREATE TABLE product (code VARCHAR(10) PRIMARY KEY, notes TEXT NOT NULL, version INT NOT NULL)",
        "INSERT INTO product VALUES ('P', '', 0)"
      )
      yield* Effect.all([appendNote("P", "one"), appendNote("P", "two"), appendNote("P", "three")], { concurrency: 3 })
      const [notes] = yield* column("SELECT notes FROM product")
      expect(String(notes).trim().split("\n").sort()).toEqual(["one", "three", "two"])
      expect((yield* Effect.flip(appendNote("Q", "none")))._tag).toBe("RowMissing")
    })))

  it.effect("severalRows", () =>
    inDatabase(Effect.gen(function*() {
      yield* accounts
      yield* many(20, (i) => i % 2 === 0 ? transfer(1, 2, 7) : transfer(2, 1, 5))
      expect(yield* column("SELECT balance FROM account ORDER BY id")).toEqual([980, 1_020])
      expect(yield* Effect.flip(transfer(1, 2, 5_000))).toMatchObject({ _tag: "NotEnough", account: 1 })
    })))

  it.effect("advisoryInTransaction", () =>
    inDatabase(Effect.gen(function*() {
      yield* ddl("CREATE TABLE invoice (series VARCHAR(10), number INT, PRIMARY KEY (series, number))")
      const numbers = yield* many(12, () => nextInvoice("2026"))
      expect([...numbers].sort((a, b) => a - b)).toEqual(Array.from({ length: 12 }, (_, i) => i + 1))
    })))

  it.effect("rowAndAdvisory", () =>
    inDatabase(Effect.gen(function*() {
      yield* accounts
      yield* ddl("CREATE TABLE pot (account INT NOT NULL, name VARCHAR(20) NOT NULL)")
      const opened = yield* many(6, (i) => openPot(1, `pot ${i}`))
      expect(opened.filter((yes) => yes)).toHaveLength(1)
      expect(yield* openPot(9, "nobody's")).toBe(false)
      expect(yield* column("SELECT account FROM pot")).toEqual([1])
    })))

  it.effect("atomicUpdate", () =>
    inDatabase(Effect.gen(function*() {
      yield* ddl(
        "CREATE TABLE stock (item VARCHAR(10) PRIMARY KEY, pieces INT NOT NULL)",
        "INSERT INTO stock VALUES ('A', 10)"
      )
      const taken = yield* many(7, () => take("A", 2))
      expect(taken.filter((yes) => yes)).toHaveLength(5)
      expect(yield* column("SELECT pieces FROM stock")).toEqual([0])
    })))

  it.effect("outbox", () =>
    inDatabase(Effect.gen(function*() {
      yield* purchases
      yield* ddl("ALTER TABLE purchase ADD COLUMN shipped TINYINT", "INSERT INTO purchase (id, total) VALUES ('A', 1)")
      yield* Outbox.migration
      yield* ship("A")
      expect(yield* column("SELECT shipped FROM purchase")).toEqual([1])
      const messages = yield* Outbox.read({ fromSlot: 0, toSlot: Outbox.slots - 1, limit: 10 })
      expect(messages).toMatchObject([{ stream: "shipped", key: "A", data: `{"order":"A"}` }])
    })))

  it.effect("withLock", () =>
    inDatabase(Effect.gen(function*() {
      const running = yield* Deferred.make<void>()
      const refused = yield* Deferred.make<void>()
      const first = oneAtATime("tidy", Effect.zipRight(Deferred.succeed(running, undefined), Deferred.await(refused)))
      const second = Effect.zipRight(Deferred.await(running), oneAtATime("tidy", Effect.die("not at the same time")))
      const did = yield* Effect.all([first, Effect.zipLeft(second, Deferred.succeed(refused, undefined))], {
        concurrency: 2
      })
      expect(did).toEqual([true, false])
    })))

  it.effect("onceADay: of processes that are started together, or one after another, one makes the report", () =>
    inDatabase(Effect.gen(function*() {
      yield* Inbox.migration
      yield* Outbox.migration
      const together = yield* Effect.all(Array.from({ length: 4 }, () => nightlyReport("Tuesday", Effect.succeed(7))), {
        concurrency: 4
      })
      expect(together.filter(Option.isSome)).toHaveLength(1)
      expect(yield* Effect.exit(nightlyReport("Wednesday", Effect.fail("no database of orders")))).toMatchObject({
        _tag: "Failure"
      })
      expect(Option.isSome(yield* nightlyReport("Wednesday", Effect.succeed(8)))).toBe(true)
      expect(Option.isNone(yield* nightlyReport("Tuesday", Effect.succeed(9)))).toBe(true)
      const written = yield* Outbox.read({ fromSlot: 0, toSlot: Outbox.slots - 1, limit: 10 })
      expect(written.map(({ data }) => JSON.parse(data)).sort((a, b) => a.orders - b.orders)).toEqual([
        { day: "Tuesday", orders: 7 },
        { day: "Wednesday", orders: 8 }
      ])
    })))

  it.effect("fencingToken", () =>
    inDatabase(Effect.gen(function*() {
      yield* FencingToken.migration
      yield* ddl("CREATE TABLE report (day VARCHAR(10) PRIMARY KEY)")
      const sending = yield* Deferred.make<void>()
      const refused = yield* Deferred.make<void>()
      const other = Effect.zipRight(Deferred.await(sending), Effect.flip(sendReport("Tuesday", Effect.void)))
      const [, refusal] = yield* Effect.all([
        sendReport("Monday", Effect.zipRight(Deferred.succeed(sending, undefined), Deferred.await(refused))),
        Effect.zipLeft(other, Deferred.succeed(refused, undefined))
      ], { concurrency: 2 })
      expect(refusal._tag).toBe("AdvisoryLockTimeout")
      expect(yield* column("SELECT day FROM report")).toEqual(["Monday"])
    })))

  it.effect("idempotentInsert", () =>
    inDatabase(Effect.gen(function*() {
      yield* purchases
      const written = yield* many(12, (i) => addLine("A", i % 4, 100))
      expect(written.filter((yes) => yes)).toHaveLength(4)
      expect(yield* column("SELECT SUM(pence) FROM purchase_line")).toEqual(["400"])
    })))

  it.effect("inbox", () =>
    inDatabase(Effect.gen(function*() {
      yield* accounts
      yield* Inbox.migration
      const answers = yield* many(6, (i) => credit(`message ${i % 2}`, 1, 10))
      expect(answers.filter(Option.isSome)).toHaveLength(2)
      expect(yield* column("SELECT balance FROM account WHERE id = 1")).toEqual([1_020])
    })))

  it.effect("savepoint", () =>
    inDatabase(Effect.gen(function*() {
      yield* purchases
      const told: Array<string> = []
      const tell = (text: string) => Effect.sync(() => void told.push(text))
      yield* placeOrder("A", "V", tell)
      yield* placeOrder("B", "V", tell)
      expect(told).toEqual(["your voucher is redeemed", "order A is placed", "order B is placed"])
      expect(yield* column("SELECT total FROM purchase ORDER BY id")).toEqual([800, 1_000])
      expect((yield* Effect.flip(placeOrder("A", "W", tell)))._tag).toBe("DuplicateKey")
      expect(told).toHaveLength(3)
    })))
})
