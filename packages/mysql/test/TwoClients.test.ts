import * as MysqlClient from "@effect/sql-mysql2/MysqlClient"
import { SqlClient } from "@effect/sql/SqlClient"
import * as Statement from "@effect/sql/Statement"
import { expect, layer } from "@effect/vitest"
import * as AdvisoryLock from "@safesync/mysql/AdvisoryLock"
import * as Inbox from "@safesync/mysql/Inbox"
import * as Outbox from "@safesync/mysql/Outbox"
import * as RowLock from "@safesync/mysql/RowLock"
import * as Transaction from "@safesync/mysql/Transaction"
import * as MysqlServer from "@safesync/testkit/MysqlServer"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as String from "effect/String"
import { accounts, add, anotherClient, balances, connectionId, defect, failure, inDatabase } from "./support.js"

type Client = MysqlClient.MysqlClient

/** Runs an effect with a client in the context, as the only one there. */
const on = (client: Client) => <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.provide(effect, Context.add(Context.make(MysqlClient.MysqlClient, client), SqlClient, client))

/** Two clients of two databases, each with its accounts; the first one is in the context. */
const inTwoDatabases = <A, E>(
  use: (a: Client, b: Client) => Effect.Effect<A, E, Client | SqlClient | MysqlServer.MysqlServer>
) =>
  inDatabase(Effect.gen(function*() {
    const a = yield* MysqlClient.MysqlClient
    const b = Context.get(yield* Layer.build(MysqlServer.database()), MysqlClient.MysqlClient)
    yield* accounts
    yield* on(b)(accounts)
    yield* use(a, b)
    yield* on(b)(MysqlServer.assertClean({ within: "20 seconds" }))
  }))

/** Every way in which a client runs a statement that must not be another's. */
const everyWay = (b: Client): Record<string, Effect.Effect<unknown, unknown>> => ({
  "a statement": b`UPDATE account SET balance = 5`,
  "its raw result": b`UPDATE account SET balance = 5`.raw,
  "its values": b`UPDATE account SET balance = 5`.values,
  "an unprepared one": b`UPDATE account SET balance = 5`.unprepared,
  "one without transforms": b`UPDATE account SET balance = 5`.withoutTransform,
  "a text": b.unsafe("UPDATE account SET balance = 5"),
  "a text that looks like @effect/sql's own": b.unsafe("SAVEPOINT x_1").unprepared,
  "a copy of the client": b.withoutTransforms()`UPDATE account SET balance = 5`,
  "a stream": Stream.runDrain(b`SELECT * FROM account FOR UPDATE`.stream),
  "a transaction of @effect/sql": b.withTransaction(b`UPDATE account SET balance = 5`)
})

const foreign = /another client was not sent/

