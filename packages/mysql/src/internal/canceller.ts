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
   * Calls back when the server has acted: `true` when it has taken the request (or no longer has that connection),
   * `false` when it could not be asked. `since`: a moment, by `performance.now()`, at which the connection was there; a
   * server that was started later may have given its id to somebody else.
   */
  readonly kill: (
    what: "QUERY" | "CONNECTION",
    connectionId: number,
    since: number,
    done: (acted: boolean) => void
  ) => void
}

const cancellers = new WeakMap<MysqlClient, Canceller>()

export const of = (client: MysqlClient): Canceller => {
  const known = cancellers.get(client)
  if (known !== undefined) return known
  const made = make(client.config)
  cancellers.set(client, made)
  return made
}

interface Side {
  readonly connection: Mysql.Connection
  readonly start: sideConnection.ServerStart
}

const make = (config: MysqlClientConfig): Canceller => {
  let side: Side | undefined
  let idle: NodeJS.Timeout | undefined
  let waiting = 0

  const forget = (which: Side) => {
    if (side === which) side = undefined
    which.connection.destroy()
  }

  const open = (): Side => {
    const connection = sideConnection.open(config)
    const made: Side = side = { connection, start: new sideConnection.ServerStart() }
    connection.on("error", () => forget(made))
    connection.on("connect", () => {
      // @ts-expect-error: the socket is not in mysql2's types
      connection.stream?.unref?.()
    })
    return made
  }

  /** Whether the server is still the same one; undefined when it could not be asked. */
  const wasThere = (used: Side, since: number, then: (same: boolean | undefined) => void): void => {
    const same = used.start.wasThere(since)
    if (same !== undefined) return then(same)
    used.connection.query(sideConnection.uptime, (error: unknown, rows: unknown) => {
      if (error !== null) return then(undefined)
      used.start.observe(rows)
      const now = used.start.wasThere(since)
      if (now !== undefined) return then(now)
      setTimeout(() => wasThere(used, since, then), sideConnection.askAgainMillis).unref()
    })
  }

  return {
    kill(what, connectionId, since, done) {
      clearTimeout(idle)
      waiting++
      const used = side ?? open()
      const answered = (acted: boolean) => {
        waiting--
        if (!acted) forget(used)
        if (waiting === 0) {
          idle = setTimeout(() => side === used && forget(used), idleMillis)
          idle.unref()
        }
        done(acted)
      }
      wasThere(used, since, (same) => {
        if (same === undefined) return answered(false)
        if (!same) return answered(true)
        // 1094: the server no longer knows that connection.
        used.connection.query(
          `KILL ${what} ${connectionId}`,
          (error) => answered(error === null || error.errno === 1094)
        )
      })
    }
  }
}
