/**
 * What a statement can fail with. One tag for each failure that a caller acts on, classified once, by errno.
 *
 * Messages name the problem, a hint and the statement's text. They never hold a value of a row, unless the caller has written it
 * into the text instead of binding it: the server's own message is kept only for errors whose text is known to hold names and no
 * values.
 *
 * @since 0.1.0
 */
import { SqlError } from "@effect/sql/SqlError"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as described from "./internal/described.js"
import * as driver from "./internal/driverError.js"
import { tagOf } from "./internal/errnoTable.js"
import { describe, missingTable } from "./internal/errorMessage.js"
import { find } from "./internal/origin.js"
import { LockParty } from "./LockParty.js"
import { TransactionAborted } from "./TransactionError.js"

export {
  /**
   * What `refail` makes of a statement that was not sent, since its transaction was over.
   *
   * @since 0.1.0
   * @category errors
   */
  TransactionAborted
}

/**
 * What all errors of this module have in common.
 *
 * @since 0.1.0
 * @category type ids
 */
export const TypeId: unique symbol = Symbol.for("@safesync/mysql/MysqlError")

/**
 * The type of `TypeId`.
 *
 * @since 0.1.0
 * @category type ids
 */
export type TypeId = typeof TypeId

/** Validating the fields that this module itself has filled costs more than the rest of the error. */
const trusted = { disableValidation: true }

const fields = {
  /** The server's error number; absent when the driver, not the server, failed. */
  errno: Schema.optional(Schema.Number),
  /** The five characters of SQLSTATE. */
  sqlState: Schema.optional(Schema.String),
  /** The server's or the driver's symbol, such as `ER_LOCK_DEADLOCK` or `ECONNRESET`. */
  code: Schema.String,
  /** The statement's text, without the values that are bound. */
  statement: Schema.optional(Schema.String),
  /** What the server said, where that text cannot hold a value of a row. */
  detail: Schema.optional(Schema.String),
  cause: Schema.Defect
}

/** Who held the lock, where the transaction was told to ask: see its option `blockerDetails`. */
const blockers = Schema.optional(Schema.Array(LockParty))

/**
 * 1213: InnoDB chose this transaction as the victim and has rolled all of it back. Running the transaction again from
 * its start is safe.
 *
 * Told as the same, since it means the same: 3101 and 1180 with the engine's error 149, by which a member of a Group
 * Replication says at COMMIT that a transaction on another member was first, and 1614, which ends an XA branch.
 *
 * @since 0.1.0
 * @category errors
 */
export class Deadlock extends Schema.TaggedError<Deadlock>("@safesync/mysql/Deadlock")("Deadlock", {
  ...fields,
  blockers
}) {
  readonly [TypeId]: TypeId = TypeId
  override get message() {
    return describe("The server ended this transaction to resolve a deadlock", this, "run the transaction again")
  }
}

/**
 * 1205, and 3024 where the wait for a row lock was bounded by a Duration: the lock, on a row or on the table's definition,
 * was not granted in time. By default only the statement is rolled back, the transaction stays open.
 *
 * @since 0.1.0
 * @category errors
 */
export class LockWaitTimeout
  extends Schema.TaggedError<LockWaitTimeout>("@safesync/mysql/LockWaitTimeout")("LockWaitTimeout", {
    ...fields,
    blockers
  })
{
  readonly [TypeId]: TypeId = TypeId
  override get message() {
    return describe("A lock was not granted in time", this, "another transaction holds it: keep transactions short")
  }
}

/**
 * 3572: the row is locked by another transaction and the statement was told not to wait.
 *
 * @since 0.1.0
 * @category errors
 */
export class LockNotAvailable
  extends Schema.TaggedError<LockNotAvailable>("@safesync/mysql/LockNotAvailable")("LockNotAvailable", fields)
{
  readonly [TypeId]: TypeId = TypeId
  override get message() {
    return describe("The lock is held by another transaction and waiting was not asked for", this)
  }
}

/**
 * 3024: the statement ran past its execution limit. The transaction stays open.
 *
 * @since 0.1.0
 * @category errors
 */
export class StatementTimeout
  extends Schema.TaggedError<StatementTimeout>("@safesync/mysql/StatementTimeout")("StatementTimeout", {
    ...fields,
    blockers
  })
{
  readonly [TypeId]: TypeId = TypeId
  override get message() {
    return describe("The statement ran past its execution limit", this)
  }
}

/**
 * 1317: somebody ended the statement with `KILL QUERY`. The transaction stays open.
 *
 * @since 0.1.0
 * @category errors
 */
export class StatementInterrupted
  extends Schema.TaggedError<StatementInterrupted>("@safesync/mysql/StatementInterrupted")(
    "StatementInterrupted",
    fields
  )
{
  readonly [TypeId]: TypeId = TypeId
  override get message() {
    return describe("The statement was killed on the server", this)
  }
}

