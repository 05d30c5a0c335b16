/** What the server and the processes must hold, step by step. */
import type * as Delivery from "@safesync/redis-streams/Delivery"
import type * as Redis from "@safesync/redis-streams/Redis"
import type { InvalidOptions, RedisError } from "@safesync/redis-streams/RedisError"
import type * as Chunk from "effect/Chunk"
import type * as Context from "effect/Context"
import type * as Deferred from "effect/Deferred"
import type * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import type * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import type { Order } from "../fixture.js"

export type Failure = RedisError | InvalidOptions

export type Pull = Effect.Effect<Chunk.Chunk<Delivery.Delivery<Order>>, Option.Option<Failure>>

/** One worker process: its connection, its deliveries, and its stream while that is open. */
export interface Process {
  readonly name: string
  readonly redis: Context.Context<Redis.Redis>
  readonly layer: Scope.CloseableScope
  readonly held: Set<Held>
  stream: { readonly scope: Scope.CloseableScope; readonly pull: Pull | undefined } | undefined
  /** Where `next` goes on among what is pending for it; none when it has seen the end. */
  own: number | undefined
}

export interface Held {
  readonly delivery: Delivery.Delivery<Order>
  readonly process: Process
  /** Fetched and not begun; its handler runs; that has failed; or its stream has closed before it was begun. */
  state: "fetched" | "running" | "released" | "handed"
  fence: number
  handler: Handler | undefined
}

export interface Handler {
  readonly end: Deferred.Deferred<void, "refused">
  readonly fiber: Fiber.Fiber<void, "refused" | Failure>
}

interface Pending {
  /** Nobody, if it was given back by XNACK. */
  owner: string
  attempts: number
  stale: boolean
  /** The order in which nobody's entries were given back. */
  released?: number
}

export const nobody = ""

export class Model {
  /** Ids, in order: the n-th order is in the n-th entry. */
  readonly entries: Array<string> = []
  readonly bad = new Set<string>()
  readonly deleted = new Set<string>()
  readonly pending = new Map<string, Pending>()
  readonly done = new Set<string>()
  /** What must be in the dead-letter stream. An entry of which a new group does not know is buried again. */
  readonly buried: Array<string> = []
  readonly processes = new Map<string, Process>()
  /** Whether there is no group. */
  isLost = false
  /** How many entries the group has passed, and which is the last that it has given out. */
  private passed = 0
  private last = -1
  private releases = 0

  /** Whether what is handed back is nobody's, and the next read brings it. */
  constructor(readonly hasRelease: boolean) {}

  add(isBad: boolean): string {
    const id = `${this.entries.length + 1}-0`
    this.entries.push(id)
    if (isBad) this.bad.add(id)
    return id
  }

  /** The entries that are there. */
  get there(): ReadonlyArray<string> {
    return this.entries.filter((id) => !this.deleted.has(id))
  }

  /** What is pending and there, in order. */
  get alive(): ReadonlyArray<readonly [id: string, entry: Pending]> {
    return [...this.pending].filter(([id]) => !this.deleted.has(id))
      .sort(([a], [b]) => this.indexOf(a) - this.indexOf(b))
  }

  /** A group has been created at 0. */
  regain(): void {
    this.isLost = false
    this.pending.clear()
    this.passed = 0
    this.last = -1
  }

  indexOf(id: string): number {
    return this.entries.indexOf(id)
  }

  inFlight(process: Process, id: string): Held | undefined {
    return [...process.held].find(({ delivery, state }) =>
      delivery.id === id && (state === "fetched" || state === "running")
    )
  }

  /** What is pending for a process and not in flight in it. */
  own(process: Process, from = 0): ReadonlyArray<string> {
    return this.alive.filter(([id, { owner }]) =>
      owner === process.name && this.indexOf(id) >= from && this.inFlight(process, id) === undefined
    ).map(([id]) => id)
  }

  /** Whether a read would bring this process something new, now or from the beginning. */
  hasNew(process: Process, from = this.passed): boolean {
    return this.released.length > 0 ||
      this.there.some((id) =>
        this.indexOf(id) >= from && !this.bad.has(id) && this.inFlight(process, id)?.state !== "running"
      )
  }

  takeOwn(id: string): void {
    const entry = this.pending.get(id)!
    entry.attempts++
    entry.stale = false
  }

  /** What is nobody's, in the order in which it comes. */
  private get released(): ReadonlyArray<string> {
    return this.alive.filter(([, { owner }]) => owner === nobody)
      .sort(([, a], [, b]) => a.released! - b.released!)
      .map(([id]) => id)
  }

