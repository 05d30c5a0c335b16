/**
 * Sends `KILL` over a connection that is not from the pool, since the pool may be exhausted by the very statements that
 * are to be cancelled.
 *
 * **A session that commits is left alone**, be it by COMMIT, by a statement that is its own transaction, or by DDL: on a full
 * disk the server waits for space to write its binary log, and a KILL there ends the whole server (`binlog_error_action`, whose
 * default is ABORT_SERVER). The server looks at the session and kills it in one packet, so that nothing comes in between.
 *
 * Connection ids are the server's: this needs a direct connection, not a proxy that multiplexes statements.
 *
 * @internal
 */
import type { MysqlClient } from "@effect/sql-mysql2/MysqlClient"
import * as lastingConnection from "./lastingConnection.js"

export interface Canceller {
  /**
   * Calls back when the server has acted: `true` when it has taken the request (or no longer has that connection, or has found
   * that it commits), `false` when it could not be asked. `since`: a moment, by `performance.now()`, at which the connection was
   * there; a server that was started later may have given its id to somebody else. `port`: our end of the connection, by which the
   * server knows the session where nothing stands in between and its start was no more than a second before. `sentCommit`: the last packet of the session
   * held COMMIT, which may be on its way: it is ended only while it waits for its client.
   */
  readonly kill: (
    what: "QUERY" | "CONNECTION",
    session: {
      readonly connectionId: number
      readonly since: number
      readonly port?: number | undefined
      readonly sentCommit: boolean
    },
    done: (acted: boolean) => void
  ) => void
}

const cancellers = new WeakMap<MysqlClient, Canceller>()

export const of = (client: MysqlClient): Canceller => {
  let known = cancellers.get(client)
  if (known === undefined) cancellers.set(client, known = make(lastingConnection.of(client)))
  return known
}

const make = (connection: lastingConnection.LastingConnection): Canceller => ({
  kill(what, { connectionId, port, sentCommit, since }, done) {
    const commits = sentCommit ? "COMMAND <> 'Sleep'" : `STATE IN (${committing})`
    const sql = "SET @safesync_kill = IF(EXISTS(SELECT 1 FROM information_schema.PROCESSLIST " +
      `WHERE ID = ${connectionId} AND ${commits}), 'DO 0', 'KILL ${what} ${connectionId}'); ` +
      "PREPARE safesync_kill FROM @safesync_kill; EXECUTE safesync_kill"
    const proof = port === undefined ? undefined : "SELECT ID FROM information_schema.PROCESSLIST " +
      `WHERE ID = ${connectionId} AND SUBSTRING_INDEX(HOST, ':', -1) = '${port}'`
    connection.askThatOf(since, proof, sql, (_, error) =>
      // 1094: the server no longer knows that connection.
      done(error === null || (error as { errno?: unknown }).errno === 1094))
  }
})

// internal

/**
 * The states of a session that commits: it writes the binary log, waits for a replica to have it, or for a backup's
 * `FLUSH TABLES WITH READ LOCK`; `query end` before MySQL 8.0.18.
 */
const committing = [
  "waiting for handler commit",
  "Waiting for semi-sync ACK from replica",
  "Waiting for semi-sync ACK from slave",
  "Waiting for commit lock",
  "query end"
].map((state) => `'${state}'`).join(", ")
