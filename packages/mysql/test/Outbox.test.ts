import { MysqlClient } from "@effect/sql-mysql2/MysqlClient"
import { SqlClient } from "@effect/sql/SqlClient"
import type { Connection } from "@effect/sql/SqlConnection"
import { expect, layer } from "@effect/vitest"
import * as MysqlMetrics from "@safesync/mysql/MysqlMetrics"
import * as Outbox from "@safesync/mysql/Outbox"
import * as Transaction from "@safesync/mysql/Transaction"
import * as MysqlServer from "@safesync/testkit/MysqlServer"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Logger from "effect/Logger"
import * as Queue from "effect/Queue"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import { anotherClient, defect, holding, inDatabase, tag, untilLockWait } from "./support.js"

const prepared = Effect.zipRight(Outbox.migration, Outbox.migration)

const Shipped = Schema.Struct({ order: Schema.Int, at: Schema.Date })

const at = new Date(0)

const append = (
  order: number,
  options: Partial<Pick<Outbox.Message<unknown, unknown, never>, "key" | "stream" | "messageId" | "headers">> = {}
) => Outbox.append({ stream: "shipped", schema: Shipped, value: { order, at }, ...options })

const all = Outbox.read({ fromSlot: 0, toSlot: Outbox.slots - 1, limit: 1_000 })

const orders = Effect.map(all, (messages) => messages.map(({ data }) => (JSON.parse(data) as { order: number }).order))

/** The transactions of this database that are open, by the server's word. */
const open = Effect.flatMap(
  SqlClient,
  (sql) =>
    sql`SELECT trx_id FROM information_schema.innodb_trx JOIN information_schema.processlist ON id = trx_mysql_thread_id
    WHERE db = DATABASE()`
)

const lockOutbox = (client: MysqlClient) =>
  Effect.provideService(
    Effect.flatMap(SqlClient, (sql) => sql`SELECT id FROM safesync_outbox FOR UPDATE`),
    SqlClient,
    client
  )

