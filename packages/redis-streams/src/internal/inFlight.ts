/**
 * What this process holds, by stream, group and consumer: fetched or being worked on, and neither acked nor handed back.
 * It keeps a consumer from being given again what it already has, when it reads its own pending entries after a
 * reconnect or reclaims what is stale, and it is what renewal looks after: once for all streams of the consumer.
 */
import * as Effect from "effect/Effect"
import { Acks } from "./acks.js"
import type { Connection } from "./connection.js"
// eslint-disable-next-line import-x/no-restricted-paths -- the type alone: a connection holds leases and does not know what they are
import type { Lease } from "./lease.js"
import type { Outage } from "./outage.js"

/** What one consumer holds here, by id. */
export class Entries extends Map<string, Lease<unknown>> {
  /** Where `StreamConsumer.next` goes on among what is pending for the consumer; nothing when it has seen the end. */
  own: string | undefined = "-"
  /** Whether somebody looks after the leases. */
  renewing = false
  /** Of renewing the leases, once there has been one to renew. */
  renewals: Outage | undefined
  /** Whether it was said that Redis refuses the marks of suspects. */
  unmarked = false
  /** For those who claim entries: what one has just been given is in flight before the next one asks, and not given twice. */
  readonly claiming: Effect.Semaphore = Effect.unsafeMakeSemaphore(1)

  constructor(readonly acks: Acks) {
    super()
  }
}

/** It does not keep them: those that nobody uses any more are gone, as names of consumers come and go. */
export class InFlight {
  private readonly held = new Map<string, WeakRef<Entries>>()
  /** Those of the names that were used last, the latest at the end: between two calls of `StreamConsumer.next` nobody has its. */
  private readonly recent = new Set<Entries>()
  private readonly gone = new FinalizationRegistry<string>((key) => {
    if (this.held.get(key)?.deref() === undefined) this.held.delete(key)
  })

  constructor(private readonly run: Connection["run"]) {}

  of(stream: string, group: string, consumer: string): Entries {
    const key = JSON.stringify([stream, group, consumer])
    let entries = this.held.get(key)?.deref()
    if (entries === undefined) {
      entries = new Entries(new Acks(this.run, stream, group, consumer))
      this.held.set(key, new WeakRef(entries))
      this.gone.register(entries, key)
    }
    this.recent.delete(entries)
    this.recent.add(entries)
    if (this.recent.size > mostRecent) this.recent.delete(this.recent.values().next().value!)
    return entries
  }
}

// internal

const mostRecent = 100
