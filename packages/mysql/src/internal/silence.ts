/**
 * Statements without an answer, of which nobody knows whether one will come: the host may have vanished without a word, and then
 * the kernel goes on sending for a quarter of an hour. The server is asked about them on another connection:
 *
 * the server says           | what it means                                                     | twice in a row
 * --------------------------|-------------------------------------------------------------------|--------------------
 * it runs                   | it takes its time: it waits for a lock, or has much to do         |
 * the session is idle       | the statement has not come there, or its answer has not come here | it is lost
 * nothing                   | the server is frozen or cannot be reached                         | it is lost
 * it has no such session    | the address leads to several servers                              |
 * another error             | it is alive, and tells nothing of the session                     |
 *
 * A connection that is lost gets what a broken network would have brought it: the driver tells everybody who waits on it. There
 * is one timer for all connections of a client, and nothing is done for a statement that is answered in time.
 *
 * @internal
 */
import type { Duplex } from "node:stream"
import * as driver from "./driverError.js"
import type * as lastingConnection from "./lastingConnection.js"

/** A statement that is seen at two of these looks is asked about, then at each that follows. */
const lookMillis = 5_000

/** So many answers in a row, and the connection is lost. */
const enough = 2

/** The parts of a connection of mysql2 that are used here. */
export interface Watched {
  readonly threadId: number | null
  readonly stream: Duplex & {
    readonly bytesRead?: number
    readonly setKeepAlive?: (enable: boolean, delayMillis: number) => unknown
  }
  /** The command that it waits for an answer to. */
  readonly _command?: unknown
  /** The consumer of a stream does not want any more just now. */
  readonly _paused?: boolean
}

export interface Watch {
  /** Looks at one that is not of the pool, until it is called back. */
  readonly beside: (connection: Watched) => () => void
  readonly stop: () => void
}

export const watch = (
  ofPool: () => ReadonlyArray<Watched>,
  side: lastingConnection.LastingConnection
): Watch => {
  const others = new Set<Watched>()
  const seen = new WeakMap<Watched, Seen>()
  const look = () => {
    const silent = new Map<number, Seen>()
    for (const connection of [...ofPool(), ...others]) {
      const { _command: command, _paused: paused, stream: { bytesRead }, threadId } = connection
      const before = seen.get(connection)
      if (!command || paused === true || typeof threadId !== "number") seen.delete(connection)
      else if (before?.command !== command || before.bytesRead !== bytesRead) {
        seen.set(connection, { connection, command, bytesRead, doubts: 0 })
      } else silent.set(threadId, before)
    }
    if (silent.size === 0) return
    side.ask(idle([...silent.keys()]), [], (rows, error) => {
      if (rows === undefined && !isSilence(error)) return
      const doubtful = rows === undefined ? undefined : new Set(rows.map((row) => Number(row["ID"])))
      for (const [id, found] of silent) {
        if (found.connection._command !== found.command) continue
        found.doubts = doubtful === undefined || doubtful.has(id) ? found.doubts + 1 : 0
        if (found.doubts >= enough) found.connection.stream.destroy(driver.silent())
      }
    })
  }
  const timer = setInterval(look, lookMillis).unref()
  return {
    beside: (connection) => {
      others.add(connection)
      return () => others.delete(connection)
    },
    stop: () => clearInterval(timer)
  }
}

// internal

interface Seen {
  readonly connection: Watched
  readonly command: unknown
  readonly bytesRead: number | undefined
  /** How many times in a row the server has not said that it runs. */
  doubts: number
}

/** Which of these sessions wait for their client. */
const idle = (ids: ReadonlyArray<number>): string =>
  `SELECT ID FROM information_schema.PROCESSLIST WHERE ID IN (${ids.join(", ")}) AND COMMAND = 'Sleep' ` +
  "AND USER = SUBSTRING_INDEX(USER(), '@', 1)"

/** The server has said nothing; neither has the resolver of names, nor this process, which may have no file left to open. */
const isSilence = (error: unknown): boolean => {
  const { code, errno } = driver.read(error)
  return errno === undefined && code !== "ENOTFOUND" && code !== "EAI_AGAIN" && driver.isConnectionLost(error)
}
