/**
 * The outbox: messages that are written in the same transaction as what they tell about, so that they exist if and only if
 * it committed. A relay publishes them afterwards and removes them, so there is nothing to purge: what lies in the table has
 * not been published.
 *
 * **Order.** Messages of one stream with the same `key` get ids in the order in which their transactions commit: `append`
 * locks the key until its transaction has ended, so nobody can commit a higher id of that key while a lower one is still
 * open. Ids of different keys may become visible in any order, so a relay has no position in the table that it reads on
 * from; it takes what is there and removes it, and no gap of the auto-increment can hide a message.
 *
 * Keys share 1,024 locks, so now and then two keys wait for each other. Append at the end of a transaction: the lock is
 * held until COMMIT.
 *
 * @since 0.1.0
 */
import type * as MysqlClient from "@effect/sql-mysql2/MysqlClient"
import type * as Client from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as ParseResult from "effect/ParseResult"
import type * as Queue from "effect/Queue"
import type * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import { randomUUID } from "node:crypto"
import * as AdvisoryLock from "./AdvisoryLock.js"
import * as bytes from "./internal/bytes.js"
import * as duration from "./internal/duration.js"
import * as json from "./internal/json.js"
import * as outboxPartition from "./internal/outboxPartition.js"
import * as outboxReads from "./internal/outboxReads.js"
import * as outboxTable from "./internal/outboxTable.js"
import * as outside from "./internal/outside.js"
import * as relayWakeups from "./internal/relayWakeups.js"
import type * as MysqlError from "./MysqlError.js"
import * as MysqlMetrics from "./MysqlMetrics.js"
import * as Transaction from "./Transaction.js"

/**
 * The table of the messages that are not published yet.
 *
 * @since 0.1.0
 * @category migrations
 */
export const table = outboxTable.name

/**
 * How many locks the keys share; slots are numbered from 0.
 *
 * @since 0.1.0
 * @category constants
 */
export const slots = outboxTable.slots

/**
 * Creates the outbox's tables where they do not exist; fits `Migrator` of @effect/sql. It is DDL, which commits: not to be
 * run inside a transaction.
 *
 * @since 0.1.0
 * @category migrations
 */
export const migration: Effect.Effect<void, SqlError, Client.SqlClient> = outboxTable.create

/**
 * What is appended.
 *
 * @since 0.1.0
 * @category models
 */
export interface Message<A, I, R> {
  /** The stream that it is to be published to, at most 512 bytes. */
  readonly stream: string
  readonly schema: Schema.Schema<A, I, R>
  /** Stored as the JSON of its encoded form, of at most 500 MB; the server's `max_allowed_packet` is mostly less. */
  readonly value: NoInfer<A>
  /** Messages of one stream with the same key are published in order; at most 255 bytes. Without one there is no order. */
  readonly key?: string | undefined
  /** What an inbox recognises the message by, at most 255 bytes. Default: a random UUID. */
  readonly messageId?: string | undefined
  /**
   * Further fields of the entry, such as a trace context; none may be called `data`, and `key` and `message-id` are the relay's. At
   * most 3,900, and 16 MB as JSON.
   */
  readonly headers?: Readonly<Record<string, string>> | undefined
}

/**
 * Writes a message in the open transaction, and returns its id. It is there if and only if the transaction commits.
 *
 * Fails with `ParseError` where the value does not fit the schema, or does not come back from its JSON (NaN, a Date under
 * `DateFromSelf`, a function under `Unknown`: each value is encoded and decoded), and with what a statement fails with: waiting for the key's
 * lock it may be `LockWaitTimeout` or `Deadlock`. A key, stream or id that is too long is a defect, since shortening it would silently
 * change what it means; so is an empty stream or id, half of a surrogate pair in any of them or in a header, a header called `data`, and what no relay can send: too many headers, or too long
 * a message. A stream that does not exist is made by the relay's first entry.
 *
 * @example
 * import * as SqlClient from "@effect/sql/SqlClient"
 * import * as Effect from "effect/Effect"
 * import * as Schema from "effect/Schema"
 * import * as Outbox from "@safesync/mysql/Outbox"
 * import * as Transaction from "@safesync/mysql/Transaction"
 *
 * const Shipped = Schema.Struct({ order: Schema.Int })
 *
 * const ship = (order: number) =>
 *   Effect.gen(function*() {
 *     const sql = yield* SqlClient.SqlClient
 *     yield* sql`UPDATE orders SET shipped = 1 WHERE id = ${order}`
 *     yield* Outbox.append({ stream: "shipped", schema: Shipped, value: { order }, key: String(order) })
 *   }).pipe(Transaction.run())
 *
 * @since 0.1.0
 * @category operations
 */