  /** The next batch of entries that brings deliveries: those that were given back, and then new ones. */
  takeNew(process: Process, count: number): ReadonlyArray<string> {
    for (;;) {
      const again = this.released.slice(0, count)
      for (const id of again) {
        const entry = this.pending.get(id)!
        Object.assign(entry, { owner: process.name, attempts: entry.attempts + 1, stale: false })
      }
      const batch: Array<string> = [...again]
      while (this.passed < this.entries.length && batch.length < count) {
        const id = this.entries[this.passed++]!
        if (!this.deleted.has(id)) batch.push(id)
      }
      if (batch.length === 0) {
        return []
      }
      this.last = Math.max(this.last, ...batch.map((id) => this.indexOf(id)))
      const given = batch.filter((id, i) =>
        i < again.length ? this.arrives(process, id, this.pending.get(id)!.attempts) : this.giveNew(process, id)
      )
      if (given.length > 0) {
        return given
      }
    }
  }

  takeNext(process: Process): ReadonlyArray<string> {
    if (process.own !== undefined) {
      const [id] = this.own(process, process.own)
      process.own = id === undefined ? undefined : this.indexOf(id) + 1
      if (id !== undefined) {
        this.takeOwn(id)
        return [id]
      }
    }
    return this.takeNew(process, 1)
  }

  takeStale(process: Process): ReadonlyArray<string> {
    return this.alive.filter(([, { stale }]) => stale).filter(([id, entry]) => {
      Object.assign(entry, { owner: process.name, attempts: entry.attempts + 1, stale: false })
      return this.arrives(process, id, entry.attempts)
    }).map(([id]) => id)
  }

  stillHolds({ delivery, fence, process }: Held): boolean {
    const entry = this.pending.get(delivery.id)
    return (entry?.owner === process.name || entry?.owner === nobody) &&
      (entry.attempts === fence || entry.attempts === fence - 1)
  }

  /**
   * Whether the server has the id for an entry whose count has begun anew: in a group that was created again it looks as if the stream
   * had been made anew, and is not acked by who had it before.
   */
  hasBegunAnew({ delivery, fence, process }: Held): boolean {
    const entry = this.isLost ? undefined : this.pending.get(delivery.id)
    return entry !== undefined &&
      (entry.attempts < fence || entry.owner !== process.name && entry.attempts === fence)
  }

  /** Whether this process has the entry in another delivery. */
  isReplaced(held: Held): boolean {
    const other = this.inFlight(held.process, held.delivery.id)
    return other !== undefined && other !== held
  }

  /** It was asked for again, which made it young and counts. */
  asked(held: Held): void {
    const { delivery, process } = held
    Object.assign(this.pending.get(delivery.id)!, { owner: process.name, attempts: delivery.attempt, stale: false })
    held.fence = held.delivery.attempt
  }

  /** It was not begun, and its delivery does not count. */
  handBack(held: Held): void {
    held.state = "handed"
    if (!this.isLost && this.stillHolds(held)) {
      held.fence = held.delivery.attempt - 1
      const entry = this.pending.get(held.delivery.id)!
      Object.assign(entry, { attempts: held.fence, stale: true })
      if (this.hasRelease) Object.assign(entry, { owner: nobody, released: this.releases++ })
    }
  }

  /** Whether nobody will ask for an entry again: the group has passed it, and it is not pending. */
  isAcked(id: string): boolean {
    return !this.isLost && this.indexOf(id) < this.passed && !this.pending.has(id)
  }

  /** How many entries lie before all that the group still needs; `pending`: what the server has pending, deleted or not. */
  countBelowNeeded(pending: ReadonlyArray<{ readonly id: string }>): number {
    const needed = Math.min(this.last, ...pending.map(({ id }) => this.indexOf(id)))
    return this.isLost ? 0 : this.there.filter((id) => this.indexOf(id) < needed).length
  }

  /** Answers whether it becomes a delivery. */
  private giveNew(process: Process, id: string): boolean {
    if (this.bad.has(id)) {
      this.buried.push(id)
      return false
    }
    this.pending.set(id, { owner: process.name, attempts: 1, stale: false })
    return this.arrives(process, id, 1)
  }

  private arrives(process: Process, id: string, attempts: number): boolean {
    const held = this.inFlight(process, id)
    if (held?.state === "running") {
      held.fence = attempts
      return false
    }
    if (held !== undefined) {
      // Nobody has begun it until it was stale, or the group was lost: the new delivery takes its place.
      process.held.delete(held)
    }
    return true
  }
}
