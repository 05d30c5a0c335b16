/**
 * Sends `KILL` over a connection that is not from the pool, since the pool may be exhausted by the very statements that
 * are to be cancelled.
 *
 * One connection for each client, opened when first needed, shared (mysql2 sends one command after another on it),
 * closed after ten idle seconds; it never keeps the process alive.
 *
 * Connection ids are the server's: this needs a direct connection, not a proxy that multiplexes statements.
 *
 * @internal
 */
import type { MysqlClient, MysqlClientConfig } from "@effect/sql-mysql2/MysqlClient"
import type * as Mysql from "mysql2"
import * as sideConnection from "./sideConnection.js"

const idleMillis = 10_000

export interface Canceller {
  /**
   * Calls back when the server has acted: `true` when it has taken the request (or no longer knows the connection),
   * `false` when it could not be asked.
   */
  readonly kill: (what: "QUERY" | "CONNECTION", connectionId: number, done: (acted: boolean) => void) => void
}

const cancellers = new WeakMap<MysqlClient, Canceller>()

export const of = (client: MysqlClient): Canceller => {
  const known = cancellers.get(client)
  if (known !== undefined) return known
  const made = make(client.config)
  cancellers.set(client, made)
  return made
}

const make = (config: MysqlClientConfig): Canceller => {
  let connection: Mysql.Connection | undefined
  let idle: NodeJS.Timeout | undefined
  let waiting = 0

  const forget = (which: Mysql.Connection) => {
    if (connection === which) connection = undefined
    which.destroy()
  }

  const open = (): Mysql.Connection => {
    const made = sideConnection.open(config)
    made.on("error", () => forget(made))
    made.on("connect", () => {
      // @ts-expect-error: the socket is not in mysql2's types
      made.stream?.unref?.()
    })
    connection = made
    return made
  }

  return {
    kill(what, connectionId, done) {
      clearTimeout(idle)
      waiting++
      const used = connection ?? open()
      used.query(`KILL ${what} ${connectionId}`, (error) => {
        waiting--
        // 1094: the server no longer knows that connection.
        const acted = error === null || error.errno === 1094
        if (!acted) forget(used)
        if (waiting === 0) {
          idle = setTimeout(() => connection === used && forget(used), idleMillis)
          idle.unref()
        }
        done(acted)
      })
    }
  }
}