export const append = <A, I, R>(
  message: Message<A, I, R>
): Effect.Effect<
  string,
  ParseResult.ParseError | MysqlError.MysqlError | MysqlError.TransactionAborted,
  Transaction.Transaction | R
> =>
  Effect.flatMap(
    Transaction.Transaction,
    (transaction) =>
      Effect.flatMap(toJson(message.schema, message.value), (data) => {
        const messageId = message.messageId ?? randomUUID()
        const headers = message.headers ?? {}
        if (Object.hasOwn(headers, "data")) {
          throw new Error(
            "No header of a message can be called data: whoever reads the entry would take it for the value"
          )
        }
        const count = Object.keys(headers).length
        if (count > mostHeaders) throw new Error(`A message may have at most ${mostHeaders} headers, not ${count}`)
        for (const header of Object.entries(headers)) {
          header.forEach((text) => bytes.whole("A header of a message", text))
        }
        const values = [
          bytes.name("The id of a message", messageId, 255),
          bytes.name("The name of a stream", message.stream, 512),
          message.key === undefined ? null : bytes.atMost("The key of a message", message.key, 255),
          bytes.atMost("The JSON of a message's headers", JSON.stringify(headers), longestHeaders),
          bytes.atMost("The JSON of a message", data, longestData)
        ]
        const hashed = Buffer.from(message.key === undefined ? messageId : `${message.stream}\0${message.key}`, "utf8")
        return Effect.flatMap(
          transaction.session.write(message.key === undefined ? outboxTable.insert : outboxTable.insertKeyed, [
            ...values,
            hashed
          ]),
          ({ affectedRows }) =>
            affectedRows === 1
              ? Effect.as(relayWakeups.afterCommit(transaction), messageId)
              : Effect.dieMessage("The table safesync_outbox_slot is not complete: run Outbox.migration")
        )
      })
  )

/**
 * A message as it lies in the outbox.
 *
 * @since 0.1.0
 * @category models
 */
export interface Stored {
  /** The row's id, in decimal digits: it may exceed what a number holds. */
  readonly id: string
  readonly slot: number
  readonly messageId: string
  readonly stream: string
  readonly key: string | undefined
  readonly headers: Readonly<Record<string, string>>
  /** JSON. */
  readonly data: string
}

/**
 * The committed messages of these slots, by slot, then in order; for relays. Fewer than there are where they are long: some 4 MB in
 * all, and at least one. Inside a transaction it is a defect: that one's snapshot could be older than what others have removed
 * meanwhile. Fails with `ConnectionLost`, or `StatementFailed` without the tables of `migration` and where a row does not hold a message.
 *
 * @since 0.1.0
 * @category relaying
 */
export const read = (options: {
  readonly fromSlot: number
  /** Inclusive, at most `slots - 1`. */
  readonly toSlot: number
  /** How many messages at most. */
  readonly limit: number
  /** Streams whose messages are left out. */
  readonly except?: ReadonlyArray<string> | undefined
}): Effect.Effect<
  ReadonlyArray<Stored>,
  MysqlError.MysqlError | MysqlError.TransactionAborted,
  Client.SqlClient
> =>
  Effect.flatMap(
    outboxReads.found(
      (sql, values, _, one) => outside.select({ name: "Outbox.read", operation: "SELECT", table, sql, values }, one),
      { ...options, without: { streams: options.except ?? [], messages: [] } }
    ),
    ({ damaged: [damaged], messages }): Effect.Effect<ReadonlyArray<Stored>, MysqlError.MysqlError> =>
      damaged === undefined ? Effect.succeed(messages) : Effect.fail(damaged.error)
  )