/**
 * 1062, 1586: a row with that value of a unique key exists. `key` is the name of the index, `PRIMARY` for the primary key.
 *
 * @since 0.1.0
 * @category errors
 */
export class DuplicateKey extends Schema.TaggedError<DuplicateKey>("@safesync/mysql/DuplicateKey")("DuplicateKey", {
  ...fields,
  /** The name of the unique index, without its table. */
  key: Schema.String,
  /** The index's table, which need not be the one that was written to: a trigger may write elsewhere. Since MySQL 8.0.19. */
  table: Schema.optional(Schema.String)
}) {
  readonly [TypeId]: TypeId = TypeId
  override get message() {
    return describe(`A row with this value of the key ${this.key} exists`, this)
  }
}

/**
 * 1451, 1452: the statement would leave a foreign key without its row. 1761, 1762: a cascade of it would write a duplicate.
 *
 * @since 0.1.0
 * @category errors
 */
export class ForeignKeyViolation
  extends Schema.TaggedError<ForeignKeyViolation>("@safesync/mysql/ForeignKeyViolation")("ForeignKeyViolation", {
    ...fields,
    /** The name of the constraint; absent when the account may not know the other table. */
    constraint: Schema.optional(Schema.String)
  })
{
  readonly [TypeId]: TypeId = TypeId
  override get message() {
    return describe("A foreign key forbids this", this)
  }
}

/**
 * 3819: a CHECK constraint forbids the row.
 *
 * @since 0.1.0
 * @category errors
 */
export class CheckViolation
  extends Schema.TaggedError<CheckViolation>("@safesync/mysql/CheckViolation")("CheckViolation", {
    ...fields,
    /** The name of the constraint. */
    constraint: Schema.optional(Schema.String)
  })
{
  readonly [TypeId]: TypeId = TypeId
  override get message() {
    return describe("A CHECK constraint forbids this row", this)
  }
}

/**
 * 1290 with `--read-only` or `--super-read-only`, 1036, 1792, 1836, 1874, 3989, and 1015 with the engine's error 165: the
 * server, the schema or this transaction takes no writes. After a failover this connection may still reach the old primary.
 *
 * @since 0.1.0
 * @category errors
 */
export class ReadOnlyServer
  extends Schema.TaggedError<ReadOnlyServer>("@safesync/mysql/ReadOnlyServer")("ReadOnlyServer", fields)
{
  readonly [TypeId]: TypeId = TypeId
  override get message() {
    return describe("The server, the schema or the transaction is read-only", this, "is this still the primary?")
  }
}

/**
 * The statement has more bytes than the server's `max_allowed_packet`. It will not go through, however often it is tried.
 *
 * In a transaction a statement of more than 64 kB is measured before it is sent: then the transaction is still open. Outside of one the server
 * closes the connection (1153), and mostly before it has said why: that is a `ConnectionLost`.
 *
 * @since 0.1.0
 * @category errors
 */
export class PacketTooLarge
  extends Schema.TaggedError<PacketTooLarge>("@safesync/mysql/PacketTooLarge")("PacketTooLarge", {
    ...fields,
    /** The bytes of the statement with its values; absent where the server has said it. */
    size: Schema.optional(Schema.Number),
    /** The server's `max_allowed_packet`, in bytes; absent where the server has said it. */
    limit: Schema.optional(Schema.Number)
  })
{
  readonly [TypeId]: TypeId = TypeId
  override get message() {
    const { limit, size } = this
    return describe(
      size === undefined || limit === undefined
        ? "The statement is too large for the server"
        : `The statement is too large: ${size} bytes, where the server takes ${limit}`,
      this,
      "max_allowed_packet is the server's limit"
    )
  }
}

/**
 * The connection could not be had (nobody answers, the server is full or offline, the login was refused, the pool is closed
 * or its queue full), or is gone; or a statement got no answer, and the server none to the question about it (10 to 20 seconds). A transaction on it was rolled back by the server; a statement outside of a transaction may
 * have been committed, or not.
 *
 * @since 0.1.0
 * @category errors
 */
export class ConnectionLost
  extends Schema.TaggedError<ConnectionLost>("@safesync/mysql/ConnectionLost")("ConnectionLost", fields)
{
  readonly [TypeId]: TypeId = TypeId
  override get message() {
    return describe("There is no connection to the server", this)
  }
}

/**
 * Everything else: a syntax error, a missing table, a value out of range, a value that cannot be bound.
 *
 * @since 0.1.0
 * @category errors
 */
export class StatementFailed
  extends Schema.TaggedError<StatementFailed>("@safesync/mysql/StatementFailed")("StatementFailed", fields)
{
  readonly [TypeId]: TypeId = TypeId
  override get message() {
    return describe("The statement failed", this, this.errno === 1146 ? missingTable(this.detail) : undefined)
  }
}

