/**
 * The outbox's tables: how they are made and written to, and what a row of theirs says.
 *
 * @internal
 */
import * as Client from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"
import type { Stored } from "../Outbox.js"

export const name = "safesync_outbox"

export const slots = 1_024

export const create: Effect.Effect<void, SqlError, Client.SqlClient> = Effect.flatMap(
  Client.SqlClient,
  (sql) =>
    Effect.all([
      sql`
      CREATE TABLE IF NOT EXISTS safesync_outbox (
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
      sql`CREATE TABLE IF NOT EXISTS safesync_outbox_slot (slot SMALLINT UNSIGNED NOT NULL PRIMARY KEY) ENGINE = InnoDB`,
      sql`INSERT IGNORE INTO safesync_outbox_slot (slot)
      VALUES ${sql.literal(Array.from({ length: slots }, (_, slot) => `(${slot})`).join(", "))}`
    ], { discard: true })
)

const columns = "message_id, stream, message_key, headers, data, slot"

export const insert = `INSERT INTO ${name} (${columns}) VALUES (?, ?, ?, ?, ?, CRC32(?) % ${slots})`

/** The id is generated after the lock on the key's slot is granted, and the lock is held until the transaction ends. */
export const insertKeyed = `INSERT INTO ${name} (${columns}) ` +
  `SELECT ?, ?, ?, ?, ?, slot FROM safesync_outbox_slot WHERE slot = CRC32(?) % ${slots} FOR UPDATE`

export const stored = (row: Record<string, any>): Stored => ({
  id: String(row["id"]),
  slot: Number(row["slot"]),
  messageId: String(row["message_id"]),
  stream: String(row["stream"]),
  key: row["message_key"] === null ? undefined : String(row["message_key"]),
  headers: JSON.parse(String(row["headers"])),
  data: String(row["data"])
})
