import type * as MysqlClient from "@effect/sql-mysql2/MysqlClient"
import { SqlClient } from "@effect/sql/SqlClient"
import { expect, layer } from "@effect/vitest"
import * as AdvisoryLock from "@safesync/mysql/AdvisoryLock"
import * as Inbox from "@safesync/mysql/Inbox"
import * as RowLock from "@safesync/mysql/RowLock"
import * as Transaction from "@safesync/mysql/Transaction"
import * as MysqlServer from "@safesync/testkit/MysqlServer"
import type { TcpProxy } from "@safesync/testkit/TcpProxy"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import {
  accounts,
  add,
  anotherClient,
  balances,
  defect,
  failure,
  holding,
  inDatabase,
  outside,
  tag,
  throughProxy,
  untilLockWait
} from "./support.js"

layer(MysqlServer.layer, { excludeTestServices: true })("COMMIT in doubt", (it) => {
  it.effect("L3: the connection dies while COMMIT is in flight: CommitOutcomeUnknown, and it was committed", () =>
    inDatabase(Effect.gen(function*() {
      yield* accounts
      const exit = yield* throughProxy((proxy) =>
        Effect.gen(function*() {
          yield* Transaction.run(add(1, 1))
          const lost = yield* proxy.loseReplies("COMMIT")
          const exit = yield* Effect.exit(Transaction.run(add(1, 10)))
          yield* lost
          // the pool has thrown the connection away and goes on
          yield* Transaction.run(add(1, 100))
          return exit
        })
      )
      expect(tag(exit)).toBe("CommitOutcomeUnknown")
      expect(yield* balances).toEqual([111, 0, 0])
    })))

  it.effect("L3: COMMIT never arrives: CommitOutcomeUnknown too, and nothing was written", () =>
    inDatabase(Effect.gen(function*() {
      yield* accounts
      const exit = yield* throughProxy((proxy) =>
        Effect.gen(function*() {
          const lost = yield* proxy.loseRequest("COMMIT")
          const exit = yield* Effect.exit(Transaction.run(add(1, 10)))
          yield* lost
          return exit
        })
      )
      expect(tag(exit)).toBe("CommitOutcomeUnknown")
      expect(yield* balances).toEqual([0, 0, 0])
    })))

  it.effect("L3: no answer to COMMIT within the bound: CommitOutcomeUnknown, and the session is ended", () =>
    inDatabase(Effect.gen(function*() {
      yield* accounts
      const [took, exit] = yield* throughProxy((proxy) =>
        Effect.gen(function*() {
          yield* proxy.loseReplies("COMMIT", "hang")
          return yield* Effect.timed(
            Effect.exit(Transaction.run(add(1, 10), { controlTimeout: "1 second" }))
          )
        })
      )
      expect(tag(exit)).toBe("CommitOutcomeUnknown")
      expect(Duration.lessThan(took, Duration.seconds(20))).toBe(true)
      expect(yield* balances).toEqual([10, 0, 0])
    })))

  it.effect("L3: a bound of for ever, or longer than a timer runs, does not pass at once; one of nothing is a defect", () =>
    inDatabase(Effect.gen(function*() {
      yield* accounts
      const run = (bound: Duration.DurationInput) =>
        Effect.exit(Transaction.run(add(1, 1), { controlTimeout: bound, lockWaitTimeout: bound }))
      const exits = yield* throughProxy((proxy) =>
        Effect.zipRight(proxy.delay("20 millis"), Effect.all([run("30 days"), run(Duration.infinity), run(0)]))
      )
      expect(exits.map(tag)).toEqual([undefined, undefined, undefined])
      expect(String(defect(exits[2]))).toMatch(/controlTimeout must be/)
      expect(yield* balances).toEqual([2, 0, 0])
    })))

  it.effect("L3: in the Scope form the typed error is the defect", () =>
    inDatabase(Effect.gen(function*() {
      yield* accounts
      const exit = yield* throughProxy((proxy) =>
        Effect.zipRight(
          proxy.loseReplies("COMMIT"),
          Effect.exit(Effect.scoped(Effect.flatMap(Transaction.make(), (tx) => Transaction.provide(add(1, 1), tx))))
        )
      )
      expect(defect(exit)).toMatchObject({ _tag: "CommitOutcomeUnknown" })
    })))

  it.effect("L2: the reply to ROLLBACK is lost: the body's failure stands", () =>
    inDatabase(Effect.gen(function*() {
      yield* accounts
      const exit = yield* throughProxy((proxy) =>
        Effect.zipRight(
          proxy.loseReplies("ROLLBACK"),
          Effect.exit(Transaction.run(Effect.zipRight(add(1, 1), Effect.fail("mine" as const))))
        )
      )
      expect(failure(exit)).toBe("mine")
      expect(yield* balances).toEqual([0, 0, 0])
    })))
})