/**
 * All that a statement can fail with, by what a caller does about it.
 *
 * @since 0.1.0
 * @category models
 */
export type MysqlError =
  | Deadlock
  | LockWaitTimeout
  | LockNotAvailable
  | StatementTimeout
  | StatementInterrupted
  | DuplicateKey
  | ForeignKeyViolation
  | CheckViolation
  | ReadOnlyServer
  | PacketTooLarge
  | ConnectionLost
  | StatementFailed

/**
 * Whether this is one of the errors of this module.
 *
 * @since 0.1.0
 * @category refinements
 */
export const isMysqlError = (u: unknown): u is MysqlError => described.property(u, TypeId) !== undefined

/**
 * Errors after which the same transaction, run again from its start, may well succeed: `Deadlock`, `LockWaitTimeout`,
 * `LockNotAvailable`. A `ConnectionLost` is not among them: of a transaction nothing was committed, but a statement outside of
 * one commits by itself and may have done so before its connection went. What a whole transaction fails with is for
 * `Occ.isRetryable`: it knows `VersionConflict` and `CommitFailed` too, and not `LockNotAvailable`, which is an answer.
 *
 * @example
 * import * as SqlClient from "@effect/sql/SqlClient"
 * import * as Effect from "effect/Effect"
 * import * as Schedule from "effect/Schedule"
 * import * as MysqlError from "@safesync/mysql/MysqlError"
 * import * as Transaction from "@safesync/mysql/Transaction"
 *
 * const settle = Effect.flatMap(SqlClient.SqlClient, (sql) => sql`UPDATE account SET settled = 1 WHERE settled = 0`).pipe(
 *   Transaction.run(), // inside the retry: each attempt is a transaction of its own
 *   Effect.retry({ while: MysqlError.isRetryable, schedule: Schedule.jittered(Schedule.recurs(3)) })
 * )
 *
 * @since 0.1.0
 * @category refinements
 */
export const isRetryable = (u: unknown): u is Deadlock | LockWaitTimeout | LockNotAvailable =>
  isMysqlError(u) && (u._tag === "Deadlock" || u._tag === "LockWaitTimeout" || u._tag === "LockNotAvailable")

/**
 * What an error of the driver stands for, of which `statement` is the text and `blockers` who held the lock. What is a `MysqlError`
 * already stays as it is. So it is with one that others have wrapped, through `cause` and `errors`.
 *
 * @since 0.1.0
 * @category constructors
 */
export const fromDriver = (
  cause: unknown,
  statement?: string | undefined,
  blockers?: ReadonlyArray<LockParty> | undefined
): MysqlError => {
  const found = find(cause, isOrigin) ?? find(cause, driver.isConnectionLost) ?? cause
  if (isMysqlError(found)) return found
  if (isConnecting(found)) return new ConnectionLost(driver.read(described.property(found, "cause")), trusted)
  const error = read(found, statement, blockers)
  words.set(error, driver.words(found))
  return error
}

/**
 * The server's own words, up to 4 kB: the `MESSAGE_TEXT` of a `SIGNAL`, the place of a mistake in the SQL. It may quote values
 * of rows and parts of the statement, so it is in no message, field, span or log of this package: whoever asks for it decides who may see
 * it. Of an error that others have wrapped it is that of the one behind it. None where the server has said nothing, as when the connection
 * was lost, and of an error that was serialized.
 *
 * @example
 * import * as Effect from "effect/Effect"
 * import * as Option from "effect/Option"
 * import * as MysqlError from "@safesync/mysql/MysqlError"
 *
 * class Refused {
 *   readonly _tag = "Refused"
 *   constructor(readonly reason: string) {}
 * }
 *
 * // a trigger's SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'out of stock'
 * const told = (error: MysqlError.MysqlError) =>
 *   error._tag === "StatementFailed" && error.sqlState === "45000"
 *     ? new Refused(Option.getOrElse(MysqlError.serverMessage(error), () => ""))
 *     : error
 *
 * const refused = Effect.mapError(told)
 *
 * @since 0.1.0
 * @category accessors
 */
export const serverMessage = (error: unknown): Option.Option<string> =>
  Option.filter(
    Option.flatMap(origin(error), (found) => Option.fromNullable(words.get(found))),
    (text) => text !== ""
  )

/** Beside the errors and not in them: nothing that prints, serializes or inspects one comes to it. */
const words = new WeakMap<object, string>()

