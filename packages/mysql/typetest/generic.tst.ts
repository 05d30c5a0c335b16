// Helpers over an effect of any type, and over records of any names: they compile. What a refusal can still tell of them is refused.
import type { MysqlClient } from "@effect/sql-mysql2/MysqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import * as AdvisoryLock from "@safesync/mysql/AdvisoryLock"
import * as IdempotentInsert from "@safesync/mysql/IdempotentInsert"
import * as Inbox from "@safesync/mysql/Inbox"
import type { MysqlError } from "@safesync/mysql/MysqlError"
import * as Occ from "@safesync/mysql/Occ"
import * as Outbox from "@safesync/mysql/Outbox"
import * as RowLock from "@safesync/mysql/RowLock"
import type * as Rows from "@safesync/mysql/Rows"
import * as Transaction from "@safesync/mysql/Transaction"
import type { TransactionError } from "@safesync/mysql/TransactionError"
import * as Effect from "effect/Effect"
import type * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import type { Scope } from "effect/Scope"
import { describe, expect, test } from "tstyche"

const policy = Schedule.recurs(3)
/** Helpers of which it is enough that they compile. */
declare const compiles: (...helpers: ReadonlyArray<unknown>) => void
declare const open: Transaction.Transaction
declare const body: Effect.Effect<number, "mine" | SqlError, Transaction.Transaction | Scope | "Database">

