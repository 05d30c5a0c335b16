import type { MysqlClient } from "@effect/sql-mysql2/MysqlClient"
import { SqlClient } from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import * as AdvisoryLock from "@safesync/mysql/AdvisoryLock"
import * as IdempotentInsert from "@safesync/mysql/IdempotentInsert"
import * as Inbox from "@safesync/mysql/Inbox"
import type { MysqlError } from "@safesync/mysql/MysqlError"
import * as Occ from "@safesync/mysql/Occ"
import * as RowLock from "@safesync/mysql/RowLock"
import * as Transaction from "@safesync/mysql/Transaction"
import type { TransactionError } from "@safesync/mysql/TransactionError"
import * as Effect from "effect/Effect"
import type * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import type { Scope } from "effect/Scope"
import { describe, expect, test } from "tstyche"

const plain = Effect.flatMap(SqlClient, (sql) => sql`SELECT 1`)
const locked = RowLock.forUpdate({ table: "t", where: { id: 1 } })
declare const open: Transaction.Transaction
const Account = Schema.Struct({ id: Schema.Int, balance: Schema.Int })
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

  test("nor do the other things that need one", () => {
    expect(runMain).type.not.toBeCallableWith(RowLock.forUpdateMany({ table: "t", key: "id", values: [1] }))
    expect(runMain).type.not.toBeCallableWith(AdvisoryLock.acquireInTransaction("name", { timeout: 0 }))
    expect(runMain).type.not.toBeCallableWith(
      IdempotentInsert.insert({ table: "t", values: { id: 1 }, key: "PRIMARY" })
    )
    expect(runMain).type.not.toBeCallableWith(Inbox.once("id", "group")(Effect.void))
    expect(runMain).type.not.toBeCallableWith(Transaction.savepoint(Effect.void))
    expect(runMain).type.not.toBeCallableWith(Transaction.afterCommit(Effect.void))
  })

  test("a condition without columns does not compile, and says why", () => {
    expect(RowLock.forUpdate({ table: "t", where: {} })).type.toRaiseError(
      "Name at least one column: an empty condition would match every row"
    )
    expect(RowLock.forShare({ table: "t", where: {} })).type.toRaiseError(/Name at least one column/)
    expect(RowLock.forUpdate({ table: "t", where: {}, schema: Account })).type.toRaiseError(/Name at least one column/)
    expect(Occ.update({ table: "t", key: {}, version: { column: "version", expected: 1 }, set: { a: 2 } })).type
      .toRaiseError(/Name at least one column/)
  })

  test("without a schema a row is what the driver reads", () => {
    expect(locked).type.toBe<
      Effect.Effect<Option.Option<RowLock.Row>, RowLock.RowLockError, Transaction.Transaction>
    >()
  })

  test("a schema decides the row's type, what decoding needs, and adds its failure", () => {
    interface Zone {
      readonly zone: string
    }
    const Stamped = Account as Schema.Schema<typeof Account.Type, typeof Account.Encoded, Zone>
    const options = { table: "t", schema: Stamped } as const
    type Found<A> = Effect.Effect<A, RowLock.RowLockError | RowLock.MalformedRow, Transaction.Transaction | Zone>
    expect(RowLock.forUpdate({ ...options, where: { id: 1 } })).type.toBe<Found<Option.Option<typeof Account.Type>>>()
    expect(RowLock.forShare({ ...options, where: { id: 1 } })).type.toBe<Found<Option.Option<typeof Account.Type>>>()
    expect(RowLock.forUpdateMany({ ...options, key: "id", values: [1] })).type.toBe<
      Found<ReadonlyArray<typeof Account.Type>>
    >()
  })

  test("the values of a composite key name its columns, all of them", () => {
    const composite = { table: "t", key: ["invoice", "line"] } as const
    expect(RowLock.forUpdateMany).type.toBeCallableWith({ ...composite, values: [{ invoice: "a", line: 1 }] })
    expect(RowLock.forUpdateMany({ ...composite, values: [{ invoice: "a" }] })).type.toRaiseError(
      "Property 'line' is missing"
    )
    expect(RowLock.forUpdateMany).type.not.toBeCallableWith({ ...composite, values: [1] })
    expect(RowLock.forUpdateMany).type.not.toBeCallableWith({ table: "t", key: "id", values: [{ id: 1 }] })
    expect(RowLock.forUpdateMany).type.not.toBeCallableWith({ table: "t", key: [], values: [{}] })
    expect(RowLock.forUpdateMany).type.not.toBeCallableWith({ table: "t", key: "id", values: [null] })
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

describe("L12: the version is no part of the key", () => {
  test("it does not compile, and says why", () => {
    expect(Occ.update({
      table: "t",
      key: { id: 1, version: 1 },
      version: { column: "version", expected: 1 },
      set: { name: "x" }
    })).type.toRaiseError("The version column is compared by Occ.update alone: the key identifies the row")
  })
})

describe("L13: every attempt opens its own transaction", () => {
  test("one that borrows an open one does not compile, and says why", () => {
    expect(Occ.retry(locked, Schedule.recurs(3))).type.toRaiseError(
      "Each attempt of Occ.retry opens its own transaction: put Transaction.run inside it"
    )
    expect(Occ.retry(Schedule.recurs(3))).type.not.toBeCallableWith(locked)
    expect(Occ.retry).type.toBeCallableWith(Transaction.run(locked), Schedule.recurs(3))
    expect(Occ.retry(Schedule.recurs(3))).type.toBeCallableWith(Transaction.run(locked))
  })

  test("nor does one that is provided with an open one", () => {
    const borrowed = Transaction.provide(locked, open)
    expect(Occ.retry(borrowed, Schedule.recurs(3))).type.toRaiseError(/put Transaction.run in place of provide/)
    expect(Occ.retry(Schedule.recurs(3))).type.not.toBeCallableWith(borrowed)
    const opensItsOwn = Effect.scoped(Effect.flatMap(Transaction.make(), (own) => Transaction.provide(locked, own)))
    expect(Occ.retry).type.toBeCallableWith(opensItsOwn, Schedule.recurs(3))
  })

  test("the schedule is told what it retries, and no more", () => {
    expect(Occ.retry).type.toBeCallableWith(
      Transaction.run(locked),
      Schedule.recurWhile((error: Occ.Retryable) => error._tag === "Deadlock")
    )
    expect(Occ.retry).type.not.toBeCallableWith(
      Transaction.run(locked),
      Schedule.recurWhile((error: Occ.RowMissing) => error.table === "t")
    )
  })

  test("what an attempt fails with, it still fails with when the schedule has ended", () => {
    const attempt = Transaction.run(Effect.zipRight(locked, Effect.fail("mine" as const)))
    const _retried = Occ.retry(attempt, Schedule.recurs(3))
    expect<Effect.Effect.Error<typeof _retried>>().type.toBe<Effect.Effect.Error<typeof attempt>>()
    expect<Effect.Effect.Context<typeof _retried>>().type.toBe<MysqlClient>()
  })

  test("there is no default schedule", () => {
    expect(Occ.retry).type.not.toBeCallableWith(Transaction.run(locked))
  })
})

describe("L8: a transaction does not leave its scope", () => {
  test("its effect cannot use the transaction", () => {
    expect(Transaction.afterCommit(Effect.asVoid(Effect.ignore(locked)))).type.toRaiseError(
      "An effect that runs after COMMIT cannot use the transaction: it is over by then"
    )
  })

  test("nor its scope", () => {
    expect(Transaction.afterCommit(Effect.addFinalizer(() => Effect.void))).type.toRaiseError(
      "An effect that runs after COMMIT needs a scope of its own: the body's is closed by then"
    )
    expect(Transaction.afterCommit).type.toBeCallableWith(Effect.scoped(Effect.addFinalizer(() => Effect.void)))
  })

  test("what runs after COMMIT cannot fail, and what it needs is needed by the transaction", () => {
    expect(Transaction.afterCommit).type.not.toBeCallableWith(Effect.fail("no"))
    const _body = Transaction.afterCommit(Effect.orDie(Effect.asVoid(plain)))
    expect<Effect.Effect.Context<typeof _body>>().type.toBe<Transaction.Transaction | SqlClient>()
  })

  test("a Transaction is not made by hand", () => {
    expect<{ readonly connectionId: number }>().type.not.toBeAssignableTo<Transaction.Transaction>()
  })
})
