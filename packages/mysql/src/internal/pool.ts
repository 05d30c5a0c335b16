/**
 * The driver's pool below a client, and what is seen to there for every connection of it, whoever uses it:
 *
 * - A connection whose other side is gone is noticed while it is idle (TCP keep-alive), and while it waits for an answer
 *   (`silence`).
 * - Closing it is bounded. The driver sends its goodbye behind the statement that runs, and waits for ever with it.
 *
 * @internal
 */
import type { MysqlClient } from "@effect/sql-mysql2/MysqlClient"
import type { Connection } from "@effect/sql/SqlConnection"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Scope from "effect/Scope"
import type { PoolConnection } from "mysql2"
import * as driver from "./driverError.js"
import * as duration from "./duration.js"
import * as lastingConnection from "./lastingConnection.js"
import * as sideConnection from "./sideConnection.js"
import * as silence from "./silence.js"

/** The parts of mysql2's pool that are used here. The way to it is not public, nor are its connections. */
export interface Pool {
  readonly getConnection: (
    done: (error: NodeJS.ErrnoException | null, connection: PoolConnection) => void
  ) => void
  end: (done?: (error?: unknown) => void) => void
  readonly config: {
    readonly connectionConfig: { readonly enableKeepAlive: boolean; keepAliveInitialDelay: number | undefined }
  }
  readonly _allConnections: { readonly length: number; readonly get: (index: number) => silence.Watched }
}

export interface Attended {
  readonly pool: Pool
  readonly watch: silence.Watch
}

/** Nothing where the client hides its pool: then it is not one of @effect/sql-mysql2. */
export const of = (client: MysqlClient): Attended | undefined => {
  let found = clients.get(client)
  if (found === undefined) {
    const pool = below(client)
    if (pool === undefined) return undefined
    found = pools.get(pool) ?? attend(pool, client)
    clients.set(client, found)
  }
  return found
}

// internal

const clients = new WeakMap<MysqlClient, Attended>()
const pools = new WeakMap<Pool, Attended>()

/** A statement knows where its connection comes from; outside of a transaction that is the pool, in the field `conn`. */
const below = (client: MysqlClient): Pool | undefined => {
  const statement = client.unsafe("DO 0") as { readonly acquirer?: Effect.Effect<Connection, unknown, Scope.Scope> }
  if (statement.acquirer === undefined) return undefined
  const connection = Effect.runSyncExit(Effect.scoped(statement.acquirer))
  const pool = Exit.isSuccess(connection)
    ? (connection.value as { readonly conn?: Partial<Pool> }).conn
    : undefined
  return typeof pool?.getConnection === "function" && typeof pool.end === "function" &&
      typeof pool._allConnections?.get === "function"
    ? pool as Pool
    : undefined
}

const attend = (pool: Pool, client: MysqlClient): Attended => {
  const open = () => connectionsOf(pool)
  const made: Attended = { pool, watch: silence.watch(open, lastingConnection.of(client)) }
  pools.set(pool, made)
  keepAlive(pool)
  boundClosing(made)
  return made
}

const connectionsOf = ({ _allConnections }: Pool): ReadonlyArray<silence.Watched> =>
  Array.from({ length: _allConnections.length }, (_, index) => _allConnections.get(index))

/** Of those that are there, and of those to come; unless the application has its own. */
const keepAlive = (pool: Pool): void => {
  const { connectionConfig } = pool.config
  if (!connectionConfig.enableKeepAlive || (connectionConfig.keepAliveInitialDelay ?? 0) > 0) return
  connectionConfig.keepAliveInitialDelay = sideConnection.keepAliveMillis
  for (const { stream } of connectionsOf(pool)) stream.setKeepAlive?.(true, sideConnection.keepAliveMillis)
}

/** How long what is still under way on a connection may take when its pool is closed. */
const closingMillis = 250

const boundClosing = ({ pool, watch }: Attended): void => {
  const end = pool.end.bind(pool)
  pool.end = (done) => {
    watch.stop()
    const left = connectionsOf(pool)
    let over = false
    const finish = (error?: unknown) => {
      if (over) return
      over = true
      bound.unref()
      done?.(error)
    }
    const bound = duration.later(() => {
      // Also those that have said goodbye: of a host that is gone the socket would keep the process from ending.
      for (const { stream } of left) if (!stream.destroyed) stream.destroy(driver.closed())
      finish()
    }, closingMillis)
    end(finish)
  }
}