/**
 * Removes messages that have been published, by their `id`, for relays; in one statement and one transaction of its own, so that
 * inside another one it is a defect. An id that is not there is ignored. After a failure they are there still, or gone (`ConnectionLost`): publish what `read` then gives.
 *
 * @example
 * import * as Effect from "effect/Effect"
 * import * as Outbox from "@safesync/mysql/Outbox"
 *
 * const relay = <E, R>(publish: (message: Outbox.Stored) => Effect.Effect<void, E, R>) =>
 *   Effect.gen(function*() {
 *     const messages = yield* Outbox.read({ fromSlot: 0, toSlot: Outbox.slots - 1, limit: 100 })
 *     yield* Effect.forEach(messages, publish)
 *     yield* Outbox.remove(messages.map(({ id }) => id))
 *   })
 *
 * @since 0.1.0
 * @category relaying
 */
export const remove = (
  ids: ReadonlyArray<string>
): Effect.Effect<void, MysqlError.MysqlError | MysqlError.TransactionAborted, Client.SqlClient> =>
  Effect.suspend(() => {
    // An id that is no number is that of no row.
    const numbers = ids.filter((id) => /^\d+$/.test(id)).map(BigInt)
    return numbers.length === 0 ? Effect.void : Effect.asVoid(outside.write({
      name: "Outbox.remove",
      operation: "DELETE",
      table,
      sql: outboxTable.remove(numbers.length),
      values: numbers
    }))
  })

/**
 * A message of the outbox whose row cannot be read, such as one that was changed by hand.
 *
 * @since 0.1.0
 * @category models
 */
export interface Damaged extends Pick<Stored, "id" | "slot" | "messageId" | "stream" | "key"> {
  readonly error: MysqlError.StatementFailed
}

/**
 * The messages that a relay finds in its partition.
 *
 * @since 0.1.0
 * @category models
 */
export interface Found {
  /** In order: at most as many as were asked for, and of some 4 MB in all, but at least one. */
  readonly messages: ReadonlyArray<Stored>
  /** Those among them that are none. What follows one in its key must wait for it. */
  readonly damaged: ReadonlyArray<Damaged>
  /** Whether there may be more behind them. */
  readonly more: boolean
}

/**
 * A part of the outbox that one relay has for itself. It works over the connection that holds the part's lock: where that connection
 * is gone, the lock is gone too, and nothing is removed any more.
 *
 * @since 0.1.0
 * @category models
 */
export interface Partition {
  readonly fromSlot: number
  /** Inclusive. */
  readonly toSlot: number
  /**
   * The committed messages of these slots, by slot, then in order. It has 5 seconds, or the heartbeat's time where that is longer, and
   * one more for each MB: then it is `StatementTimeout`.
   */
  readonly read: (options: {
    /** Where to begin. Default: the first slot of the partition. */
    readonly fromSlot?: number | undefined
    /** How many messages at most. */
    readonly limit: number
    /** These are left out: all messages of these streams, and these messages, each with those that share its stream and key. */
    readonly without: {
      readonly streams: ReadonlyArray<string>
      readonly messages: ReadonlyArray<Pick<Stored, "id" | "stream" | "key">>
    }
  }) => Effect.Effect<Found, MysqlError.MysqlError | MysqlError.TransactionAborted>
  /**
   * Removes messages, in one statement and one transaction of its own; within the same time, after which the connection is given up.
   * Where another session locks the rows or the table it is `LockWaitTimeout` after 2 seconds.
   */
  readonly remove: (
    messages: ReadonlyArray<Pick<Stored, "id" | "messageId">>
  ) => Effect.Effect<void, MysqlError.MysqlError | MysqlError.TransactionAborted>
}

/**
 * Runs an effect that has the partition `number`, counted from 0, of `of` for itself, by an advisory lock. All relays must divide the
 * outbox into the same number of partitions.
 *
 * Fails with `AdvisoryLockTimeout` at once where another relay has it, and with `AdvisoryLockLost` when its connection is lost. A
 * connection that has died without a word is noticed by its `heartbeat` (see `AdvisoryLock.HeartbeatOptions`) or by the bound of the
 * statement that runs; the server then gives the lock to another relay at once where it can be told to, else after three times as long.
 *
 * @since 0.1.0
 * @category relaying
 */
export const withPartition = <A, E, R>(
  options: { readonly number: number; readonly of: number } & AdvisoryLock.HeartbeatOptions,
  use: (partition: Partition) => Effect.Effect<A, E, R>
): Effect.Effect<
  A,
  E | AdvisoryLock.AdvisoryLockError | AdvisoryLock.AdvisoryLockLost,
  R | MysqlClient.MysqlClient
