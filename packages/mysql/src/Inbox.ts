/**
 * The inbox makes handling a message idempotent: its id is written in the same transaction as its effects, so both are
 * there or neither is, and a message that comes again finds its id.
 *
 * @since 0.1.0
 */
import type * as SqlClient from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Option from "effect/Option"
import { randomBytes } from "node:crypto"
import * as bytes from "./internal/bytes.js"
import * as duration from "./internal/duration.js"
import * as outside from "./internal/outside.js"
import * as own from "./internal/own.js"
import * as purged from "./internal/purge.js"
import type { Session } from "./internal/session.js"
import type { OkPacket } from "./internal/statements.js"
import type * as MysqlError from "./MysqlError.js"
import * as MysqlMetrics from "./MysqlMetrics.js"
import { Transaction } from "./Transaction.js"

/**
 * The inbox's table. Ids are compared byte by byte, whatever the database's collation.
 *
 * @since 0.1.0
 * @category migrations
 */
export const table = "safesync_inbox"

/**
 * Creates the inbox's table where it does not exist; fits `Migrator` of @effect/sql. It is DDL, which commits: not to be
 * run inside a transaction.
 *
 * @since 0.1.0
 * @category migrations
 */
export const migration: Effect.Effect<void, SqlError, SqlClient.SqlClient> = outside.create(
  `CREATE TABLE IF NOT EXISTS safesync_inbox (
    consumer_group VARBINARY(255) NOT NULL,
    message_id VARBINARY(255) NOT NULL,
    commit_marker BINARY(16),
    processed_at TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
    PRIMARY KEY (consumer_group, message_id),
    KEY processed_at (processed_at)
  ) ENGINE = InnoDB`
)

/**
 * Runs an effect unless this group has processed the message before; then the answer is none and nothing is run.
 * When another transaction is processing the same message right now, this waits until that one has ended, or fails with
 * `LockWaitTimeout` (the transaction's `lockWaitTimeout`, by default the server's 50 seconds). A failure of the effect passes as it is.
 * Needs the table of `migration`.
 *
 * A message is known by both, so `group` names all that makes its ids unique: for entry ids their stream, and its server where
 * several write to one database. One of more than 255 bytes, of either, is remembered by its SHA-256.
 *
 * @example
 * import * as SqlClient from "@effect/sql/SqlClient"
 * import * as Effect from "effect/Effect"
 * import * as Inbox from "@safesync/mysql/Inbox"
 * import * as Transaction from "@safesync/mysql/Transaction"
 *
 * const credit = (messageId: string, account: number, pence: number) =>
 *   Effect.flatMap(SqlClient.SqlClient, (sql) =>
 *     sql`UPDATE account SET balance = balance + ${pence} WHERE id = ${account}`
 *   ).pipe(
 *     Inbox.once(messageId, "billing"),
 *     Transaction.run()
 *   )
 *
 * @since 0.1.0
 * @category combinators
 */
export const once = (messageId: string, group: string) =>
<A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<
  Option.Option<A>,
  E | MysqlError.MysqlError | MysqlError.TransactionAborted,
  R | Transaction
> =>
  Effect.flatMap(Transaction, ({ afterCommit, commitOracle, session }) => {
    const marker = commitOracle?.marker ?? null
    const row = { group: bytes.bounded(group, 255), messageId: bytes.bounded(messageId, 255) }
    return Effect.flatMap(
      session.writeFirst(insert, [row.group, row.messageId, marker], asText),
      ({ insertId }): Effect.Effect<Option.Option<A>, E, R> => {
        if (Number(insertId) === known) {
          afterCommit.push(countDuplicates(1))
          return Effect.succeedNone
        }
        // Its row tells what became of the transaction.
        if (commitOracle !== undefined) commitOracle.inbox ??= { ...row, marker: commitOracle.marker }
        return Effect.asSome(effect)
      }
    )
  })

/**
 * `once` for many messages: remembers them all, and answers with the ids of those that this group has not processed before,
 * each once. Their effects belong in the same transaction. Waits as `once` does, and fails as it does.
 *
 * One statement for each 500 ids where all are new, two where some are known. Known ids are locked until the transaction ends, as new ones
 * are. Ids are inserted in one order everywhere, so that batches which overlap do not wait crosswise. Where several
 * transactions wait for the same id and the one that has it is rolled back, InnoDB may still choose a victim among those that
 * waited: a `Deadlock`.
 *
 * @example
 * import * as SqlClient from "@effect/sql/SqlClient"
 * import * as Effect from "effect/Effect"
 * import * as Inbox from "@safesync/mysql/Inbox"
 * import * as Transaction from "@safesync/mysql/Transaction"
 *
 * const creditAll = (messages: ReadonlyMap<string, { readonly account: number; readonly pence: number }>) =>
 *   Effect.gen(function*() {
 *     const sql = yield* SqlClient.SqlClient
 *     for (const id of yield* Inbox.onceMany(messages.keys(), "billing")) {
 *       const { account, pence } = messages.get(id)!
 *       yield* sql`UPDATE account SET balance = balance + ${pence} WHERE id = ${account}`
 *     }
 *   }).pipe(Transaction.run())
 *
 * @since 0.1.0
 * @category operations
 */
export const onceMany = (messageIds: Iterable<string>, group: string): Effect.Effect<
  ReadonlyArray<string>,
  MysqlError.MysqlError | MysqlError.TransactionAborted,
  Transaction