describe("a helper over an effect of any type", () => {
  test("runs it in a transaction, and runs that again", () => {
    const atomically = <A, E, R>(body: Effect.Effect<A, E, R>) => body.pipe(Transaction.run(), Occ.retry(policy))
    expect(atomically(body)).type.toBe<
      Effect.Effect<number, "mine" | MysqlError | TransactionError, "Database" | MysqlClient>
    >()
    const dataFirst = <A, E, R>(body: Effect.Effect<A, E, R>) => Occ.retry(Transaction.run(body), policy)
    expect(dataFirst(body)).type.toBe<ReturnType<typeof atomically<number, "mine", "Database">>>()
  })

  test("whatever is between the two, and whatever is known of its type", () => {
    const schedule = <A, E, R, R2>(
      body: Effect.Effect<A, E, R>,
      schedule: Schedule.Schedule<unknown, Occ.Retryable, R2>
    ) => body.pipe(Transaction.run(), Effect.tap(() => Effect.void), Effect.withSpan("x"), Occ.retry(schedule))
    expect(schedule(body, policy)).type.toBe<
      Effect.Effect<number, "mine" | MysqlError | TransactionError, "Database" | MysqlClient>
    >()
    const locked = <A, E, R>(body: Effect.Effect<A, E, R>) =>
      body.pipe(Transaction.run(), AdvisoryLock.withLock("x", { timeout: 1 }), Occ.retry(policy))
    const known = <A, E>(body: Effect.Effect<A, E, Transaction.Transaction>) =>
      body.pipe(Transaction.run(), Occ.retry(policy))
    const also = <A, E, R>(body: Effect.Effect<A, E, R | Transaction.Transaction>) =>
      body.pipe(Transaction.run(), Occ.retry(policy))
    const bounded = <A, E, R extends Scope>(body: Effect.Effect<A, E, R>) =>
      body.pipe(Transaction.run(), Occ.retry(policy))
    const without = <A, E, R>(attempt: Effect.Effect<A, E, Exclude<R, Transaction.Transaction>>) =>
      Occ.retry(attempt, policy)
    const attempt = <A, E, R>(attempt: Occ.Attempt<A, E, R>) => Occ.retry(attempt, policy)
    compiles(locked, known, also, bounded, without, attempt)
  })

  test("puts it behind a savepoint, an inbox, a transaction that is open", () => {
    const savepoint = <A, E, R>(body: Effect.Effect<A, E, R>) =>
      body.pipe(Transaction.savepoint, Transaction.run(), Occ.retry(policy))
    const once = <A, E, R>(id: string, body: Effect.Effect<A, E, R>) =>
      body.pipe(Inbox.once(id, "group"), Transaction.run(), Occ.retry(policy))
    expect(once("1", body)).type.toBe<
      Effect.Effect<Option.Option<number>, "mine" | MysqlError | TransactionError, "Database" | MysqlClient>
    >()
    const provided = <A, E, R>(body: Effect.Effect<A, E, R>) => body.pipe(Transaction.provide(open))
    expect(Occ.retry(policy)).type.not.toBeCallableWith(provided(body))
    const opened = <A, E, R>(body: Effect.Effect<A, E, R>) =>
      Occ.retry(
        Effect.scoped(Effect.flatMap(Transaction.make(), (own) => Transaction.provide(body, own))),
        policy
      )
    compiles(savepoint, opened)
  })

  test("runs it after COMMIT", () => {
    const later = <R>(effect: Effect.Effect<void, never, R>) => Transaction.afterCommit(effect)
    expect(later(Effect.void as Effect.Effect<void, never, "Cache">)).type.toBe<
      Effect.Effect<void, never, Transaction.Transaction | "Cache">
    >()
    const ofAnyValue = <A, R>(effect: Effect.Effect<A, never, R>) => Transaction.afterCommit(effect)
    const thatMayFail = <A, E, R>(effect: Effect.Effect<A, E, R>) => Transaction.afterCommit(Effect.ignore(effect))
    const inScope = <R>(effect: Effect.Effect<void, never, R>) => Transaction.afterCommit(Effect.scoped(effect))
    const inTransaction = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
      Transaction.afterCommit(Effect.ignore(Transaction.run(effect)))
    const around = <A, E, R, R2>(body: Effect.Effect<A, E, R>, then: (value: A) => Effect.Effect<void, never, R2>) =>
      body.pipe(Effect.tap((value) => Transaction.afterCommit(then(value))), Transaction.run(), Occ.retry(policy))
    compiles(ofAnyValue, thatMayFail, inScope, inTransaction, around)
  })

  test("what is known of it is refused in a helper as anywhere else", () => {
    const borrowing = <A, E, R>(body: Effect.Effect<A, E, R | Transaction.Transaction>) => body
    expect(Occ.retry(borrowing(body), policy)).type.toRaiseError(/put Transaction.run inside it/)
    expect(Occ.retry(Effect.void as Effect.Effect<void, never, any>, policy)).type.toRaiseError(
      /put Transaction.run inside it/
    )
    expect(Occ.retry(Effect.void as Effect.Effect<void, never, unknown>, policy)).type.toRaiseError(
      /put Transaction.run inside it/
    )
    expect(Transaction.afterCommit(Effect.void as Effect.Effect<void, never, any>)).type.toRaiseError(
      "An effect that runs after COMMIT cannot use the transaction"
    )
  })
})

interface Id {
  readonly id: number
}
declare const id: Id
class Line extends Schema.Class<Line>("Line")({ invoice: Schema.String, no: Schema.Int }) {}