> => {
  const { heartbeat = "5 seconds", number, of } = options
  const slot = (number: number) => Math.ceil(number * slots / of)
  return AdvisoryLock.withHeld(`outbox/${number} of ${of}`, { timeout: 0, heartbeat }, (lock) =>
    Effect.flatMap(
      outboxPartition.make(
        lock,
        { fromSlot: slot(number), toSlot: slot(number + 1) - 1 },
        duration.toMillis(heartbeat)
      ),
      use
    ))
}

/**
 * How many messages wait to be published, and for how many seconds the oldest has been waiting; sets the gauges of
 * `MysqlMetrics` to it, so one process that asks now and then is enough to report them: see `report`. Counts the whole table:
 * not for every second. Fails as `read` does, and leaves the gauges as they are then.
 *
 * @since 0.1.0
 * @category relaying
 */
export const backlog: Effect.Effect<
  { readonly messages: number; readonly oldestSeconds: number },
  MysqlError.MysqlError | MysqlError.TransactionAborted,
  Client.SqlClient
> = Effect.map(
  outside.selectOne({
    name: "Outbox.backlog",
    operation: "SELECT",
    table,
    sql: outboxTable.selectBacklog,
    values: []
  }, (row) => ({ messages: row.number(0), oldestSeconds: row.number(1) / 1_000_000 })),
  (found) => {
    MysqlMetrics.outboxBacklog.unsafeUpdate(found.messages, [])
    MysqlMetrics.outboxOldestAge.unsafeUpdate(found.oldestSeconds, [])
    MysqlMetrics.outboxUpdated.unsafeUpdate(Date.now() / 1000, [])
    return found
  }
)

/**
 * Keeps the gauges of `backlog` up to date by the caller's Schedule, until that ends or the fiber is interrupted. A server that
 * cannot be asked is told in the log once, until it can be asked again, and the gauges stay as they are.
 *
 * @example
 * import * as Effect from "effect/Effect"
 * import * as Schedule from "effect/Schedule"
 * import * as Outbox from "@safesync/mysql/Outbox"
 *
 * const report = Effect.forkScoped(Outbox.report({ every: Schedule.spaced("15 seconds") }))
 *
 * @since 0.1.0
 * @category relaying
 */
export const report = (
  settings: { readonly every: Schedule.Schedule<unknown> }
): Effect.Effect<void, never, Client.SqlClient> =>
  Effect.suspend(() => {
    let failing = false
    const once = Effect.matchEffect(backlog, {
      onSuccess: () =>
        Effect.sync(() => {
          failing = false
        }),
      onFailure: (error) => {
        const first = !failing
        failing = true
        return first ? Effect.logWarning(`The gauges of the outbox cannot be updated: ${error.message}`) : Effect.void
      }
    })
    return Effect.asVoid(Effect.repeat(once, settings.every))
  })

/**
 * A queue of at most one, which has something whenever a transaction of this process, on this client, has committed
 * messages since it was last taken from: a relay need not wait for its next poll.
 *
 * @since 0.1.0
 * @category relaying
 */
export const committed = (
  client: MysqlClient.MysqlClient
): Effect.Effect<Queue.Dequeue<void>, never, Scope.Scope> => relayWakeups.listen(client)

// internal

/** A value that no reader could decode is refused here, where its writer sees it. */
const toJson = <A, I, R>(schema: Schema.Schema<A, I, R>, value: A): Effect.Effect<string, ParseResult.ParseError, R> =>
  Effect.flatMap(Schema.encode(schema)(value), (encoded) => {
    const text = Either.try({
      try: () => json.stringify(encoded),
      catch: (error) => ParseResult.parseError(new ParseResult.Type(schema.ast, value, String(error)))
    })
    return Effect.tap(text, (text) => Schema.decodeUnknown(schema)(JSON.parse(text)))
  })

/** A script of Redis passes on no entry of 4,000 fields; what the relay and a dead letter add has its place among the rest. */
const mostHeaders = 3_900

/** Of MEDIUMBLOB. */
const longestHeaders = 2 ** 24 - 1

/** A value of Redis has at most 512 MB, and so has the whole command in the driver. */
const longestData = 500_000_000
