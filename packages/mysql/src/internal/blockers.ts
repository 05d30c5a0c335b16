/**
 * Who holds the lock that a statement waits for: asked over a connection that is not from the pool while the statement is
 * waiting, since the server has forgotten it by the time at which the wait has timed out. A deadlock is reported afterwards.
 *
 * @internal
 */
import type { MysqlClient } from "@effect/sql-mysql2/MysqlClient"
import type { LockParty } from "../LockParty.js"
import * as duration from "./duration.js"
import * as lastingConnection from "./lastingConnection.js"
import * as lockWaits from "./lockWaits.js"

/** A statement that is answered within this time is asked nothing about; then each interval is twice the one before. */
const firstMillis = 50

/** How much later than without the details a deadlock may be told. */
const deadlockMillis = 150

/** More holders than these say nothing new. */
const limit = 10

export type Parties = ReadonlyArray<LockParty> | undefined

export interface Watch {
  /** No more questions. Gives the holders that were seen last. */
  readonly stop: () => Parties
}

export interface Blockers {
  /** Begins to ask who holds what this connection waits for. */
  readonly watch: (connectionId: number) => Watch
  /** Calls back with the other transactions of the deadlock of which this connection was the victim just now. */
  readonly ofDeadlock: (connectionId: number, done: (parties: Parties) => void) => void
}

const known = new WeakMap<MysqlClient, Blockers>()

export const of = (client: MysqlClient): Blockers => {
  let found = known.get(client)
  if (found === undefined) known.set(client, found = make(lastingConnection.make(client.config)))
  return found
}

// internal

const make = (connection: lastingConnection.LastingConnection): Blockers => ({
  watch(connectionId) {
    let seen: Parties
    let stopped = false
    let interval = firstMillis
    const sql = lockWaits.waits({ of: connectionId, limit, text: false })
    const ask = () =>
      connection.ask(sql, [], (rows) => {
        if (stopped) return
        if (rows !== undefined && rows.length > 0) seen = holders(rows)
        interval *= 2
        timer = later(ask, interval)
      })
    let timer = later(ask, interval)
    return {
      stop: () => {
        stopped = true
        clearTimeout(timer)
        return seen
      }
    }
  },

  ofDeadlock(connectionId, done) {
    let told = false
    const tell = (parties: Parties) => {
      if (told) return
      told = true
      clearTimeout(bound)
      done(parties)
    }
    const bound = duration.later(() => tell(undefined), deadlockMillis)
    connection.ask(lockWaits.innodbStatus, [], (rows) => {
      const all = lockWaits.lastDeadlock(String(rows?.[0]?.["Status"]))
      // By now there may have been another one.
      if (!all.some((one) => one.victim && one.connectionId === connectionId)) return tell(undefined)
      const others = all.filter((one) => one.connectionId !== connectionId).slice(0, limit)
      const parties: Array<LockParty> = []
      for (const { connectionId, statement } of others) {
        connection.ask(lockWaits.digest, [statement], (rows) => {
          parties.push(lockWaits.deadlocked(connectionId, statement, rows?.[0]?.["digest"]))
          if (parties.length === others.length) tell(parties)
        })
      }
    })
  }
})

const later = (what: () => void, millis: number): NodeJS.Timeout => duration.later(what, millis).unref()

/** Each holder once, though it may hold several of the locks. */
const holders = (rows: ReadonlyArray<lockWaits.Row>): ReadonlyArray<LockParty> => {
  const byId = new Map<number, LockParty>()
  for (const row of rows) {
    const party = lockWaits.party(row, "holder")
    byId.set(party.connectionId, party)
  }
  return Array.from(byId.values())
}