layer(MysqlServer.layer, { excludeTestServices: true })("Outbox", (it) => {
  it.effect("L25: a message is there if and only if its transaction committed", () =>
    inDatabase(Effect.gen(function*() {
      yield* prepared
      yield* Transaction.run(append(1))
      yield* Effect.exit(Transaction.run(Effect.zipRight(append(2), Effect.fail("no"))))
      yield* Transaction.run(Effect.ignore(Transaction.savepoint(Effect.zipRight(append(3), Effect.fail("no")))))
      expect(yield* orders).toEqual([1])
    })))

  it.effect("L25: what was appended is read as it was: encoded value, key, id, headers", () =>
    inDatabase(Effect.gen(function*() {
      yield* prepared
      const id = yield* Transaction.run(Outbox.append({
        stream: "größe",
        schema: Shipped,
        value: { order: 7, at },
        key: "k🔑",
        messageId: "m-1",
        headers: { traceparent: "00-ä" }
      }))
      const generated = yield* Transaction.run(append(8, { key: "other" }))
      const [one, two] = [...(yield* all)].sort((a, b) => Number(a.id) - Number(b.id))
      expect(id).toBe("m-1")
      expect(one).toEqual({
        id: "1",
        slot: expect.any(Number),
        messageId: "m-1",
        stream: "größe",
        key: "k🔑",
        headers: { traceparent: "00-ä" },
        data: `{"order":7,"at":"1970-01-01T00:00:00.000Z"}`
      })
      expect(two).toMatchObject({ messageId: generated, key: "other", headers: {} })
      expect(generated).toMatch(/^[0-9a-f-]{36}$/)
    })))

  it.effect("L25: of one key, nobody can commit a later message while an earlier one is still open", () =>
    inDatabase(Effect.gen(function*() {
      yield* prepared
      const first = yield* holding(append(1, { key: "k" }))
      const second = yield* Effect.fork(Transaction.run(append(2, { key: "k" })))
      yield* untilLockWait
      // another key, and no key at all, wait for nobody
      yield* Transaction.run(append(3, { key: "l" }))
      yield* Transaction.run(append(4))
      expect((yield* orders).sort()).toEqual([3, 4])
      yield* first.release
      yield* Fiber.join(second)
      const mine = (yield* all).filter(({ key }) => key === "k")
      expect(mine.map(({ data }) => JSON.parse(data).order)).toEqual([1, 2])
      expect(new Set(mine.map(({ slot }) => slot)).size).toBe(1)
    })))

  it.effect("L25: a message whose transaction commits late is not passed over", () =>
    inDatabase(Effect.gen(function*() {
      yield* prepared
      const late = yield* holding(append(1))
      yield* Transaction.run(append(2))
      const before = yield* all
      yield* Outbox.remove(before.map(({ id }) => id))
      yield* late.release
      expect(before.map(({ data }) => JSON.parse(data).order)).toEqual([2])
      expect(yield* orders).toEqual([1])
      expect(yield* Outbox.backlog).toMatchObject({ messages: 1 })
    })))

  it.effect("the gauges are kept up to date, also after a time without a table", () =>
    inDatabase(Effect.gen(function*() {
      const gauge = () => MysqlMetrics.outboxBacklog.unsafeValue([]).value
      const said: Array<string> = []
      const logger = Logger.make(({ message }) => {
        said.push(String(message))
      })
      yield* Effect.provide(
        Outbox.report({ every: Schedule.recurs(2) }),
        Logger.replace(Logger.defaultLogger, logger)
      )
      expect(said).toEqual([expect.stringMatching(/^The gauges of the outbox .* Hint: Outbox\.migration creates it/)])
      yield* prepared
      yield* Transaction.run(Effect.all([append(1), append(2), append(3)]))
      yield* Outbox.report({ every: Schedule.stop })
      expect(gauge()).toBe(3)
    })))

  it.effect("reads slots in order and no more than asked for", () =>
    inDatabase(Effect.gen(function*() {
      yield* prepared
      yield* Effect.forEach(Array.from({ length: 30 }, (_, n) => n), (n) =>
        Transaction.run(append(n, { key: `k${n % 5}` })))
      const messages = yield* all
      expect(messages.length).toBe(30)
      const sorted = [...messages].sort((a, b) =>
        a.slot - b.slot || Number(a.id) - Number(b.id)
      )
      expect(messages).toEqual(sorted)
      const slot = messages[0]!.slot
      const some = yield* Outbox.read({ fromSlot: slot, toSlot: slot, limit: 4 })
      expect(some).toEqual(messages.slice(0, 4))
    })))

  it.effect("a relay of this process is woken after COMMIT, and by nothing else", () =>
    inDatabase(Effect.gen(function*() {
      yield* prepared
      const queue = yield* Outbox.committed(yield* MysqlClient)
      yield* Effect.exit(Transaction.run(Effect.zipRight(append(1), Effect.fail("no"))))
      yield* Transaction.run(Effect.void)
      expect(yield* Queue.size(queue)).toBe(0)
      yield* Transaction.run(Effect.zipRight(append(1), append(2)))
      yield* Transaction.run(append(3))
      expect(yield* Queue.takeAll(queue).pipe(Effect.map((_) => _.length))).toBe(1)
    })))

  it.effect("what does not encode is a ParseError, what nobody could read as it was meant a defect; nothing is written", () =>
    inDatabase(Effect.gen(function*() {
      yield* prepared
      expect(tag(yield* Effect.exit(Transaction.run(append(0.5))))).toBe("ParseError")
      const long = yield* Effect.exit(Transaction.run(append(1, { key: "ä".repeat(128) })))
      expect(String(defect(long))).toContain("The key of a message may have at most 255 bytes, not 256")
      const half = "🎈".slice(0, 1)
      for (
        const refused of [
          { headers: { data: "{}" } },
          { messageId: "" },
          { stream: "" },
          { key: half },
          { stream: half },
          { messageId: half },
          { headers: { note: half } },
          { headers: { [half]: "note" } }
        ]
      ) {
        const exit = yield* Effect.exit(Transaction.run(append(1, refused)))
        expect(String(defect(exit))).toMatch(
          /No header of a message can be called data|must not (be empty|hold half of a)/
        )
      }
      expect(yield* orders).toEqual([])
    })))

  it.effect("a value that does not come back from its JSON is a ParseError that says why; nothing is written", () =>
    inDatabase(Effect.gen(function*() {
      yield* prepared
      const refused: ReadonlyArray<readonly [schema: Schema.Schema.AnyNoContext, value: unknown, why: string]> = [
        [Schema.Struct({ price: Schema.Number }), { price: NaN }, "JSON cannot hold NaN, at \"price\""],
        [Schema.DateFromSelf, at, "Date"],
        [Schema.Uint8ArrayFromSelf, new Uint8Array([1]), "Uint8Array"],
        [Schema.Unknown, { func: (x: unknown) => x }, "a function, at \"func\""],
        [Schema.Unknown, undefined, "undefined"],
        [Schema.BigIntFromSelf, 1n, "bigint"],
        [
          Schema.transform(Schema.Literal("in"), Schema.String, {
            strict: false,
            decode: () => "x",
            encode: () => "out"
          }),
          "x",
          "\"in\""
        ]
      ]
      for (const [schema, value, why] of refused) {
        const error = yield* Effect.flip(Transaction.run(Outbox.append({ stream: "shipped", schema, value })))
        expect(error._tag).toBe("ParseError")
        expect(error.message).toContain(why)
      }
      expect(yield* all).toEqual([])
    })))

  it.effect("what no relay can send is refused as a defect, and the most that one can is not", () =>
    inDatabase(Effect.gen(function*() {
      yield* prepared
      const headers = (count: number, value: string) =>
        Object.fromEntries(Array.from({ length: count }, (_, n) => [`h${n}`, value]))
      const many = yield* Effect.exit(Transaction.run(append(1, { headers: headers(3_901, "") })))
      expect(String(defect(many))).toContain("A message may have at most 3900 headers, not 3901")
      const long = yield* Effect.exit(Transaction.run(append(1, { headers: headers(17, "x".repeat(1_000_000)) })))
      expect(String(defect(long))).toMatch(/The JSON of a message's headers may have at most 16777215 bytes/)
      expect(yield* all).toEqual([])
      yield* Transaction.run(append(1, { headers: headers(3_900, "x") }))
      expect(Object.keys((yield* all)[0]!.headers).length).toBe(3_900)
    })))

  it.effect("reads by bytes as well as by count, in order, and the longest message alone", () =>
    inDatabase(Effect.gen(function*() {
      yield* prepared
      const lengths = [10, 3_000_000, 20_000, 3_000_000, 900_000, 900_000, 900_000, 900_000, 900_000, 9_000_000, 10, 10]
      yield* Transaction.run(
        Effect.forEach(lengths, (length, n) =>
          Outbox.append({
            stream: "s",
            schema: Schema.String,
            key: "k",
            messageId: `m${n}`,
            value: "x".repeat(length)
          }))
      )
      const read = (withPartition: boolean) =>
        Effect.gen(function*() {
          const found: Array<ReadonlyArray<string>> = []
          const without: Array<Outbox.Stored> = []
          yield* Effect.iterate(true, {
            while: (more) => more,
            body: () =>
              Effect.gen(function*() {
                const messages = withPartition
                  ? (yield* Outbox.withPartition(
                    { number: 0, of: 1 },
                    ({ read }) => read({ limit: 256, without: { streams: [], messages: [] } })
                  )).messages
                  : yield* Outbox.read({ fromSlot: 0, toSlot: Outbox.slots - 1, limit: 256 })
                for (const { data, messageId } of messages) {
                  expect(data.length - 2).toBe(lengths[Number(messageId.slice(1))])
                }
                found.push(messages.map(({ messageId }) => messageId))
                without.push(...messages)
                yield* Outbox.remove(messages.map(({ id }) => id))
                return messages.length > 0
              })
          })
          return found
        })
      const sql = yield* SqlClient
      yield* sql`CREATE TABLE kept AS SELECT * FROM safesync_outbox`
      const expected = [["m0", "m1", "m2"], ["m3", "m4"], ["m5", "m6", "m7", "m8"], ["m9"], ["m10", "m11"], []]
      expect(yield* read(false)).toEqual(expected)
      yield* sql`INSERT INTO safesync_outbox SELECT * FROM kept`
      expect(yield* read(true)).toEqual(expected)
    })))

  it.effect("a partition's reads ask for as many long messages as they get, and for more again when they are short", () =>
    inDatabase(Effect.gen(function*() {
      yield* prepared
      const value = (length: number) =>
        Outbox.append({ stream: "s", schema: Schema.String, key: "k", value: "x".repeat(length) })
      yield* Transaction.run(Effect.forEach(
        [...Array(8).fill(3_000_000), ...Array(30).fill(1)] as ReadonlyArray<number>,
        value
      ))
      const counts = yield* Outbox.withPartition({ number: 0, of: 1 }, ({ read, remove }) =>
        Effect.gen(function*() {
          const counts: Array<number> = []
          for (let more = true; more;) {
            const found = yield* read({ limit: 16, without: { streams: [], messages: [] } })
            yield* remove(found.messages)
            counts.push(found.messages.length)
            more = found.more
          }
          return counts
        }))
      expect(counts).toEqual([1, 1, 1, 1, 1, 1, 1, 2, 4, 8, 16, 1])
    })))

  it.effect("a row that does not hold a message is a typed failure, and a partition tells which it is", () =>
    inDatabase(Effect.gen(function*() {
      yield* prepared
      yield* Transaction.run(append(1, { key: "a" }))
      yield* Transaction.run(append(2, { key: "b", messageId: "m-2" }))
      const sql = yield* SqlClient
      yield* sql`UPDATE safesync_outbox SET headers = '{"tra' WHERE message_id = 'm-2'`
      const exit = yield* Effect.exit(all)
      expect(tag(exit)).toBe("StatementFailed")
      expect(String(exit)).toContain("The row 2 of safesync_outbox does not hold a message")
      const found = yield* Outbox.withPartition(
        { number: 0, of: 1 },
        ({ read }) => read({ limit: 9, without: { streams: [], messages: [] } })
      )
      expect(found.messages.map(({ key }) => key)).toEqual(["a"])
      expect(found.damaged).toEqual([expect.objectContaining({ messageId: "m-2", key: "b", stream: "shipped" })])
    })))

  it.effect("a partition's reads leave out streams, keys and messages without a key", () =>
    inDatabase(Effect.gen(function*() {
      yield* prepared
      for (
        const [key, stream] of [["a", "s"], ["b", "s"], ["a", "t"], [undefined, "s"], [undefined, "s"], ["a", "u"]]
      ) {
        for (const order of [1, 2]) {
          yield* Transaction.run(append(order, { stream: stream!, ...(key === undefined ? {} : { key }) }))
        }
      }
      const found = yield* Outbox.withPartition({ number: 0, of: 1 }, ({ read }) =>
        read({
          limit: 99,
          without: {
            streams: ["u"],
            messages: [{ id: "1", stream: "s", key: "a" }, { id: "7", stream: "s", key: undefined }]
          }
        }))
      expect(found.messages.map(({ id }) => Number(id)).sort((a, b) => a - b)).toEqual([3, 4, 5, 6, 8, 9, 10])
    })))

  it.effect("what a partition cannot remove, since others lock it, is a typed failure, and the partition stays", () =>
    inDatabase(Effect.gen(function*() {
      yield* prepared
      yield* Transaction.run(append(1))
      const [row] = yield* all
      const sql = yield* SqlClient
      const unlocked = (connection: Connection) =>
        Effect.orDie(connection.executeUnprepared("UNLOCK TABLES", [], undefined))
      const tableLock = Effect.gen(function*() {
        const connection = yield* sql.reserve
        yield* Effect.acquireRelease(
          connection.executeUnprepared("LOCK TABLES safesync_outbox READ", [], undefined),
          () => unlocked(connection)
        )
        return { release: unlocked(connection) }
      })
      const locks = [holding(sql`SELECT id FROM safesync_outbox FOR UPDATE`), tableLock]
      for (const lock of locks) {
        yield* Outbox.withPartition({ number: 0, of: 1 }, (partition) =>
          Effect.scoped(Effect.gen(function*() {
            const { release } = yield* lock
            expect(tag(yield* Effect.exit(partition.remove([row!])))).toBe("LockWaitTimeout")
            yield* release
            expect((yield* partition.read({ limit: 1, without: { streams: [], messages: [] } })).messages).toEqual([
              row
            ])
          })))
      }
      yield* Outbox.withPartition({ number: 0, of: 1 }, ({ remove }) => remove([row!]))
      expect(yield* all).toEqual([])
    })))

  it.effect("a migration that was not run to its end is said at once", () =>
    inDatabase(Effect.gen(function*() {
      yield* prepared
      const sql = yield* SqlClient
      yield* sql`DELETE FROM safesync_outbox_slot`
      expect(String(defect(yield* Effect.exit(Transaction.run(append(1, { key: "k" })))))).toContain("Outbox.migration")
      yield* Outbox.migration
      yield* Transaction.run(append(1, { key: "k" }))
      expect(yield* orders).toEqual([1])
    })))

  it.effect("L25: what is read is committed, and all that is, whatever the sessions of the pool are", () =>
    inDatabase(
      Effect.gen(function*() {
        yield* prepared
        const sql = yield* SqlClient
        // The pool is one connection, which stays as it is set.
        yield* sql`SET SESSION autocommit = 0, transaction_isolation = 'READ-UNCOMMITTED'`
        const others = yield* anotherClient({ maxConnections: 4 })
        const orders = Effect.map(all, (messages) => messages.map(({ data }) => JSON.parse(data).order).sort())
        const elsewhere = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
          Effect.provideService(effect, MysqlClient, others)
        const open = yield* elsewhere(holding(append(1)))
        expect(yield* orders).toEqual([])
        yield* open.release
        expect(yield* orders).toEqual([1])
        yield* sql`SET SESSION transaction_isolation = 'REPEATABLE-READ'`
        expect(yield* orders).toEqual([1])
        yield* elsewhere(Transaction.run(append(2)))
        expect(yield* orders).toEqual([1, 2])
        expect(yield* Outbox.backlog).toMatchObject({ messages: 2 })
        // A transaction that the application has left open on the connection.
        yield* sql`SELECT COUNT(*) FROM safesync_outbox`
        yield* elsewhere(Transaction.run(append(3)))
        expect(yield* orders).toEqual([1, 2, 3])
        yield* Outbox.remove((yield* all).map(({ id }) => id))
        expect(yield* others`SELECT id FROM safesync_outbox`).toEqual([])
      }),
      { maxConnections: 1 }
    ))

  it.effect("a statement that failed or was interrupted leaves no transaction behind", () =>
    inDatabase(
      Effect.gen(function*() {
        const sql = yield* SqlClient
        expect(tag(yield* Effect.exit(all))).toBe("StatementFailed")
        expect(yield* open).toEqual([])
        yield* prepared
        const others = yield* anotherClient({ maxConnections: 4 })
        yield* Effect.provideService(Transaction.run(append(1)), MysqlClient, others)
        const ids = (yield* all).map(({ id }) => id)
        const held = yield* Effect.provideService(holding(lockOutbox(others)), MysqlClient, others)
        const removing = yield* Effect.fork(Outbox.remove(ids))
        yield* Effect.provideService(untilLockWait, SqlClient, others)
        yield* Fiber.interrupt(removing)
        yield* held.release
        expect(yield* open).toEqual([])
        yield* sql`SELECT 1`
        yield* Outbox.remove(ids)
        expect(yield* orders).toEqual([])
      }),
      { maxConnections: 1 }
    ))

  it.effect("inside a transaction what is for relays is a defect: it has one of its own", () =>
    inDatabase(Effect.gen(function*() {
      yield* prepared
      const sql = yield* SqlClient
      for (
        const [name, effect] of [["read", all], ["remove", Outbox.remove(["1"])], ["backlog", Outbox.backlog]] as const
      ) {
        const called = Effect.asVoid<unknown, unknown, SqlClient>(effect)
        for (const transacted of [Transaction.run(called), sql.withTransaction(called)]) {
          const exit = yield* Effect.exit(transacted)
          expect(String(defect(exit))).toContain(`Outbox.${name} was called inside a transaction`)
        }
      }
    })))

  it.effect("ids are digits; what is none is the id of no row", () =>
    inDatabase(Effect.gen(function*() {
      yield* prepared
      yield* Transaction.run(append(1))
      const [message] = yield* all
      yield* Outbox.remove(["", "x", "1 OR 1", "-1", "18446744073709551616", "99999999999999999999999"])
      expect(yield* orders).toEqual([1])
      yield* Outbox.remove(["x", message!.id])
      expect(yield* orders).toEqual([])
    })))
})
