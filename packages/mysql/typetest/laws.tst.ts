import type { MysqlClient } from "@effect/sql-mysql2/MysqlClient"
import { SqlClient } from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import type { MysqlError } from "@safesync/mysql/MysqlError"
import * as Occ from "@safesync/mysql/Occ"
import * as RowLock from "@safesync/mysql/RowLock"
import * as Transaction from "@safesync/mysql/Transaction"
import type { TransactionError } from "@safesync/mysql/TransactionError"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import type { Scope } from "effect/Scope"
import { describe, expect, test } from "tstyche"

const plain = Effect.flatMap(SqlClient, (sql) => sql`SELECT 1`)
const locked = RowLock.forUpdate({ table: "t", where: { id: 1 } })
declare const runMain: <A, E>(effect: Effect.Effect<A, E, MysqlClient>) => void

describe("L1: what a transaction leaves of its body's type", () => {
  test("SqlError comes out as MysqlError, Transaction and Scope are provided", () => {
    const body = Effect.zipRight(locked, Effect.zipRight(Effect.scope, plain))
    expect<Effect.Effect.Error<typeof body>>().type.toBeAssignableFrom<SqlError>()
    const _ran = Transaction.run(body)
    expect<Effect.Effect.Error<typeof _ran>>().type.toBe<MysqlError | TransactionError>()
    expect<Effect.Effect.Context<typeof _ran>>().type.toBe<MysqlClient | SqlClient>()
    expect<Extract<Effect.Effect.Context<typeof _ran>, Scope>>().type.toBe<never>()
  })
})

describe("L9: a row lock needs a transaction", () => {
  test("outside of one it does not compile", () => {
    expect(runMain).type.not.toBeCallableWith(locked)
    expect(runMain).type.toBeCallableWith(Transaction.run(locked))
  })

  test("a condition without columns does not compile, and says why", () => {
    expect(RowLock.forUpdate({ table: "t", where: {} })).type.toRaiseError(
      "Name at least one column: an empty condition would match every row"
    )
  })
})

describe("L12: the version is not the caller's to set", () => {
  test("it does not compile, and says why", () => {
    expect(Occ.update({
      table: "t",
      key: { id: 1 },
      version: { column: "version", expected: 1 },
      set: { version: 2 }
    })).type.toRaiseError("The version column is set by Occ.update alone")
  })
})

describe("L13: every attempt opens its own transaction", () => {
  test("one that borrows an open one does not compile, and says why", () => {
    expect(Occ.retry(locked, Schedule.recurs(3))).type.toRaiseError(
      "Each attempt of Occ.retry opens its own transaction: put Transaction.run inside it"
    )
    expect(Occ.retry(Schedule.recurs(3))).type.not.toBeCallableWith(locked)
    expect(Occ.retry).type.toBeCallableWith(Transaction.run(locked), Schedule.recurs(3))
  })

  test("there is no default schedule", () => {
    expect(Occ.retry).type.not.toBeCallableWith(Transaction.run(locked))
  })
})

describe("afterCommit", () => {
  test("its effect cannot use the transaction", () => {
    expect(Transaction.afterCommit(Effect.asVoid(Effect.ignore(locked)))).type.toRaiseError(
      "An effect that runs after COMMIT cannot use the transaction: it is over by then"
    )
  })
})
