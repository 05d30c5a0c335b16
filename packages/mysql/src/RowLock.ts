/**
 * Row locks of InnoDB, held until the transaction ends. Without a Transaction in the context they do not compile.
 *
 * A lock on a row that does not exist excludes nobody: check for `none`, or use an `AdvisoryLock` on the name of what is
 * about to exist. Lock by primary key or a unique index: a condition without one locks every row that it scans, and so does a number
 * that is compared with a column of text.
 *
 * @since 0.1.0
 */
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as ParseResult from "effect/ParseResult"
import * as Schema from "effect/Schema"
import * as lockingRead from "./internal/lockingRead.js"
import type { Names } from "./internal/names.js"
import * as where from "./internal/where.js"
import type * as MysqlError from "./MysqlError.js"
import { TooManyRows } from "./Rows.js"
import type { Transaction } from "./Transaction.js"

/**
 * What to do when another transaction holds the lock.
 *
 * - `"wait"` (default): wait for as long as `innodb_lock_wait_timeout` says.
 * - `"nowait"`: fail with `LockNotAvailable` at once.
 * - `"skip-locked"`: leave locked rows out, so that a locked row looks like a missing one.
 * - a Duration: wait for that long, in milliseconds, then fail with `LockWaitTimeout`. It bounds the whole statement
 *   (`MAX_EXECUTION_TIME`, MySQL only), not each row's wait. The wait for one row also ends with `innodb_lock_wait_timeout`
 *   (the server's, 50 seconds by default, or the transaction's `lockWaitTimeout`): for a longer wait raise that one.
 *
 * @since 0.1.0
 * @category models
 */
export type Wait = "wait" | "nowait" | "skip-locked" | Duration.DurationInput

/**
 * A row as the driver reads it, by column, whose names are as the client's `transformResultNames` makes them.
 *
 * @since 0.1.0
 * @category models
 */
export type Row = Readonly<Record<string, unknown>>

/**
 * A row was locked and does not fit the schema that the caller named. The lock is held and the transaction stays open.
 *
 * Not a `ParseError`: its text quotes the row's values. `problem` says where the row does not fit, and how.
 *
 * @since 0.1.0
 * @category errors
 */
export class MalformedRow extends Schema.TaggedError<MalformedRow>("@safesync/mysql/MalformedRow")("MalformedRow", {
  table: Schema.String,
  /** Such as `Type at balance, Missing at version`. */
  problem: Schema.String
}) {
  override get message() {
    return `A row of ${this.table} does not fit the schema: ${this.problem}`
  }
}

/**
 * What a lock can fail with: `LockWaitTimeout` when it was not granted in time, `LockNotAvailable` with `wait: "nowait"`,
 * `Deadlock`, after which the transaction is over, and whatever a statement fails with. With a `schema` also `MalformedRow`.
 *
 * @since 0.1.0
 * @category models
 */
export type RowLockError = MysqlError.MysqlError | MysqlError.TransactionAborted

/**
 * The failure that a lock has in addition where it was asked to be `unique`.
 *
 * @since 0.1.0
 * @category models
 */
export type Several<U extends boolean> = true extends U ? TooManyRows : never

/**
 * Which row is locked, and what to do when somebody else has it.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options<W extends where.ColumnsOf<W>, U extends boolean = boolean> {
  /** The table, `schema.table` where it is of another schema. A name with a dot in it stands in backticks: `` `a.b` ``. */
  readonly table: string
  /** The columns that identify the row; null means IS NULL. */
  readonly where: where.NonEmpty<W>
  /** Default: `"wait"`. */
  readonly wait?: Wait | undefined
  /** Fails with `Rows.TooManyRows` where more than one row matches; all of them are locked by then. Default: false. */
  readonly unique?: U | undefined
}

/**
 * With a schema, rows are what it makes of them.
 *
 * @since 0.1.0
 * @category models
 */
export interface Decoded<A, I, R> {
  /**
   * What becomes of a row as the driver reads it: INT as number, BIGINT beyond 2^53 and DECIMAL as string, DATETIME as Date,
   * BLOB as Buffer. Columns that it does not name are left out.
   */
  readonly schema: Schema.Schema<A, I, R>
}