layer(MysqlServer.layer, { excludeTestServices: true })("Two clients in one application", (it) => {
  it.effect("L8: inside a transaction of one, a statement of the other one is a defect that says so, in whatever way", () =>
    inTwoDatabases((a, b) =>
      Effect.gen(function*() {
        for (const [way, effect] of Object.entries(everyWay(b))) {
          const exit = yield* Effect.exit(Transaction.run(Effect.zipRight(add(1, 1), effect)))
          expect([way, globalThis.String(defect(exit))]).toEqual([way, expect.stringMatching(foreign)])
          const nested = yield* Effect.exit(Transaction.run(a.withTransaction(effect)))
          expect([way, globalThis.String(defect(nested))]).toEqual([way, expect.stringMatching(foreign)])
          const savepoint = yield* Effect.exit(Transaction.run(Transaction.savepoint(effect)))
          expect([way, globalThis.String(defect(savepoint))]).toEqual([way, expect.stringMatching(foreign)])
        }
        expect(yield* balances).toEqual([0, 0, 0])
        expect(yield* on(b)(balances)).toEqual([0, 0, 0])
      })
    ))

  it.effect("also where the other one has had transactions itself, and in the Scope form", () =>
    inTwoDatabases((a, b) =>
      Effect.gen(function*() {
        for (const [one, other] of [[a, b], [b, a]] as const) {
          yield* on(other)(Transaction.run(add(1, 1)))
          const exit = yield* Effect.exit(
            on(one)(Effect.scoped(Effect.flatMap(
              Transaction.make(),
              (transaction) => Transaction.provide(other`UPDATE account SET balance = 7`, transaction)
            )))
          )
          expect(globalThis.String(defect(exit))).toMatch(foreign)
        }
        expect([yield* balances, yield* on(b)(balances)]).toEqual([[1, 0, 0], [1, 0, 0]])
      })
    ))

  it.effect("the other one may have a transaction of its own in it, which is committed or not by itself", () =>
    inTwoDatabases((a, b) =>
      Effect.gen(function*() {
        const exit = yield* Effect.exit(Transaction.run(Effect.gen(function*() {
          yield* add(1, 1)
          yield* on(b)(
            Transaction.run(Effect.zipRight(add(2, 2), b.withTransaction(b`UPDATE account SET version = 2`)))
          )
          const undone = yield* Effect.exit(on(b)(Transaction.run(Effect.zipRight(add(2, 20), Effect.fail("theirs")))))
          expect(failure(undone)).toBe("theirs")
          yield* add(1, 1)
          // Inside of it, the one around it is the other's.
          const inner = yield* Effect.exit(on(b)(Transaction.run(a`UPDATE account SET balance = 5`)))
          expect(globalThis.String(defect(inner))).toMatch(foreign)
          const again = yield* Effect.exit(on(b)(Transaction.run(on(a)(Transaction.run(add(1, 1))))))
          expect(globalThis.String(defect(again))).toMatch(/Transaction\.savepoint/)
          yield* add(3, 3)
          return yield* Effect.fail("mine")
        })))
        expect(failure(exit)).toBe("mine")
        expect(yield* balances).toEqual([0, 0, 0])
        expect(yield* on(b)(balances)).toEqual([0, 2, 0])
      })
    ))

  it.effect("its savepoint stays the innermost one while its fiber is in a transaction of the other one", () =>
    inTwoDatabases((a, b) =>
      Effect.gen(function*() {
        for (const part of [Transaction.savepoint, a.withTransaction]) {
          yield* Transaction.run(Effect.gen(function*() {
            const transaction = yield* Transaction.Transaction
            const siblings = on(b)(Transaction.run(Effect.gen(function*() {
              yield* add(1, 1)
              yield* Transaction.provide(on(a)(add(1, 1)), transaction)
              yield* on(a)(Transaction.provide(Transaction.savepoint(add(1, 1)), transaction))
              return yield* Effect.fail("mine")
            })))
            expect(failure(yield* Effect.exit(part(siblings)))).toBe("mine")
            yield* add(2, 1)
          }))
        }
        expect([yield* balances, yield* on(b)(balances)]).toEqual([[0, 2, 0], [0, 0, 0]])
      })
    ))

  it.effect("the library's own statements belong to the transaction that is open, whichever client is in the context", () =>
    inTwoDatabases((a, b) =>
      Effect.gen(function*() {
        yield* Effect.zipRight(Inbox.migration, Outbox.migration)
        yield* Transaction.run(
          on(b)(Effect.gen(function*() {
            expect(Option.isSome(yield* RowLock.forUpdate({ table: "account", where: { id: 1 } }))).toBe(true)
            yield* Inbox.once("m-1", "billing")(Effect.void)
            yield* Outbox.append({ stream: "told", schema: Schema.String, value: "told" })
            yield* AdvisoryLock.acquireInTransaction("a name", { timeout: 0 })
          }))
        )
        expect(yield* a`SELECT message_id FROM safesync_inbox`).toHaveLength(1)
        expect(yield* a`SELECT id FROM safesync_outbox`).toHaveLength(1)
      })
    ))

  it.effect("a lock of one may be taken inside a transaction of the other one, and not of its own", () =>
    inTwoDatabases((a, b) =>
      Effect.gen(function*() {
        const lock = AdvisoryLock.withLock("a name", { timeout: 0 })
        yield* Transaction.run(Effect.zipRight(add(1, 1), on(b)(lock(Transaction.run(add(2, 1))))))
        expect([yield* balances, yield* on(b)(balances)]).toEqual([[1, 0, 0], [0, 1, 0]])
        for (const inside of [a, a.withoutTransforms()]) {
          const exit = yield* Effect.exit(Transaction.run(on(inside)(lock(Effect.void))))
          expect(globalThis.String(defect(exit))).toMatch(/whose snapshot is older/)
        }
        const deeper = Transaction.run(on(b)(Transaction.run(on(a)(lock(Effect.void)))))
        expect(globalThis.String(defect(yield* Effect.exit(deeper)))).toMatch(/whose snapshot is older/)
      })
    ))

  it.effect("after COMMIT the other one's statements run on its own database", () =>
    inTwoDatabases((_, b) =>
      Effect.gen(function*() {
        yield* Transaction.run(Effect.zipRight(
          add(1, 1),
          Transaction.afterCommit(Effect.orDie(Effect.asVoid(b`UPDATE account SET balance = 5 WHERE id = 3`)))
        ))
        expect([yield* balances, yield* on(b)(balances)]).toEqual([[1, 0, 0], [0, 0, 5]])
      })
    ))

  it.effect("a client and its copies are one, with name transforms and without, whichever has the transaction", () =>
    inDatabase(Effect.gen(function*() {
      yield* accounts
      const names = { transformQueryNames: String.camelToSnake, transformResultNames: String.snakeToCamel }
      for (const options of [{}, names]) {
        for (const copied of ["the client", "its copy", "its copy, before the client had any"] as const) {
          const client = yield* anotherClient(options)
          const copy = client.withoutTransforms()
          const before = client`SELECT CONNECTION_ID() AS id`
          if (copied !== "its copy, before the client had any") yield* before
          yield* on(copied === "the client" ? client : copy)(Transaction.run(Effect.gen(function*() {
            const { connectionId: id } = yield* Transaction.Transaction
            expect(yield* before).toEqual([{ id }])
            expect(yield* client`SELECT CONNECTION_ID() AS ${client("someId")}`).toEqual([{ someId: id }])
            for (
              const sql of [client, copy, client.safe, copy.safe, client.withoutTransforms(), copy.withoutTransforms()]
            ) {
              expect(yield* sql`SELECT CONNECTION_ID() AS id`).toEqual([{ id }])
              expect(yield* sql`SELECT CONNECTION_ID() AS id`.withoutTransform).toEqual([{ id }])
              expect(yield* sql`SELECT CONNECTION_ID() AS id`.values).toEqual([[id]])
              expect(yield* sql`SELECT CONNECTION_ID() AS id`.unprepared).toEqual([{ id }])
              expect(yield* sql`SELECT CONNECTION_ID() AS id`.raw).toMatchObject([{ id }])
              expect(yield* sql.unsafe("SELECT CONNECTION_ID() AS id")).toEqual([{ id }])
              expect(yield* Stream.runCollect(sql`SELECT CONNECTION_ID() AS id`.stream)).toHaveLength(1)
              yield* sql.withTransaction(
                sql`UPDATE account SET ${sql.update({ balance: 1 })} WHERE ${sql.in("id", [1, 2])}`
              )
              yield* sql.unsafe("SAVEPOINT effect_sql_1").unprepared
            }
            // A transformer makes another statement of the same client.
            const commented = Statement.withTransformer((statement, sql) => Effect.succeed(sql`${statement} FOR SHARE`))
            expect(yield* commented(client`SELECT CONNECTION_ID() AS id`)).toEqual([{ id }])
          })))
          const nested = Effect.exit(on(client)(Transaction.run(on(copy)(Transaction.run(Effect.void)))))
          expect(globalThis.String(defect(yield* nested))).toMatch(/Transaction\.savepoint/)
        }
      }
    })))

  it.effect("outside of any transaction each statement runs on its own client", () =>
    inTwoDatabases((a, b) =>
      Effect.gen(function*() {
        yield* Effect.all([Transaction.run(add(1, 1)), on(b)(Transaction.run(add(2, 1)))], { concurrency: 2 })
        yield* b.withTransaction(b`UPDATE account SET balance = 9 WHERE id = 3`)
        yield* a`UPDATE account SET balance = 8 WHERE id = 3`
        expect([yield* balances, yield* on(b)(balances)]).toEqual([[1, 0, 8], [0, 1, 9]])
        const ids = yield* Effect.all([connectionId, on(b)(connectionId)])
        expect(ids[0]).not.toBe(ids[1])
        expect(Exit.isSuccess(yield* Effect.exit(Transaction.run(add(1, 1))))).toBe(true)
      })
    ))
})