describe("a condition whose columns are not known by name", () => {
  test("is any record, any interface, and any type parameter for one", () => {
    type Values = Readonly<Record<string, string | number | null>>
    const generic = <W extends Values>(table: string, where: W) => RowLock.forUpdate({ table, where })
    expect(generic("t", { id: 1 })).type.toBe<
      Effect.Effect<Option.Option<RowLock.Row>, RowLock.RowLockError, Transaction.Transaction>
    >()
    const decoded = <W extends Values, A, I, R>(table: string, where: W, schema: Schema.Schema<A, I, R>) =>
      RowLock.forShare({ table, where, schema, wait: "nowait" })
    expect(decoded("t", { id: 1 }, Line)).type.toBe<
      Effect.Effect<Option.Option<Line>, RowLock.RowLockError | RowLock.MalformedRow, Transaction.Transaction>
    >()
    const column = <K extends string>(where: Record<K, number>) => RowLock.forUpdate({ table: "t", where })
    const computed = <K extends string>(column: K) => RowLock.forUpdate({ table: "t", where: { [column]: 1 } })
    const part = <T extends Line>(row: Pick<T, "no">) => RowLock.forUpdate({ table: "t", where: { no: row.no } })
    const options = <W extends Values>(options: RowLock.Options<W>) => RowLock.forUpdate(options)
    const record = (where: Values) => RowLock.forUpdate({ table: "t", where })
    expect(RowLock.forUpdate({ table: "t", where: id, unique: true })).type.toBe<
      Effect.Effect<Option.Option<RowLock.Row>, RowLock.RowLockError | Rows.TooManyRows, Transaction.Transaction>
    >()
    expect(RowLock.forUpdate).type.toBeCallableWith({ table: "t", where: id })
    expect(RowLock.forShare).type.toBeCallableWith({ table: "t", where: new Line({ invoice: "1", no: 1 }) })
    compiles(column, computed, part, options, record)
  })

  test("what is no record of columns is refused, as is one of none", () => {
    const refused = [[], [1], "id", 1, null, undefined, new Date(), new Map([["id", 1]]), () => 1] as const
    expect(RowLock.forUpdate).type.not.toBeCallableWith({ table: "t", where: refused[0] })
    expect(RowLock.forUpdate).type.not.toBeCallableWith({ table: "t", where: refused[1] })
    expect(RowLock.forUpdate).type.not.toBeCallableWith({ table: "t", where: refused[2] })
    expect(RowLock.forUpdate).type.not.toBeCallableWith({ table: "t", where: refused[3] })
    expect(RowLock.forUpdate).type.not.toBeCallableWith({ table: "t", where: refused[4] })
    expect(RowLock.forUpdate).type.not.toBeCallableWith({ table: "t", where: refused[5] })
    expect(RowLock.forUpdate).type.not.toBeCallableWith({ table: "t", where: refused[6] })
    expect(RowLock.forUpdate).type.not.toBeCallableWith({ table: "t", where: refused[7] })
    expect(RowLock.forUpdate).type.not.toBeCallableWith({ table: "t", where: refused[8] })
    expect(RowLock.forUpdate).type.not.toBeCallableWith({ table: "t", where: { id: undefined } })
    expect(RowLock.forUpdate).type.not.toBeCallableWith({ table: "t", where: { id: { of: 1 } } })
    expect(RowLock.forUpdate({ table: "t", where: {} as Record<never, number> })).type.toRaiseError(
      "Name at least one column: an empty condition would match every row"
    )
  })

  test("a key of one column, and one of several", () => {
    const one = <K extends string, V extends RowLock.KeyValue>(key: K, values: ReadonlyArray<V>) =>
      RowLock.forUpdateMany({ table: "t", key, values })
    const schema = <K extends string, A, I, R>(key: K, schema: Schema.Schema<A, I, R>) =>
      RowLock.forUpdateMany({ table: "t", key, values: [1], schema })
    expect(schema("id", Line)).type.toBe<
      Effect.Effect<ReadonlyArray<Line>, RowLock.RowLockError | RowLock.MalformedRow, Transaction.Transaction>
    >()
    const several = <K extends string>(key: readonly [K, ...Array<K>], values: ReadonlyArray<Record<K, number>>) =>
      RowLock.forUpdateMany({ table: "t", key, values })
    const options = <K extends string | readonly [string, ...Array<string>]>(options: RowLock.ManyOptions<K>) =>
      RowLock.forUpdateMany(options)
    compiles(one, several, options)
  })
})