/**
 * Without one, they are what the driver reads.
 *
 * @since 0.1.0
 * @category models
 */
export interface Undecoded {
  readonly schema?: undefined
}

/**
 * Locks a row exclusively and returns it as it is under the lock, or none where there is none. More than one matching
 * row are all locked and the first is returned, or with `unique` none: `TooManyRows`. What it fails with: `RowLockError`.
 *
 * @example
 * import * as Effect from "effect/Effect"
 * import * as Option from "effect/Option"
 * import * as Schema from "effect/Schema"
 * import * as RowLock from "@safesync/mysql/RowLock"
 * import * as Transaction from "@safesync/mysql/Transaction"
 *
 * const Account = Schema.Struct({ id: Schema.Int, balance: Schema.Int })
 *
 * const balance = RowLock.forUpdate({ table: "account", where: { id: 7 }, wait: "500 millis", schema: Account }).pipe(
 *   Effect.map(Option.map((account) => account.balance)),
 *   Transaction.run()
 * )
 *
 * @since 0.1.0
 * @category locks
 */
export const forUpdate: {
  <W extends where.ColumnsOf<W>, A, I, R, U extends boolean = false>(
    options: Options<W, U> & Decoded<A, I, R>
  ): Effect.Effect<Option.Option<A>, RowLockError | MalformedRow | Several<U>, Transaction | R>
  <W extends where.ColumnsOf<W>, U extends boolean = false>(
    options: Options<W, U> & Undecoded
  ): Effect.Effect<Option.Option<Row>, RowLockError | Several<U>, Transaction>
} = <W extends where.ColumnsOf<W>>(options: Options<W> & MaybeDecoded): Locked<Option.Option<any>> =>
  one("UPDATE", options)

/**
 * Locks a row against writers, together with other readers, and returns it as it is under the lock, or none. For a row that
 * must stay as it is while another one is written; who is going to write this one takes `forUpdate` at once, since two that
 * share a lock and both want to write are a deadlock. What it fails with: `RowLockError`.
 *
 * @example
 * import * as SqlClient from "@effect/sql/SqlClient"
 * import * as Effect from "effect/Effect"
 * import * as Option from "effect/Option"
 * import * as RowLock from "@safesync/mysql/RowLock"
 * import * as Transaction from "@safesync/mysql/Transaction"
 *
 * const order = (customer: number, item: string) =>
 *   Effect.gen(function*() {
 *     const sql = yield* SqlClient.SqlClient
 *     const found = yield* RowLock.forShare({ table: "customer", where: { id: customer, blocked: false } })
 *     if (Option.isSome(found)) yield* sql`INSERT INTO purchase (customer, item) VALUES (${customer}, ${item})`
 *   }).pipe(Transaction.run())
 *
 * @since 0.1.0
 * @category locks
 */
export const forShare: {
  <W extends where.ColumnsOf<W>, A, I, R, U extends boolean = false>(
    options: Options<W, U> & Decoded<A, I, R>
  ): Effect.Effect<Option.Option<A>, RowLockError | MalformedRow | Several<U>, Transaction | R>
  <W extends where.ColumnsOf<W>, U extends boolean = false>(
    options: Options<W, U> & Undecoded
  ): Effect.Effect<Option.Option<Row>, RowLockError | Several<U>, Transaction>
} = <W extends where.ColumnsOf<W>>(options: Options<W> & MaybeDecoded): Locked<Option.Option<any>> =>
  one("SHARE", options)

/**
 * The value of one column of a key.
 *
 * @since 0.1.0
 * @category models
 */
export type KeyValue = string | number | bigint | Date | Uint8Array

/**
 * The value of a key: of one column, or of each column of a composite key.
 *
 * @since 0.1.0
 * @category models
 */
export type Key<K extends string | ReadonlyArray<string>> = K extends ReadonlyArray<infer C extends string>
  ? { readonly [column in C]: KeyValue }
  : KeyValue

/**
 * Which rows are locked, and what to do when somebody else has one of them.
 *
 * @since 0.1.0
 * @category models
 */
