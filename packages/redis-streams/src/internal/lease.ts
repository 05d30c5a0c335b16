/**
 * What a delivery is inside: the hold on one pending entry.
 *
 * State    | in flight | meaning                                           | next
 * ---------|-----------|---------------------------------------------------|---------------------------------------
 * fetched  | yes       | in a chunk or buffer, its handler not begun       | asked, running, handed, settled, released
 * asked    | if before | the server is asked whether it is still held      | running, or what it was before, lost
 * running  | yes       | `use` or the scope of `scoped` is open            | ended, settled, lost
 * ended    | yes       | its ack is on its way, or the entry is deleted    | settled, released
 * released | no        | pending at the server, and anybody's to reclaim   | asked, settled
 * handed   | no        | its stream closed before it was begun: given back | asked, if nobody has taken it
 * settled  | no        | acked, dead-lettered or parked for its retry      | none
 * lost     | no        | somebody else holds it                            | none
 *
 * A delivery that nobody has begun within `minIdle` is released: it may have been dropped, and waits for nobody then. As
 * long as it is not begun, its delivery does not count: the count is given back (`RETRYCOUNT`) when a third of `minIdle`
 * is over or it is handed back, and taken again when it is begun.
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import * as FiberId from "effect/FiberId"
import type * as MetricLabel from "effect/MetricLabel"
import * as Pipeable from "effect/Pipeable"
import type { Service } from "../Redis.js"
import { LeaseLost, type RedisError } from "../RedisError.js"
import * as Metrics from "../RedisStreamsMetrics.js"
import { type Fields, type Headers, messageBornHeader, messageIdHeader } from "../StreamEntry.js"
import type { Arrival } from "./arrival.js"
import type { Mark } from "./begun.js"
import * as born from "./born.js"
import { Failures } from "./failures.js"
import type { Entries } from "./inFlight.js"
import { renew } from "./renewal.js"
import * as scripts from "./scripts.js"

/** Who holds: one stream of deliveries of one consumer. */
export interface Holder {
  readonly redis: Service
  readonly stream: string
  readonly group: string
  readonly consumer: string
  readonly deadLetterStream: string
  /** Milliseconds. */
  readonly minIdle: number
  /** Whether the group is created again when it is lost, and its pending list with it. */
  readonly recreated: boolean
  readonly inFlight: Entries
  /** Whether the stream is closed: what was not begun is handed back. */
  closed: boolean
  readonly labels: ReadonlyArray<MetricLabel.MetricLabel>
}

/** Owner of entries that wait for their retry: nobody who reads "its own" pending entries at start. */
export const parked = "safesync.parked"

/** Makes what it is given as interruptible as it was before a mask. */
export type Restore = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>

type State = "fetched" | "asked" | "running" | "ended" | "released" | "handed" | "settled" | "lost"

export class Lease<out A> extends Pipeable.Class() {
  state: State = "fetched"
  /** The delivery count that proves at the server that the entry is still held under this delivery. */
  fence: number
  /** Grows when the worker tries again without another delivery. */
  readonly attempt: number
  /** Whether the id is another entry's by now. */
  isReused = false
  /** Of a suspect. */
  mark: Mark | undefined
  readonly failures: Failures = new Failures(this)
  /** Where the handler runs, to interrupt it when the lease is lost. */
  private fiber: Fiber.RuntimeFiber<unknown, unknown> | undefined

  constructor(
    readonly holder: Holder,
    readonly id: string,
    /** The delivery count that the handler's try stands for. */
    readonly count: number,
    readonly value: A,
    readonly headers: Headers,
    /** When the hold was last known to be fresh, by `performance.now()`. */
    private freshAt: number,
    /** The identity of its stream, if that has one. */
    readonly streamBorn: string | undefined,
    /** As they came; none when it is over. */
    private fields: Fields | undefined
  ) {
    super()
    this.fence = count
    this.attempt = count
    const { inFlight } = holder
    inFlight.set(id, this)
    if (!inFlight.renewing) {
      inFlight.renewing = true
      holder.redis.fork(renew(holder))
    }
  }

  /** It is no longer pending: neither deaths nor failures are remembered of it. */
  forget(): void {
    this.mark?.settled()
    this.failures.settled()
  }

  get messageId(): string {
    // An empty one would make all that have it the same message.
    return this.headers[messageIdHeader] || this.id
  }

  get born(): string | undefined {
    return this.headers[messageIdHeader]
      ? this.headers[messageBornHeader] || undefined
      : born.ofEntry(this.id, this.streamBorn)
  }

  get stream(): string {
    return this.holder.stream
  }

  get group(): string {
    return this.holder.group
  }

  get consumer(): string {
    return this.holder.consumer
  }

  /** Whether what has come under this id is this entry. One whose stream was made anew may be another. */
  is({ fields, isText }: Arrival): boolean {
    const mine = this.fields
    return isText && mine?.length === fields.length && mine.every((field, i) => field === fields[i])
  }

  /** The server has counted a delivery of what is held here already, unless that was before it was given to this one. */
  countedAgain(count: number, freshAt: number): void {
    if (freshAt >= this.freshAt) this.fence = count
  }