layer(MysqlServer.layer, { excludeTestServices: true })("BEGIN", (it) => {
  const roundTrips = (proxy: TcpProxy, effect: Effect.Effect<unknown, unknown, MysqlClient.MysqlClient | SqlClient>) =>
    Effect.gen(function*() {
      // the connection is in the pool already
      yield* Transaction.run(add(2, 0))
      const before = (yield* proxy.counters).roundTrips
      yield* effect
      return (yield* proxy.counters).roundTrips - before
    })

  it.effect("it travels with the inbox's insert and with a lock, and a transaction without a statement sends nothing", () =>
    inDatabase(Effect.gen(function*() {
      yield* Effect.zipRight(accounts, Inbox.migration)
      let told = 0
      const counts = yield* throughProxy((proxy) =>
        Effect.all([
          roundTrips(proxy, Transaction.run(Inbox.once("m", "g")(Effect.void))),
          roundTrips(proxy, Transaction.run(Inbox.once("m", "g")(Effect.void))),
          roundTrips(proxy, Transaction.run(RowLock.forUpdate({ table: "account", where: { id: 1 } }))),
          roundTrips(proxy, Transaction.run(AdvisoryLock.acquireInTransaction("a", { timeout: 0 }))),
          roundTrips(proxy, Transaction.run(Transaction.afterCommit(Effect.sync(() => void told++)))),
          roundTrips(proxy, Effect.exit(Transaction.run(Effect.fail("no"), { lockWaitTimeout: "1 second" })))
        ])
      )
      expect(counts).toEqual([2, 2, 2, 2, 0, 0])
      expect(told).toBe(1)
    })))

  it.effect("a row that came with it is the same as one that came later, whatever its columns and its key", () =>
    inDatabase(Effect.gen(function*() {
      const sql = yield* SqlClient
      yield* sql`CREATE TABLE exact (id INT PRIMARY KEY, tiny TINYINT, big BIGINT, ubig BIGINT UNSIGNED, price DECIMAL(30, 10),
        name VARCHAR(50), code CHAR(5), raw VARBINARY(10), bytes BLOB, words TEXT, kind ENUM('a', 'b'), y YEAR, nothing INT,
        filled INT(6) ZEROFILL)`
      yield* sql`INSERT INTO exact VALUES (1, -1, -9007199254740993, 18446744073709551615, 12345678901234567890.0123456789,
        'Zoë "?" \\\\', 'ab', x'00FF', x'DEADBEEF', 'long', 'b', 2024, NULL, 42)`
      yield* sql`CREATE TABLE other (id INT, name VARCHAR(50), f FLOAT, d DOUBLE, t TIME(3), at DATETIME(6), day DATE, j JSON,
        stamp TIMESTAMP(3) NULL, flags BIT(4), PRIMARY KEY (id, name))`
      for (const name of ["plain", "O'Brien", "back\\slash", "?", "Zoë"]) {
        yield* sql`INSERT INTO other VALUES (1, ${name}, 16777217, 0.1, '12:34:56.789', '2024-02-29 12:34:56.123456',
          '2024-02-29', '{"a": [1, 2.5]}', '2024-02-29 12:34:56.5', b'1010')`
      }
      const twice = (table: string, where: Record<string, string | number | bigint>) =>
        Effect.gen(function*() {
          const lock = RowLock.forUpdate({ table, where })
          const [first, second] = yield* Transaction.run(Effect.all([lock, lock]))
          expect(Option.isSome(second)).toBe(true)
          expect(first).toEqual(second)
        })
      for (const where of [{ id: 1 }, { price: "12345678901234567890.0123456789" }, { big: -9007199254740993n }]) {
        yield* twice("exact", where)
      }
      for (const name of ["plain", "O'Brien", "back\\slash", "?", "Zoë"]) yield* twice("other", { id: 1, name })
    })))

  it.effect("how long a statement waits that came with it is not held against it", () =>
    inDatabase(Effect.gen(function*() {
      yield* Effect.zipRight(accounts, Inbox.migration)
      const sql = yield* SqlClient
      const holder = yield* holding(
        Inbox.once("m", "g")(add(1, 1)),
        Effect.zipRight(outside(untilLockWait), sql`SELECT SLEEP(2.5)`)
      )
      yield* holder.letGo
      const again = yield* Transaction.run(Inbox.once("m", "g")(add(1, 1)), { controlTimeout: "2 seconds" })
      expect(Option.isNone(again)).toBe(true)
      yield* holder.release
      expect(yield* balances).toEqual([1, 0, 0])
    })))

  for (const first of ["a plain statement", "the inbox's insert"]) {
    it.effect(`no answer to it is BeginFailed, also when it travels with ${first}`, () =>
      inDatabase(Effect.gen(function*() {
        yield* Effect.zipRight(accounts, Inbox.migration)
        const run = (options: Transaction.Options) =>
          Effect.exit(
            first === "a plain statement"
              ? Transaction.run(Effect.asVoid(add(1, 1)), options)
              : Transaction.run(Effect.asVoid(Inbox.once("m", "g")(add(1, 1))), options)
          )
        const exits = yield* throughProxy((proxy) =>
          Effect.all([
            Effect.zipRight(proxy.loseReplies("START TRANSACTION"), run({})),
            Effect.zipRight(proxy.loseRequest("START TRANSACTION"), run({})),
            Effect.zipRight(
              proxy.loseReplies("START TRANSACTION", "hang"),
              run({ controlTimeout: "200 millis" })
            ),
            run({})
          ])
        )
        expect(exits.map(tag)).toEqual(["BeginFailed", "BeginFailed", "BeginFailed", undefined])
        expect(yield* balances).toEqual([1, 0, 0])
      })))
  }

  it.effect("a body that has its own answer to that failure keeps it, and cannot go on as if nothing had happened", () =>
    inDatabase(Effect.gen(function*() {
      yield* accounts
      const exits = yield* throughProxy((proxy) =>
        Effect.all([
          Effect.zipRight(
            proxy.loseReplies("START TRANSACTION"),
            Effect.exit(Transaction.run(Effect.mapError(add(1, 1), () => "mine" as const)))
          ),
          Effect.zipRight(
            proxy.loseReplies("START TRANSACTION"),
            Effect.exit(Transaction.run(Effect.ignore(add(1, 1))))
          )
        ])
      )
      expect(failure(exits[0])).toBe("mine")
      expect(tag(exits[1])).toBe("TransactionAborted")
      expect(yield* balances).toEqual([0, 0, 0])
    })))
})

