/**
 * Sends `KILL` over a connection that is not from the pool, since the pool may be exhausted by the very statements that
 * are to be cancelled.
 *
 * Connection ids are the server's: this needs a direct connection, not a proxy that multiplexes statements.
 *
 * @internal
 */
import type { MysqlClient } from "@effect/sql-mysql2/MysqlClient"
import * as lastingConnection from "./lastingConnection.js"

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
  let known = cancellers.get(client)
  if (known === undefined) cancellers.set(client, known = make(lastingConnection.make(client.config)))
  return known
}

const make = (connection: lastingConnection.LastingConnection): Canceller => ({
  kill(what, connectionId, since, done) {
    connection.askThatOf(since, `KILL ${what} ${connectionId}`, (_, error) =>
      // 1094: the server no longer knows that connection.
      done(error === null || (error as { errno?: unknown }).errno === 1094))
  }
})