> =>
  Effect.flatMap(Transaction, ({ afterCommit, commitOracle, session }) => {
    const boundedGroup = bytes.bounded(group, 255)
    const rows = Array.from(new Set(messageIds), (id) => ({ id, bytes: bytes.bounded(id, 255) }))
      .sort((a, b) => Buffer.compare(a.bytes, b.bytes))
    if (rows.length === 0) return Effect.succeed([])
    // Of this call alone, so that its rows can be told from those that were there, an earlier call's of the same transaction too.
    const marker = randomBytes(16)
    const pages = Array.from(
      { length: Math.ceil(rows.length / pageSize) },
      (_, page) => rows.slice(page * pageSize, (page + 1) * pageSize)
    )
    return Effect.map(
      Effect.forEach(pages, (page) => remember(session, boundedGroup, page, marker)),
      (pages) => {
        const fresh = pages.flat()
        if (fresh.length < rows.length) afterCommit.push(countDuplicates(rows.length - fresh.length))
        if (commitOracle !== undefined && fresh.length > 0) {
          commitOracle.inbox ??= { group: boundedGroup, messageId: fresh[0]!.bytes, marker }
        }
        return fresh.map(({ id }) => id)
      }
    )
  })

/**
 * Forgets messages that were processed longer ago than `olderThan`, which must exceed the time for which a message may
 * come again. Deletes in batches, each a transaction of its own, so that no lock is held for long: not to be run inside a
 * transaction. Returns how many. A failure leaves what earlier batches have deleted deleted.
 *
 * @example
 * import * as Effect from "effect/Effect"
 * import * as Schedule from "effect/Schedule"
 * import * as Inbox from "@safesync/mysql/Inbox"
 *
 * const daily = Effect.repeat(Inbox.purge({ olderThan: "14 days" }), Schedule.spaced("1 day"))
 *
 * @since 0.1.0
 * @category maintenance
 */
export const purge = (options: {
  readonly olderThan: Duration.DurationInput
  /** Rows a batch; default 1,000. */
  readonly batchSize?: number | undefined
}): Effect.Effect<number, MysqlError.MysqlError | MysqlError.TransactionAborted, SqlClient.SqlClient> =>
  purged.olderThan("Inbox", table, "processed_at", options)

// internal

/**
 * An id that is known is no error of the statement, which would undo the whole of it and leave locks that two transactions can
 * share: it is left as it is, locked exclusively, and the answer carries `known` in place of a generated id.
 */
const known = 1
const insertInto = `INSERT INTO ${table} (consumer_group, message_id, commit_marker) VALUES `
const unlessKnown = ` ON DUPLICATE KEY UPDATE processed_at = IF(LAST_INSERT_ID(${known}), processed_at, processed_at)`

/** Not before: a transaction that is rolled back gets its message again, and would count it again. */
const countDuplicates = (count: number): Effect.Effect<void> =>
  Effect.sync(() => MysqlMetrics.inboxDuplicates.unsafeUpdate(count, []))

const insertOf = (rows: string): string => insertInto + rows + unlessKnown

const insert = insertOf("(?, ?, ?)")

const asText = (row: ReadonlyArray<unknown>): string => insertOf(`(${row.map(own.literal).join(", ")})`)

/** Ids a statement: with the longest ids and group it has half a megabyte then. */
const pageSize = 500

interface Id {
  readonly id: string
  readonly bytes: Uint8Array
}

const selectMarkers =
  `SELECT ${duration.untimed} message_id, commit_marker FROM ${table} FORCE INDEX (PRIMARY) WHERE consumer_group = `

/** Writes a page of ids, and answers with those that were not there before. */
const remember = (
  session: Session,
  group: Uint8Array,
  page: ReadonlyArray<Id>,
  marker: Uint8Array
): Effect.Effect<ReadonlyArray<Id>, MysqlError.MysqlError | MysqlError.TransactionAborted> =>
  Effect.suspend(() => {
    const [before, behind] = [`(${own.literal(group)}, `, `, ${own.literal(marker)})`]
    const rows = page.map(({ bytes }) => before + own.literal(bytes) + behind)
    return Effect.flatMap(session.unprepared(insert, insertOf(rows.join(", "))), (written) => {
      if (Number((written as OkPacket).insertId) !== known) return Effect.succeed(page)
      const ids = page.map(({ bytes }) => own.literal(bytes)).join(", ")
      // All of them are there and ours by now, so no gap is locked; and a locking read takes no snapshot.
      const text = `${selectMarkers}${own.literal(group)} AND message_id IN (${ids}) LIMIT ${page.length} FOR UPDATE`
      const found = Effect.flatMap(
        session.unprepared(`${selectMarkers}? …`, text),
        (rows) => own.read(selectMarkers, rows as ReadonlyArray<own.Cells>, (row) => [row.hex(0), row.hex(1)] as const)
      )
      return Effect.flatMap(found, (found) => {
        const markers = new Map(found)
        const mine = own.hex(marker)
        // An answer without one of them tells nothing of it.
        return page.every(({ bytes }) => markers.has(own.hex(bytes)))
          ? Effect.succeed(page.filter(({ bytes }) => markers.get(own.hex(bytes)) === mine))
          : Effect.fail(own.unreadable(selectMarkers))
      })
    })
  })
