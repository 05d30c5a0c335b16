/**
 * The outbox's tables: how they are made and written to, and what a row of theirs says.
 *
 * @internal
 */
import type * as Client from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import type * as Effect from "effect/Effect"
import * as MysqlError from "../MysqlError.js"
import type { Stored } from "../Outbox.js"
import * as outside from "./outside.js"
import type * as own from "./own.js"

export const name = "safesync_outbox"

export const slots = 1_024

export const create: Effect.Effect<void, SqlError, Client.SqlClient> = outside.create(
  `CREATE TABLE IF NOT EXISTS ${name} (
    id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
    slot SMALLINT UNSIGNED NOT NULL,
    message_id VARBINARY(255) NOT NULL,
    stream VARBINARY(512) NOT NULL,
    message_key VARBINARY(255),
    headers MEDIUMBLOB NOT NULL,
    data LONGBLOB NOT NULL,
    written_at TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
    KEY slot (slot, id)
  ) ENGINE = InnoDB`,
  "CREATE TABLE IF NOT EXISTS safesync_outbox_slot (slot SMALLINT UNSIGNED NOT NULL PRIMARY KEY) ENGINE = InnoDB",
  "INSERT IGNORE INTO safesync_outbox_slot (slot) " +
    `VALUES ${Array.from({ length: slots }, (_, slot) => `(${slot})`).join(", ")}`
)

const columns = "message_id, stream, message_key, headers, data, slot"

export const insert = `INSERT INTO ${name} (${columns}) VALUES (?, ?, ?, ?, ?, CRC32(?) % ${slots})`

/** The id is generated after the lock on the key's slot is granted, and the lock is held until the transaction ends. */
export const insertKeyed = `INSERT INTO ${name} (${columns}) ` +
  `SELECT ?, ?, ?, ?, ?, slot FROM safesync_outbox_slot WHERE slot = CRC32(?) % ${slots} LIMIT 1 FOR UPDATE`

/** The messages that a read leaves out. */
export interface Without {
  /** All of these streams. */
  readonly streams: ReadonlyArray<string>
  /** These, and of each that has a key all that has the same one. */
  readonly messages: ReadonlyArray<Pick<Stored, "id" | "stream" | "key">>
}

/** Of which slots, how many, and what not. */
export interface Selection {
  readonly fromSlot: number
  readonly toSlot: number
  readonly limit: number
  readonly without: Without
}

/** How many bytes one read gives at most, unless its first message alone has more. */
export const mostBytes = 4_000_000

/** The messages of these slots; the content only of those that have no more than so many bytes. */
export const select = (
  { fromSlot, limit, toSlot, without: { messages, streams } }: Selection,
  longest: number
): { readonly sql: string; readonly values: ReadonlyArray<unknown> } => {
  const keyed = messages.filter(({ key }) => key !== undefined)
  const single = messages.filter(({ key }) => key === undefined)
  const short = `LENGTH(headers) + LENGTH(data) <= ${longest}`
  return {
    sql: "SELECT id, slot, message_id, stream, message_key, LENGTH(headers) + LENGTH(data), " +
      `IF(${short}, headers, NULL), IF(${short}, data, NULL) FROM ${name} WHERE slot BETWEEN ? AND ? ` +
      (streams.length === 0 ? "" : `AND stream NOT IN (${marks(streams.length)}) `) +
      (keyed.length === 0
        ? ""
        : `AND (message_key IS NULL OR (stream, message_key) NOT IN (${marks(keyed.length, "(?, ?)")})) `) +
      (single.length === 0 ? "" : `AND id NOT IN (${marks(single.length)}) `) +
      "ORDER BY slot, id LIMIT ?",
    values: [
      fromSlot,
      toSlot,
      ...streams.map(utf8),
      ...keyed.flatMap(({ key, stream }) => [utf8(stream), utf8(key!)]),
      ...single.map(({ id }) => BigInt(id)),
      limit
    ]
  }
}

/** The content of so many messages. */
export const selectContent = (count: number): string =>
  `SELECT id, headers, data FROM ${name} WHERE id IN (${marks(count)}) LIMIT ${count}`

export const remove = (count: number): string =>
  `DELETE FROM ${name} WHERE id IN (${marks(count)}) ORDER BY id LIMIT ${count}`

/** Ids begin again when the table is emptied by TRUNCATE: then the id of a message tells that it is another one. */
export const removeThose = (count: number): string =>
  `DELETE FROM ${name} WHERE id IN (${marks(count)}) AND message_id IN (${marks(count)}) ORDER BY id LIMIT ${count}`

/** Moments are compared in UTC: in a zone that sets its clocks back, an hour comes twice. */
export const selectBacklog = "SELECT /*+ SET_VAR(time_zone = '+00:00') */ COUNT(*), " +
  `GREATEST(0, COALESCE(TIMESTAMPDIFF(MICROSECOND, MIN(written_at), CURRENT_TIMESTAMP(6)), 0)) FROM ${name} LIMIT 1`

type Content = Pick<Stored, "headers" | "data"> | MysqlError.StatementFailed

/** The columns of a message that `select` answers. */
export interface Row {
  readonly head: Omit<Stored, "headers" | "data">
  readonly bytes: number
  /** Nothing where it is long. */
  readonly content: Content | undefined
}

export const row = (row: own.Reader): Row => ({
  head: {
    id: row.text(0),
    slot: row.number(1),
    messageId: row.text(2),
    stream: row.text(3),
    key: row.textOrNull(4)
  },
  bytes: row.number(5),
  content: row.bytes(7) === undefined ? undefined : content(row, 6)
})

/** Those that `selectContent` answers. */
export const longContent = (row: own.Reader): readonly [id: string, content: Content] => [row.text(0), content(row, 1)]

// internal

/** Headers may be no JSON, and texts too long to be one. */
const content = (row: own.Reader, at: number): Content => {
  try {
    return { headers: JSON.parse(row.text(at)), data: row.text(at + 1) }
  } catch (cause) {
    const detail = `The row ${row.text(0)} of ${name} does not hold a message`
    return new MysqlError.StatementFailed({ code: "DAMAGED", detail, cause })
  }
}

const utf8 = (text: string): Uint8Array => Buffer.from(text, "utf8")

const marks = (count: number, mark = "?"): string => Array(count).fill(mark).join(", ")
