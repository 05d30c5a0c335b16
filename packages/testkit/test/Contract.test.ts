import { SqlClient } from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import { expect, layer } from "@effect/vitest"
import * as Transaction from "@safesync/mysql/Transaction"
import * as Redis from "@safesync/redis-streams/Redis"
import * as Contract from "@safesync/testkit/Contract"
import * as MysqlServer from "@safesync/testkit/MysqlServer"
import * as RedisServer from "@safesync/testkit/RedisServer"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import { randomUUID } from "node:crypto"

const Payment = Schema.Struct({ account: Schema.Int, pence: Schema.Int })

const prepare = Effect.flatMap(SqlClient, (sql) =>
  Effect.zipRight(
    sql`CREATE TABLE account (id INT PRIMARY KEY, balance INT NOT NULL)`,
    sql`INSERT INTO account VALUES (1, 0), (2, 0)`
  ))

const accounts = Effect.flatMap(SqlClient, (sql) => sql`SELECT * FROM account ORDER BY id`)

const credit = ({ account, pence }: typeof Payment.Type) =>
  Effect.flatMap(SqlClient, (sql) => sql`UPDATE account SET balance = balance + ${pence} WHERE id = ${account}`)

const honest = {
  schema: Payment,
  messages: [{ account: 1, pence: 5 }],
  handler: credit,
  prepare,
  observe: accounts
} as const

/** Runs an effect on another connection than the transaction's. */
const outside = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.mapInputContext(effect, (context: Context.Context<R>) => {
    const services = new Map(context.unsafeMap)
    services.delete(Transaction.Transaction.key)
    services.delete("@effect/sql/SqlClient/TransactionConnection")
    return Context.unsafeMake(services) as Context.Context<R>
  })

layer(Layer.merge(MysqlServer.layer, RedisServer.layer), { excludeTestServices: true })("Contract", (it) => {
  it.effect(
    "L23: a handler that writes in its transaction keeps the contract, at every point",
    () =>
      Effect.gen(function*() {
        const { crashes } = yield* Contract.exactlyOnce({
          ...honest,
          messages: [{ account: 1, pence: 5 }, { account: 2, pence: 7 }]
        })
        expect(crashes.length).toBeGreaterThanOrEqual(14)
        expect(crashes.some((crash) => crash.startsWith("after COMMIT"))).toBe(true)
        expect(crashes.some((crash) => crash.startsWith("before XACK"))).toBe(true)
      }),
    120_000
  )

  it.effect(
    "what is observed is compared as it was, whatever becomes of it, and may hold what JSON cannot",
    () =>
      Effect.gen(function*() {
        const seen: Array<unknown> = []
        const observe = Effect.map(accounts, (rows) => {
          seen.length = 0
          seen.push(...rows, 2n ** 60n, new Map([["at", new Date(0)]]))
          return seen
        })
        expect((yield* Contract.exactlyOnce({ ...honest, observe })).crashes.length).toBeGreaterThan(6)
        const broken = yield* Effect.flip(Contract.exactlyOnce({
          ...honest,
          handler: (payment) => Effect.zipRight(outside(credit(payment)), credit({ account: 2, pence: 1 })),
          observe
        }))
        expect(broken.message).toContain("1152921504606846976n")
      }),
    120_000
  )

  it.effect("L23: one that writes on another connection is found out", () =>
    Effect.gen(function*() {
      const broken = yield* Effect.flip(Contract.exactlyOnce({
        ...honest,
        handler: (payment) => Effect.zipRight(outside(credit(payment)), credit({ account: 2, pence: 1 }))
      }))
      expect(broken).toBeInstanceOf(Contract.ContractBroken)
      const { violations } = broken as Contract.ContractBroken
      expect(violations.map(({ crash }) => crash)).toContainEqual(expect.stringContaining("before COMMIT"))
      expect(violations[0]!.found).toMatchObject({ effects: [{ id: 1, balance: 10 }, { id: 2, balance: 1 }] })
    }), 120_000)

  it.effect("L23: one that writes to Redis is found out", () =>
    Effect.gen(function*() {
      const key = `contract-${randomUUID()}`
      const onRedis = (...command: [string, ...Array<string>]) =>
        Effect.flatMap(Redis.Redis, (redis) => redis.command(...command))
      const broken = yield* Effect.flip(Contract.exactlyOnce({
        ...honest,
        handler: (payment) => Effect.zipRight(onRedis("INCR", key), credit(payment)),
        prepare: Effect.zipRight(onRedis("DEL", key), prepare),
        observe: Effect.ensuring(onRedis("GET", key), Effect.ignore(onRedis("DEL", key)))
      }))
      expect(broken).toBeInstanceOf(Contract.ContractBroken)
      expect(broken.message).toContain(
        "Hint: what is not written with the transaction's own"
      )
    }), 120_000)

  it.effect("a handler that does nothing, or always fails, has not been tested", () =>
    Effect.gen(function*() {
      const reason = (
        handler: (payment: typeof Payment.Type) => Effect.Effect<unknown, SqlError | string, SqlClient>
      ) => Effect.map(Effect.flip(Contract.exactlyOnce({ ...honest, handler })), ({ message }) => message)
      expect(yield* reason(({ pence }) => credit({ account: 9, pence }))).toContain(
        "the same before it has run and after"
      )
      expect(yield* reason(() => Effect.fail("no"))).toContain("1 of its messages failed for good")
    }), 60_000)

  it.effect("a crash that comes at another point than that of its name shows nothing", () =>
    Effect.gen(function*() {
      let run = 0
      const broken = yield* Effect.flip(Contract.exactlyOnce({
        ...honest,
        handler: (payment) =>
          Effect.flatMap(SqlClient, (sql) =>
            Effect.zipRight(run > 1 ? sql`SELECT 1 AS another` : sql`SELECT 2 AS first`, credit(payment))),
        prepare: Effect.zipRight(
          Effect.sync(() =>
            run++
          ),
          prepare
        )
      }))
      expect(broken).toBeInstanceOf(Contract.ContractUntested)
      expect(broken.message).toContain("came at another point")
    }), 60_000)
})
