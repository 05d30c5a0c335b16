/**
 * The connections that hold advisory locks outside of transactions: beside the pool, whose connections are for the work that
 * is done under the locks. Were they the pool's, ten that wait for a lock would leave none for the one who has it.
 *
 * - Of one process only one waits on the server for a name; the others queue here and have no connection.
 * - So each name that is held or waited for costs one connection, and there are at most as many as the pool has.
 * - A connection is opened for its lock and closed after it: that takes a few milliseconds, and leaves nothing to be cleaned.
 *
 * @internal
 */
import type { MysqlClient } from "@effect/sql-mysql2/MysqlClient"
import * as Effect from "effect/Effect"
import type * as Mysql from "mysql2"
import * as MysqlError from "../MysqlError.js"
import * as MysqlMetrics from "../MysqlMetrics.js"
import * as Canceller from "./canceller.js"
import * as driver from "./driverError.js"
import { Permits } from "./permits.js"
import * as Pool from "./pool.js"
import { Session } from "./session.js"
import * as sideConnection from "./sideConnection.js"
import type { Watched } from "./silence.js"

/** What one holder of a name has, or waits for. */
export interface Place {
  /** How many of the caller's milliseconds are left when it is this one's turn to ask the server, or none. */
  readonly turn: (timeoutMillis: number) => Effect.Effect<number | undefined>
  readonly connect: Effect.Effect<Session, MysqlError.MysqlError>
  /** Closes the connection, and lets the next one have the turn. To be called in the end, whatever has happened. */
  readonly leave: Effect.Effect<void>
}

export const place = (client: MysqlClient, name: string): Place => {
  const { names, slots } = of(client)
  const ofName = names.get(name) ?? new Permits(1)
  names.set(name, ofName)
  const [turn, slot] = [ofName.ticket(), slots.ticket()]
  let connection: Mysql.Connection | undefined
  let session: Session | undefined
  let unwatch: (() => void) | undefined
  return {
    turn: (timeoutMillis) =>
      Effect.flatMap(
        turn.wait(timeoutMillis),
        (left) => left === undefined ? Effect.succeed(undefined) : slot.wait(left)
      ),
    connect: Effect.async((resume) => {
      const opened = connection = sideConnection.open(client.config, (error) =>
        resume(
          error === null
            ? Effect.sync(() => session = new Session(opened as Mysql.PoolConnection, Canceller.of(client)))
            : Effect.fail(new MysqlError.ConnectionLost(driver.read(error)))
        ))
      unwatch = Pool.of(client)?.watch.beside(opened as unknown as Watched)
      // The statement that runs on it is told what is wrong with it.
      opened.on("error", () => {})
    }),
    leave: Effect.sync(() => {
      unwatch?.()
      if (session?.detach() === true) MysqlMetrics.connectionsDiscarded.unsafeUpdate(1, [])
      if (connection !== undefined) {
        if (session === undefined || session.phase._tag === "Lost") sideConnection.destroy(connection)
        else sideConnection.end(connection)
      }
      slot.leave()
      turn.leave()
      if (ofName.idle) names.delete(name)
    })
  }
}

// internal

interface OfClient {
  readonly names: Map<string, Permits>
  readonly slots: Permits
}

const clients = new WeakMap<MysqlClient, OfClient>()

const of = (client: MysqlClient): OfClient => {
  let found = clients.get(client)
  if (found === undefined) {
    clients.set(client, found = { names: new Map(), slots: new Permits(client.config.maxConnections ?? driversLimit) })
  }
  return found
}

/** What mysql2's pool has where nobody says. */
const driversLimit = 10