describe("an update whose columns are not known by name", () => {
  const at = { table: "t", version: { column: "version", expected: 1 } } as const
  type Values = Record<string, string | number>

  test("is any record, any interface, and any type parameter for one", () => {
    const set = (set: Values) => Occ.update({ ...at, key: { id: 1 }, set })
    const sets = <S extends Values>(set: S) => Occ.update({ ...at, key: { id: 1 }, set })
    const keys = <K extends Values>(key: K) => Occ.tryUpdate({ ...at, key, set: { a: 1 } })
    const column = <V extends string>(column: V) =>
      Occ.update({ table: "t", key: { id: 1 }, version: { column, expected: 1 }, set: { a: 1 } })
    const all = <K extends Values, V extends string, S extends Values>(key: K, column: V, set: S) =>
      Occ.update({ table: "t", key, version: { column, expected: 1 }, set })
    const computed = <C extends string>(column: C) => Occ.update({ ...at, key: { id: 1 }, set: { [column]: 1 } })
    const without = <S extends Values>(set: Omit<S, "version">) => Occ.update({ ...at, key: { id: 1 }, set })
    const options = <K extends Values, V extends string, S extends Values>(options: Occ.Update<K, V, S>) =>
      Occ.update(options)
    expect(Occ.update).type.toBeCallableWith({ ...at, key: id, set: new Line({ invoice: "1", no: 1 }) })
    compiles(set, sets, keys, column, all, computed, without, options)
  })

  test("the version is refused where its name is known, and no columns as a key", () => {
    interface Versioned {
      readonly version: number
    }
    const versioned: Versioned = { version: 1 }
    expect(Occ.update({ ...at, key: id, set: versioned })).type.toRaiseError("is set by Occ.update alone")
    expect(Occ.update({ ...at, key: versioned, set: id })).type.toRaiseError("is compared by Occ.update alone")
    expect(Occ.tryUpdate({ ...at, key: {}, set: id })).type.toRaiseError(/Name at least one column/)
    expect(Occ.update).type.not.toBeCallableWith({ ...at, key: id, set: [1] })
    expect(Occ.update).type.not.toBeCallableWith({ ...at, key: id, set: { a: undefined } })
  })
})

describe("an insert whose columns are not known by name", () => {
  test("is any record, any interface, and any type parameter for one", () => {
    const values = <V extends Record<string, string | number>>(values: V) =>
      IdempotentInsert.insert({ table: "t", values, key: "PRIMARY" })
    const options = (options: IdempotentInsert.Options) => IdempotentInsert.insert(options)
    expect(IdempotentInsert.insert).type.toBeCallableWith({ table: "t", values: id, key: "PRIMARY" })
    expect(IdempotentInsert.insert).type.not.toBeCallableWith({ table: "t", values: [1], key: "PRIMARY" })
    compiles(values, options)
  })

  test("the id that it generates is a number, or its digits", () => {
    expect<IdempotentInsert.Inserted["insertId"]>().type.toBe<number | string>()
  })
})

describe("a message", () => {
  const OrderPlaced = Schema.TaggedStruct("OrderPlaced", { order: Schema.String })

  test("its schema says what its value is, which may be a literal", () => {
    expect(Outbox.append).type.toBeCallableWith({
      stream: "s",
      schema: OrderPlaced,
      value: { _tag: "OrderPlaced", order: "x" }
    })
    expect(Outbox.append).type.toBeCallableWith({ stream: "s", schema: Schema.Literal("a", "b"), value: "a" })
    expect(Outbox.append).type.not.toBeCallableWith({
      stream: "s",
      schema: OrderPlaced,
      value: { _tag: "OrderLost", order: "x" }
    })
    expect(Outbox.append).type.not.toBeCallableWith({ stream: "s", schema: Schema.Literal("a", "b"), value: "c" })
  })

  test("of any type", () => {
    const append = <A, I, R>(schema: Schema.Schema<A, I, R>) => (value: A) =>
      Outbox.append({ stream: "s", schema, value }).pipe(Transaction.run(), Occ.retry(policy))
    const message = <A, I, R>(message: Outbox.Message<A, I, R>) => Outbox.append(message)
    compiles(append, message)
  })
})
