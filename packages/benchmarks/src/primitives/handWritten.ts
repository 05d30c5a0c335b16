/**
 * mysql2 with promises and prepared statements.
 *
 * @since 0.1.0
 */
import type { PoolConnection, ResultSetHeader, RowDataPacket } from "mysql2/promise"

type Write = (connection: PoolConnection, id: number) => Promise<void>

/**
 * @since 0.1.0
 * @category primitives
 */
export const atomic: Write = transaction(async (connection, id) => {
  await connection.execute("UPDATE counter SET value = value + 1 WHERE id = ?", [id])
})

/**
 * @since 0.1.0
 * @category primitives
 */
export const rowLock: Write = transaction(async (connection, id) => {
  const [[row]] = await connection.execute<Array<RowDataPacket>>(
    "SELECT value FROM counter WHERE id = ? FOR UPDATE",
    [id]
  )
  await connection.execute("UPDATE counter SET value = ? WHERE id = ?", [row!["value"] + 1, id])
})

/**
 * Released after COMMIT, or others would read what is not there yet.
 *
 * @since 0.1.0
 * @category primitives
 */
export const advisory: Write = async (connection, id) => {
  const name = `counter-${id}`
  await connection.execute("SELECT GET_LOCK(?, 30)", [name])
  try {
    await connection.beginTransaction()
    const [[row]] = await connection.execute<Array<RowDataPacket>>("SELECT value FROM counter WHERE id = ?", [id])
    await connection.execute("UPDATE counter SET value = ? WHERE id = ?", [row!["value"] + 1, id])
    await connection.commit()
  } finally {
    await connection.execute("DO RELEASE_LOCK(?)", [name])
  }
}

/**
 * @since 0.1.0
 * @category primitives
 */
export const occ: Write = async (connection, id) => {
  for (let done = false; !done;) {
    await connection.beginTransaction()
    const [[row]] = await connection.execute<Array<RowDataPacket>>(
      "SELECT value, version FROM counter WHERE id = ?",
      [id]
    )
    const [{ affectedRows }] = await connection.execute<ResultSetHeader>(
      "UPDATE counter SET value = ?, version = version + 1 WHERE id = ? AND version = ?",
      [row!["value"] + 1, id, row!["version"]]
    )
    done = affectedRows === 1
    await (done ? connection.commit() : connection.rollback())
  }
}

// internal

function transaction(body: Write): Write {
  return async (connection, id) => {
    await connection.beginTransaction()
    try {
      await body(connection, id)
      await connection.commit()
    } catch (error) {
      await connection.rollback()
      throw error
    }
  }
}