  /** How long ago the hold was last known to be fresh, in milliseconds. */
  get age(): number {
    return performance.now() - this.freshAt
  }

  /**
   * Marks it as running; or answers with what must be asked of the server before that. To be run uninterruptibly, but for what
   * `restore` is given: nobody would end what was interrupted between a state and what is done about it.
   */
  begin(restore: Restore): Effect.Effect<void, RedisError> | undefined {
    if (this.state === "fetched" && this.age < this.holder.minIdle / 3 && !this.isReplaced) {
      this.state = "running"
      return undefined
    }
    return Effect.suspend(() => {
      switch (this.state) {
        case "fetched":
        case "released":
        case "handed":
          return this.isReplaced ? this.lose("Delivery.use") : this.ask("Delivery.use", restore)
        case "lost":
          return this.lose("Delivery.use")
        default:
          return Effect.dieMessage(`The delivery ${this.id} of ${this.stream} is ${this.state} already`)
      }
    })
  }

  /** A closing stream does not hand back what is being asked for. */
  private ask(command: string, restore: Restore): Effect.Effect<void, RedisError> {
    const before = this.state
    this.state = "asked"
    const asked = Effect.onExit(
      restore(this.hold(command, this.holder.consumer, "0", this.count)),
      (exit) =>
        Effect.sync(() => {
          if (exit._tag === "Success") {
            if (this.isReused) return
            this.state = "running"
            this.holder.inFlight.set(this.id, this)
          } else if (this.state === "asked") {
            if (before === "fetched" && !this.holder.closed && Cause.isInterruptedOnly(exit.cause)) {
              this.state = before
            } else {
              // Nobody may come back to it. In flight, this process would never be given the entry again.
              this.leave("released")
            }
          }
        })
    )
    return Effect.flatMap(asked, () => this.isReused ? Effect.fail(this.lost(command)) : Effect.void)
  }

  /** The fiber that is interrupted if the lease is lost. */
  runsIn(fiber: Fiber.RuntimeFiber<unknown, unknown>): void {
    this.fiber = fiber
  }

  /** Somebody else holds the entry although its handler runs here. */
  revoke(): void {
    const { fiber } = this
    this.leave("lost")
    Metrics.leasesLost.unsafeUpdate(1, this.holder.labels)
    fiber?.unsafeInterruptAsFork(FiberId.none)
  }

  /** Another entry has come under its id, to this process or to somebody else. */
  reused(): void {
    this.isReused = true
    this.revoke()
  }

  /** The same, when its ack was refused. */
  loseReused(): LeaseLost {
    if (this.state !== "lost") Metrics.leasesLost.unsafeUpdate(1, this.holder.labels)
    this.leave("lost")
    return this.lost("Delivery.use")
  }

  /** A settlement that failed. In flight, this process would never be given the entry again. A handler that runs goes on. */
  giveUp(): Effect.Effect<void> {
    if (this.state === "fetched") {
      this.leave("released")
    }
    return Effect.void
  }

  /** Whether this process has been given the entry again, as another delivery. */
  get isReplaced(): boolean {
    const other = this.holder.inFlight.get(this.id)
    return other !== undefined && other !== this
  }

  /** Gives the entry to an owner, with an idle time and a delivery count, if it is still held. */
  hold(command: string, owner: string, idle: string, count: number): Effect.Effect<void, RedisError> {
    return Effect.suspend(() => {
      const { consumer, group, labels, redis, stream } = this.holder
      const asked = performance.now()
      const fence = this.fence
      const args = [group, consumer, owner, idle, this.id, String(fence), String(count)]
      const asking = Effect.onError(redis.script(scripts.hold, [stream], args), () =>
        Effect.sync(() => {
          // Nobody knows whether it has the new count. Under the higher one it is held either way.
          this.fence = Math.max(this.fence, count)
        }))
      return Effect.flatMap(asking, (reply) => {
        const [taken, gone, deleted] = reply as scripts.NotHeld
        if (taken.length > 0 && this.fence !== fence) {
          // It was this process that has claimed it in the meantime.
          return this.hold(command, owner, idle, count)
        }
        if (deleted.length > 0) {
          Metrics.messagesDeleted.unsafeUpdate(1, labels)
        }
        if (taken.length > 0 || gone.length > 0 || deleted.length > 0) {
          return this.lose(command)
        }
        this.freshAt = asked
        this.fence = count
        return Effect.void
      })
    })
  }

  lose(command: string): Effect.Effect<never, RedisError> {
    return Effect.suspend(() => {
      this.leave("lost")
      Metrics.leasesLost.unsafeUpdate(1, this.holder.labels)
      return Effect.fail(this.lost(command))
    })
  }

  lost(command: string): LeaseLost {
    return new LeaseLost({
      command,
      detail: "the delivery is not held here any more",
      stream: this.stream,
      id: this.id
    })
  }

  leave(state: State): void {
    this.state = state
    this.fiber = undefined
    if (state === "settled" || state === "lost") this.fields = undefined
    if (!this.isReplaced) {
      this.holder.inFlight.delete(this.id)
    }
  }
}
