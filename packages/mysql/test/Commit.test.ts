import * as Reactivity from "@effect/experimental/Reactivity"
import * as MysqlClient from "@effect/sql-mysql2/MysqlClient"
import { SqlClient } from "@effect/sql/SqlClient"
import { expect, layer } from "@effect/vitest"
import * as Transaction from "@safesync/mysql/Transaction"
import * as MysqlServer from "@safesync/testkit/MysqlServer"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { accounts, add, balances, defect, failure, inDatabase, outside, tag, throughProxy } from "./support.js"

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
            Effect.exit(Transaction.run(add(1, 10), { controlTimeout: "300 millis" }))
          )
        })
      )
      expect(tag(exit)).toBe("CommitOutcomeUnknown")
      expect(Duration.lessThan(took, Duration.seconds(2))).toBe(true)
      expect(yield* balances).toEqual([10, 0, 0])
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

layer(MysqlServer.layerOwn(), { excludeTestServices: true, timeout: "3 minutes" })("COMMIT refused", (it) => {
  it.effect("L3: the server says no to COMMIT: CommitFailed, and nothing was written", () =>
    inDatabase(Effect.gen(function*() {
      yield* accounts
      const sql = yield* SqlClient
      // another connection makes the server read-only between the write and COMMIT
      const readOnly = (on: number) =>
        Effect.gen(function*() {
          const { config } = yield* MysqlClient.MysqlClient
          const other = yield* MysqlClient.make({ ...config, maxConnections: 1 })
          yield* other`SET GLOBAL super_read_only = ${other.literal(String(on))}`
          if (on === 0) yield* other`SET GLOBAL read_only = 0`
        }).pipe(Effect.scoped, Effect.provide(Reactivity.layer), outside)
      const exit = yield* Effect.exit(Transaction.run(Effect.zipRight(add(1, 10), readOnly(1))))
      yield* readOnly(0)
      expect(failure(exit)).toMatchObject({ _tag: "CommitFailed", cause: { _tag: "ReadOnlyServer" } })
      expect(yield* balances).toEqual([0, 0, 0])
      yield* Transaction.run(sql`UPDATE account SET balance = 1 WHERE id = 1`)
      expect(yield* balances).toEqual([1, 0, 0])
    })))
})
