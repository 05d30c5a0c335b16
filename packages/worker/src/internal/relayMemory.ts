/**
 * The knowledge that a relay keeps when a failure has ended it, until it is run again on the same client: what it has published and could
 * not remove, what holds up its key, and what it has told already.
 *
 * @internal
 */
import type { MysqlClient } from "@effect/sql-mysql2/MysqlClient"
import type { MysqlError } from "@safesync/mysql/MysqlError"
import type { Stored } from "@safesync/mysql/Outbox"
import type { RedisError } from "@safesync/redis-streams/RedisError"
import { Outage } from "./outage.js"

export type Of = Pick<Stored, "id" | "stream" | "key">

/** A message that cannot be sent. */
export interface Held extends Of {
  readonly error: RedisError | MysqlError
  /** By `performance.now()`: when it is tried again. */
  readonly until: number
}

export class RelayMemory {
  readonly outage = new Outage({ begins: "The relay cannot publish", ends: "The relay publishes again" })
  /** Published and not removed yet: nothing else is published before it is. */
  published: Array<Pick<Stored, "id" | "messageId">> = []
  /** By `laneOf`. */
  readonly held = new Map<string, Held>()
  /** Streams of which it was said that they cannot be written. */
  readonly told = new Set<string>()
  /** Whether somebody relays, or waits for the partition. */
  running = false
  /** Whether it has the partition. */
  has = false
  /** Milliseconds since the epoch; 0: never. */
  lastSuccess = 0
  private last: unknown

  /** Marks an error with which the relay ends as one that has been told. */
  telling<E>(error: E): E {
    this.last = error
    return error
  }

  isTold(error: unknown): boolean {
    return error === this.last
  }
}

/** The lane of a message: those of one key stay in order; one without a key is alone. */
export const laneOf = ({ id, key, stream }: Of): string => key === undefined ? id : `${stream}\0${key}`

export const relayMemory = (client: MysqlClient, relay: string): RelayMemory => {
  let ofClient = memories.get(client)
  if (ofClient === undefined) memories.set(client, ofClient = new Map())
  let memory = ofClient.get(relay)
  if (memory === undefined) ofClient.set(relay, memory = new RelayMemory())
  return memory
}

/** Those of all partitions of a relay. */
export const memoriesOf = (client: MysqlClient, name: string): ReadonlyArray<RelayMemory> =>
  [...memories.get(client) ?? []].flatMap(([relay, memory]) =>
    relay.startsWith(`${name} `) && /^\d+ of \d+$/.test(relay.slice(name.length + 1)) ? [memory] : []
  )

// internal

const memories = new WeakMap<MysqlClient, Map<string, RelayMemory>>()
