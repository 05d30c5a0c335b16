import { SqlClient } from "@effect/sql/SqlClient"
import { expect, layer } from "@effect/vitest"
import * as AdvisoryLock from "@safesync/mysql/AdvisoryLock"
import * as FencingToken from "@safesync/mysql/FencingToken"
import * as Transaction from "@safesync/mysql/Transaction"
import * as MysqlServer from "@safesync/testkit/MysqlServer"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import { accounts, add, defect, inDatabase, outside, tag } from "./support.js"

/** As others ask: whether the name is free, and who takes it with the server's own function. */
const isFree = (name: string) =>
  Effect.flatMap(
    SqlClient,
    (sql) => Effect.map(sql<{ free: number }>`SELECT IS_FREE_LOCK(${name}) AS free`, ([row]) => row!.free === 1)
  )

const names = ["import/2026-12-01", "it's \\ \"quoted\" ?", "naïve 名前", "x".repeat(64), "名".repeat(64), "MiXed"]

const inTransaction = (name: string) => AdvisoryLock.acquireInTransaction(name, { timeout: 0, raw: true })

layer(MysqlServer.layer, { excludeTestServices: true })("AdvisoryLock with a raw name", (it) => {
  for (const name of names) {
    it.effect(`L10: excludes those who take the server's own lock, and is given back: ${name.slice(0, 20)}`, () =>
      inDatabase(Effect.gen(function*() {
        yield* accounts
        const held = outside(isFree(name))
        for (const first of [true, false]) {
          const seen = yield* Transaction.run(Effect.gen(function*() {
            if (!first) yield* add(1, 1)
            yield* inTransaction(name)
            return yield* held
          }))
          expect(seen).toBe(false)
          expect(yield* held).toBe(true)
        }
        const options = { timeout: 0, raw: true } as const
        expect(yield* AdvisoryLock.withLock(name, options)(held)).toBe(false)
        expect(yield* held).toBe(true)

        // Somebody else has it.
        const sql = yield* SqlClient
        yield* Effect.scoped(Effect.gen(function*() {
          const connection = yield* sql.reserve
          yield* connection.executeRaw("SELECT GET_LOCK(?, 0)", [name])
          expect(tag(yield* Effect.exit(Transaction.run(inTransaction(name))))).toBe("AdvisoryLockTimeout")
          const around = AdvisoryLock.withLock(name, options)(Effect.void)
          expect(tag(yield* Effect.exit(around))).toBe("AdvisoryLockTimeout")
          yield* connection.executeRaw("DO RELEASE_LOCK(?)", [name])
        }))
      })))
  }

  it.effect("its tokens are one sequence, whatever the case of the name", () =>
    inDatabase(Effect.gen(function*() {
      yield* FencingToken.migration
      const tokens = yield* Effect.forEach(["Über", "über", "名".repeat(64), "x"], (name) =>
        Effect.scoped(Effect.flatMap(AdvisoryLock.acquire(name, { timeout: 0, raw: true }), FencingToken.issue)))
      expect(tokens.map(({ token }) =>
        token
      )).toEqual([1, 2, 1, 1])
      yield* Transaction.run(FencingToken.guard(tokens[1]!))
      expect(tag(yield* Effect.exit(Transaction.run(FencingToken.guard(tokens[0]!))))).toBe("FencingTokenStale")
    })))

  it.effect("a name that the server would refuse, or one in a namespace, is a defect", () =>
    inDatabase(Effect.gen(function*() {
      const attempts = [["", {}], ["x".repeat(65), {}], ["x", { namespace: "shop" }]] as const
      for (const [name, more] of attempts) {
        const options = { timeout: 0, raw: true, ...more }
        const exits: ReadonlyArray<Exit.Exit<unknown, unknown>> = [
          yield* Effect.exit(Transaction.run(AdvisoryLock.acquireInTransaction(name, options))),
          yield* Effect.exit(AdvisoryLock.withLock(name, options)(Effect.void))
        ]
        for (const exit of exits) expect(String(defect(exit))).toMatch(/1 to 64 characters|no namespace/)
      }
    })))
})