layer(MysqlServer.layerOwn(), { excludeTestServices: true, timeout: "3 minutes" })("COMMIT refused", (it) => {
  it.effect("L3: the server says no to COMMIT: CommitFailed, and nothing was written", () =>
    inDatabase(
      Effect.gen(function*() {
        yield* accounts
        const sql = yield* SqlClient
        // another connection makes the server read-only between the write and COMMIT
        const other = yield* anotherClient({ maxConnections: 1 })
        const readOnly = (on: number) => outside(other`SET GLOBAL super_read_only = ${other.literal(String(on))}`)
        const exit = yield* Effect.exit(Transaction.run(Effect.zipRight(add(1, 10), readOnly(1))))
        const refused = yield* Effect.exit(
          Transaction.run(Effect.zipRight(Effect.ignore(balances), add(1, 10)), { accessMode: "read-write" })
        )
        const options = { accessMode: "read-write", isolation: "serializable", lockWaitTimeout: "3 seconds" } as const
        const notBegun = yield* Effect.exit(Effect.scoped(Transaction.make(options)))
        yield* readOnly(0)
        yield* other`SET GLOBAL read_only = 0`
        // BEGIN's own failure leaves no setting behind that came before it
        expect(tag(notBegun)).toBe("BeginFailed")
        expect(yield* sql`SELECT @@innodb_lock_wait_timeout AS seconds`).toEqual([{ seconds: 50 }])
        expect(tag(refused)).toBe("TransactionAborted")
        expect(failure(exit)).toMatchObject({ _tag: "CommitFailed", cause: { _tag: "ReadOnlyServer" } })
        expect(yield* balances).toEqual([0, 0, 0])
        yield* Transaction.run(sql`UPDATE account SET balance = 1 WHERE id = 1`)
        expect(yield* balances).toEqual([1, 0, 0])
      }),
      { maxConnections: 1 }
    ))
})
