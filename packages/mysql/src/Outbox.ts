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
import type { ParseError } from "effect/ParseResult"
import type * as Queue from "effect/Queue"
import type * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import { randomUUID } from "node:crypto"
import * as bytes from "./internal/bytes.js"
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
  /** Stored as the JSON of its encoded form. */
  readonly value: NoInfer<A>
  /** Messages of one stream with the same key are published in order; at most 255 bytes. Without one there is no order. */
  readonly key?: string | undefined
  /** What an inbox recognises the message by, at most 255 bytes. Default: a random UUID. */
  readonly messageId?: string | undefined
  /** Further fields of the entry, such as a trace context; none may be called `data`, and `key` and `message-id` are the relay's. */
  readonly headers?: Readonly<Record<string, string>> | undefined
}

/**
 * Writes a message in the open transaction, and returns its id. It is there if and only if the transaction commits.
 *
 * Fails with `ParseError` where the value does not fit the schema, and with what a statement fails with: waiting for the key's
 * lock it may be `LockWaitTimeout` or `Deadlock`. A key, stream or id that is too long is a defect, since shortening it would silently
 * change what it means; so is an empty stream or id, and a header called `data`. A stream that does not exist is made by the relay's
 * first entry.
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
  ParseError | MysqlError.MysqlError | MysqlError.TransactionAborted,
  Transaction.Transaction | R
> =>
  Effect.flatMap(
    Transaction.Transaction,
    (transaction) =>
      Effect.flatMap(Schema.encode(Schema.parseJson(message.schema))(message.value), (data) => {
        const messageId = message.messageId ?? randomUUID()
        const headers = message.headers ?? {}
        if (Object.hasOwn(headers, "data")) {
          throw new Error(
            "No header of a message can be called data: whoever reads the entry would take it for the value"
          )
        }
        const values = [
          bytes.name("The id of a message", messageId, 255),
          bytes.name("The name of a stream", message.stream, 512),
          message.key === undefined ? null : bytes.atMost("The key of a message", message.key, 255),
          Buffer.from(JSON.stringify(headers), "utf8"),
          Buffer.from(data, "utf8")
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
 * The committed messages of these slots, by slot, then in order; for relays. Inside a transaction it is a defect: that one's
 * snapshot could be older than what others have removed meanwhile. Fails with `ConnectionLost` or, without the tables of `migration`,
 * `StatementFailed`.
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
  Effect.suspend(() => {
    const except = (options.except ?? []).map((stream) => Buffer.from(stream, "utf8"))
    return outside.select({
      name: "Outbox.read",
      operation: "SELECT",
      table,
      sql: outboxTable.select(except.length),
      values: [options.fromSlot, options.toSlot, ...except, options.limit]
    }, outboxTable.stored)
  })

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
    // What is no number is the id of no row.
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