export interface ManyOptions<K extends string | readonly [string, ...Array<string>]> {
  /** The table, `schema.table` where it is of another schema. A name with a dot in it stands in backticks: `` `a.b` ``. */
  readonly table: string
  /** The column of the primary key; the columns of a composite one, in the order of the key. */
  readonly key: K
  /** Some thousands at most: of tens of thousands the server makes a scan, which locks the whole table. */
  readonly values: ReadonlyArray<Key<K>>
  /** Default: `"wait"`. With `"skip-locked"` the rows that others hold are missing from the answer. */
  readonly wait?: Wait | undefined
}

/**
 * Locks several rows by their primary key, in the key's order, so that two transactions that lock the same rows cannot
 * wait for each other. Returns the rows that exist, in that order: it may be fewer than were named. What it fails with:
 * `RowLockError`.
 *
 * @example
 * import * as RowLock from "@safesync/mysql/RowLock"
 * import * as Transaction from "@safesync/mysql/Transaction"
 *
 * const lines = RowLock.forUpdateMany({
 *   table: "invoice_line",
 *   key: ["invoice_no", "line"],
 *   values: [{ invoice_no: "536365", line: 2 }, { invoice_no: "536365", line: 1 }]
 * }).pipe(Transaction.run())
 *
 * @since 0.1.0
 * @category locks
 */
export const forUpdateMany: {
  <A, I, R>(
    options: ManyOptions<string> & Decoded<A, I, R>
  ): Effect.Effect<ReadonlyArray<A>, RowLockError | MalformedRow, Transaction | R>
  (options: ManyOptions<string> & Undecoded): Effect.Effect<ReadonlyArray<Row>, RowLockError, Transaction>
  <const K extends string | readonly [string, ...Array<string>], A, I, R>(
    options: ManyOptions<K> & Decoded<A, I, R>
  ): Effect.Effect<ReadonlyArray<A>, RowLockError | MalformedRow, Transaction | R>
  <const K extends string | readonly [string, ...Array<string>]>(
    options: ManyOptions<K> & Undecoded
  ): Effect.Effect<ReadonlyArray<Row>, RowLockError, Transaction>
} = (options: ManyOptions<any> & MaybeDecoded): Locked<ReadonlyArray<any>> =>
  Effect.suspend(() =>
    options.values.length === 0
      ? Effect.succeed([])
      : lock("UPDATE", options, (names) => lockingRead.inKeyOrder(options.key, options.values, names))
  )

// internal

interface MaybeDecoded {
  readonly schema?: Schema.Schema<any, any, any> | undefined
}
type Locked<A> = Effect.Effect<A, any, any>

const one = <W extends where.ColumnsOf<W>>(
  strength: lockingRead.Strength,
  options: Options<W> & MaybeDecoded
): Locked<Option.Option<unknown>> =>
  Effect.flatMap(
    Effect.suspend(() =>
      lock(strength, options, ({ columns }) => where.equal(columns(options.where as where.Columns)))
    ),
    (rows) => options.unique === true && rows.length > 1
      ? Effect.fail(new TooManyRows({ found: rows.length }))
      : Effect.succeed(Option.fromNullable(rows[0]))
  )

const lock = (
  strength: lockingRead.Strength,
  options: { readonly table: string; readonly wait?: Wait | undefined } & MaybeDecoded,
  condition: (names: Names) => where.Fragment
): Locked<ReadonlyArray<unknown>> => {
  const rows = lockingRead.select(strength, options, condition)
  return options.schema === undefined ? rows : Effect.flatMap(rows, decode(options.table, options.schema))
}

const decode = <A, I, R>(table: string, schema: Schema.Schema<A, I, R>) => {
  const rows = Schema.decodeUnknown(Schema.Array(schema), { errors: "all" })
  return (found: ReadonlyArray<Row>): Effect.Effect<ReadonlyArray<A>, MalformedRow, R> =>
    Effect.mapError(rows(found), ({ issue }) => new MalformedRow({ table, problem: withoutValues(issue) }))
}

/** Where a row does not fit, without what was there instead; the first step of the path is the row's place among others. */
const withoutValues = (issue: ParseResult.ParseIssue): string =>
  ParseResult.ArrayFormatter.formatIssueSync(issue)
    .map(({ _tag, path }) => `${_tag} at ${path.length < 2 ? "its root" : path.slice(1).map(String).join(".")}`)
    .join(", ")