const read = (
  found: unknown,
  statement: string | undefined,
  blockers: ReadonlyArray<LockParty> | undefined
): MysqlError => {
  const error = driver.read(found)
  const props = { ...error, statement }
  const tag = tagOf(found, error)
  switch (tag) {
    case "Deadlock":
    case "LockWaitTimeout":
    case "StatementTimeout":
      return new withBlockers[tag]({ ...props, blockers }, trusted)
    case "DuplicateKey":
      return new DuplicateKey({ ...props, ...driver.duplicateKey(found) }, trusted)
    case "ForeignKeyViolation":
    case "CheckViolation":
      return new withConstraint[tag]({ ...props, constraint: driver.constraint(found) }, trusted)
    default:
      return new plain[tag](props, trusted)
  }
}

/**
 * A statement that was not sent, since the server would not take it.
 *
 * @internal
 */
export const tooLarge = (size: number, limit: number, statement: string): MysqlError => {
  return new PacketTooLarge({
    code: "ER_NET_PACKET_TOO_LARGE",
    size,
    limit,
    statement,
    cause: new Error("It was not sent")
  }, trusted)
}

const withBlockers = { Deadlock, LockWaitTimeout, StatementTimeout }
const withConstraint = { ForeignKeyViolation, CheckViolation }
const plain = {
  LockNotAvailable,
  StatementInterrupted,
  ReadOnlyServer,
  PacketTooLarge,
  ConnectionLost,
  StatementFailed
}

/**
 * What an `SqlError` of @effect/sql stands for. One that stands for a statement that was not sent, because its transaction was over,
 * is for `refail`, which makes it a `TransactionAborted`.
 *
 * @example
 * import type { SqlError } from "@effect/sql/SqlError"
 * import * as Effect from "effect/Effect"
 * import * as MysqlError from "@safesync/mysql/MysqlError"
 *
 * const tell = (error: SqlError) => Effect.logError(MysqlError.classify(error)._tag)
 *
 * @since 0.1.0
 * @category constructors
 */
export const classify = (error: SqlError): MysqlError => fromDriver(isConnecting(error) ? error : error.cause ?? error)

/**
 * The error of MySQL that a failure stands for, however others have wrapped it: a query builder's own error, an error of yours with a
 * `cause`, an `AggregateError`. None where there is none behind it.
 *
 * @example
 * import * as Option from "effect/Option"
 * import * as MysqlError from "@safesync/mysql/MysqlError"
 *
 * const isDuplicate = (error: unknown) => Option.exists(MysqlError.origin(error), ({ _tag }) => _tag === "DuplicateKey")
 *
 * @since 0.1.0
 * @category constructors
 */
export const origin = (error: unknown): Option.Option<MysqlError | TransactionAborted> => {
  const found = find(error, (u) => isOrigin(u) || isAborted(u))
  return found === undefined ? Option.none() : Option.some(isAborted(found) ? found : fromDriver(found))
}

/** What @effect/sql-mysql2 says when there was no connection for a statement to fail on, whatever the server's reason. */
const connecting: ReadonlySet<unknown> = new Set(["Failed to acquire connection", "MysqlClient: Failed to connect"])

const isConnecting = (u: unknown): boolean => described.isA(u, SqlError) && connecting.has(u.message)

const isAborted = (u: unknown): u is TransactionAborted => described.isA(u, TransactionAborted)

/** One of ours, one of the driver's, or one that says that there was no connection, unless it stands for one of ours. */
const isOrigin = (u: unknown): boolean =>
  isMysqlError(u) || driver.isDrivers(u) || isConnecting(u) && !isMysqlError(described.property(u, "cause"))

/**
 * Turns the `SqlError`s of an effect into what they stand for: a `MysqlError`, or `TransactionAborted` for a statement
 * that was not sent because its transaction was over. Other errors pass. `Transaction.run` does it for its body.
 *
 * @example
 * import * as SqlClient from "@effect/sql/SqlClient"
 * import * as Effect from "effect/Effect"
 * import * as MysqlError from "@safesync/mysql/MysqlError"
 *
 * const register = (email: string) =>
 *   Effect.flatMap(SqlClient.SqlClient, (sql) => sql`INSERT INTO subscriber (email) VALUES (${email})`).pipe(
 *     MysqlError.refail,
 *     Effect.as("registered" as const),
 *     Effect.catchTag("DuplicateKey", () => Effect.succeed("known" as const))
 *   )
 *
 * @since 0.1.0
 * @category combinators
 */
export const refail = <A, E, R>(
  effect: Effect.Effect<A, E, R>
): Effect.Effect<A, Exclude<E, SqlError> | MysqlError | TransactionAborted, R> =>
  // Not `mapError`, which looks into the error.
  Effect.mapErrorCause(effect, Cause.map(refailError))

/**
 * `refail` for one error.
 *
 * @since 0.1.0
 * @category constructors
 */
export const refailError = <E>(error: E): Exclude<E, SqlError> | MysqlError | TransactionAborted =>
  described.isA(error, SqlError)
    ? Option.getOrElse(origin(error), () => classify(error))
    : error as Exclude<E, SqlError>
