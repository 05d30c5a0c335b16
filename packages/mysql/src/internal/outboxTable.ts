/**
 * The outbox's tables: how they are made and written to, and what a row of theirs says.
 *
 * @internal
 */
import type * as Client from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import type * as Effect from "effect/Effect"
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

const storedColumns = "id, slot, message_id, stream, message_key, headers, data"

/** The messages of these slots, but for those of so many streams. */
export const select = (streams: number): string => {
  const others = streams === 0 ? "" : `AND stream NOT IN (${Array(streams).fill("?").join(", ")}) `
  return `SELECT ${storedColumns} FROM ${name} WHERE slot BETWEEN ? AND ? ${others}ORDER BY slot, id LIMIT ?`
}

export const remove = (count: number): string =>
  `DELETE FROM ${name} WHERE id IN (${Array(count).fill("?").join(", ")}) ORDER BY id LIMIT ${count}`

/** Moments are compared in UTC: in a zone that sets its clocks back, an hour comes twice. */
export const selectBacklog = "SELECT /*+ SET_VAR(time_zone = '+00:00') */ COUNT(*), " +
  `GREATEST(0, COALESCE(TIMESTAMPDIFF(MICROSECOND, MIN(written_at), CURRENT_TIMESTAMP(6)), 0)) FROM ${name} LIMIT 1`

export const stored = (row: own.Reader): Stored => ({
  id: row.text(0),
  slot: row.number(1),
  messageId: row.text(2),
  stream: row.text(3),
  key: row.textOrNull(4),
  headers: JSON.parse(row.text(5)),
  data: row.text(6)
})
