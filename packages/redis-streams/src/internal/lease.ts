/**
 * What a delivery is inside: the hold on one pending entry.
 *
 * State    | in flight | meaning                                           | next
 * ---------|-----------|---------------------------------------------------|---------------------------------------
 * fetched  | yes       | in a chunk or buffer, its handler not begun       | running, handed back, settled
 * running  | yes       | `use` or the scope of `scoped` is open            | settled, released
 * released | no        | the handler did not succeed: pending at the server | running (begun once more), settled
 * handed   | no        | its stream closed before it was begun: aged       | running, if nobody has taken it
 * settled  | no        | acked, dead-lettered or parked for its retry      | none
 * lost     | no        | somebody else holds it                            | none
 *
 * Release, exit × state:
 *
 * exit of the handler   | running                             | settled (by the handler itself) | lost
 * ----------------------|-------------------------------------|---------------------------------|---------------------
 * success               | ack; a failed ack is the result     | the handler's result            | ack: the work is done
 * failure, defect       | no ack, released                    | the handler's failure           | the handler's failure
 * interruption          | no ack, released                    | interruption                    | `LeaseLost`
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as FiberId from "effect/FiberId"
import type * as MetricLabel from "effect/MetricLabel"
import * as Pipeable from "effect/Pipeable"
import type { Service } from "../Redis.js"
import { LeaseLost, type RedisError } from "../RedisError.js"
import * as Metrics from "../RedisStreamsMetrics.js"
import { type Headers, messageIdHeader } from "../StreamEntry.js"
import * as TraceContext from "../TraceContext.js"
import type { Entries, Held } from "./inFlight.js"
import { renew } from "./renewal.js"
import * as scripts from "./scripts.js"

/** Who holds: one consumer of one group. */
export interface Holder {
  readonly redis: Service
  readonly stream: string
  readonly group: string
  readonly consumer: string
  readonly deadLetterStream: string
  /** Milliseconds. */
  readonly minIdle: number
  readonly inFlight: Entries
  /** The leases that are renewed while their handlers run. */
  readonly running: Set<Lease<unknown>>
  /** Whether somebody is renewing them. */
  renewing: boolean
  readonly labels: ReadonlyArray<MetricLabel.MetricLabel>
}

/** Owner of entries that wait for their retry: nobody who reads "its own" pending entries at start. */
export const parked = "safesync.parked"

type State = "fetched" | "running" | "released" | "handed" | "settled" | "lost"

export class Lease<out A> extends Pipeable.Class() implements Held {
  state: State = "fetched"
  fence: number
  /** Where the handler runs, to interrupt it when the lease is lost. */
  private fiber: Fiber.RuntimeFiber<unknown, unknown> | undefined

  constructor(
    readonly holder: Holder,
    readonly id: string,
    readonly attempt: number,
    readonly value: A,
    readonly headers: Headers,
    /** What the stream must hand back when it closes. */
    private readonly unbegun: Set<Lease<unknown>>,
    /** When the hold was last known to be fresh, by `performance.now()`. */
    private freshAt: number
  ) {
    super()
    this.fence = attempt
    unbegun.add(this)
    holder.inFlight.set(id, this)
  }

  get messageId(): string {
    return this.headers[messageIdHeader] ?? this.id
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

  /** Marks it as running; or answers with what must be asked of the server before `beginNow`. */
  begin(): Effect.Effect<void, RedisError> | undefined {
    if (this.state === "fetched" && performance.now() - this.freshAt < this.holder.minIdle / 3) {
      return this.beginNow()
    }
    if (this.state === "running" || this.state === "settled") {
      return Effect.dieMessage(`The delivery ${this.id} of ${this.stream} is ${this.state} already`)
    }
    return this.state === "lost" || this.isReplaced
      ? this.lose("Delivery.use")
      : Effect.onError(this.hold("Delivery.use", this.holder.consumer, 0), () => this.giveUp)
  }

  beginNow(): undefined {
    const { holder } = this
    if (this.state === "running") {
      throw new Error(`The delivery ${this.id} of ${this.stream} is running already`)
    }
    this.state = "running"
    this.unbegun.delete(this)
    holder.inFlight.set(this.id, this)
    holder.running.add(this)
    if (!holder.renewing) {
      holder.renewing = true
      holder.redis.fork(renew(holder))
    }
  }

  /** The fiber that is interrupted if the lease is lost. */
  runsIn(fiber: Fiber.RuntimeFiber<unknown, unknown>): void {
    this.fiber = fiber
  }

  /** Somebody else holds the entry although its handler runs here. */
  revoke(): void {
    this.leave("lost")
    Metrics.leasesLost.unsafeUpdate(1, this.holder.labels)
    this.fiber?.unsafeInterruptAsFork(FiberId.none)
  }

  private get acked(): Effect.Effect<void, RedisError> {
    return TraceContext.useSpan(
      `ack ${this.stream}`,
      () => ({
        kind: "client",
        attributes: TraceContext.attributes(this.stream, "ack", { group: this.group, messageId: this.id })
      }),
      () => this.holder.redis.acks.ack(this.stream, this.group, this.id)
    )
  }

  /** The table above, for a handler that has ended. */
  end<B, E>(exit: Exit.Exit<B, E>): Effect.Effect<B, E | RedisError> {
    // From here on its absence from the pending list is no sign of a lost lease.
    this.holder.running.delete(this)
    this.fiber = undefined
    if (exit._tag === "Failure") {
      if (this.state === "lost" && Cause.isInterruptedOnly(exit.cause)) {
        return Effect.fail(this.lost("Delivery.use"))
      }
      if (this.state === "running") {
        this.leave("released")
      }
      return exit
    }
    if (this.state === "settled") {
      return exit
    }
    return Effect.matchEffect(this.acked, {
      onFailure: (error) => {
        this.leave("released")
        return Effect.fail(error)
      },
      onSuccess: () => {
        this.leave("settled")
        return exit
      }
    })
  }

  /**
   * After a failure nobody may come back to it. It must not stay in flight then, or this process would never take the
   * entry again. A handler that runs goes on.
   */
  readonly giveUp: Effect.Effect<void> = Effect.sync(() => {
    if (this.state === "fetched") {
      this.leave("released")
    }
  })

  /** Whether this process has been given the entry again, as another delivery. */
  get isReplaced(): boolean {
    const other = this.holder.inFlight.get(this.id)
    return other !== undefined && other !== this
  }

  /** Gives the entry to an owner with an idle time, if it is still held. */
  hold(command: string, owner: string, idle: number): Effect.Effect<void, RedisError> {
    const { consumer, group, redis, stream } = this.holder
    const asked = performance.now()
    return Effect.flatMap(
      redis.script(scripts.hold, [stream], [group, consumer, owner, String(idle), this.id, String(this.fence)]),
      (reply) => {
        const [lost, deleted] = reply as [Array<string>, Array<string>]
        this.freshAt = asked
        if (deleted.length > 0) {
          Metrics.messagesDeleted.unsafeUpdate(1, this.holder.labels)
        }
        return lost.length > 0 || deleted.length > 0 ? this.lose(command) : Effect.void
      }
    )
  }

  lose(command: string): Effect.Effect<never, RedisError> {
    return Effect.suspend(() => {
      this.leave("lost")
      Metrics.leasesLost.unsafeUpdate(1, this.holder.labels)
      return Effect.fail(this.lost(command))
    })
  }

  private lost(command: string): LeaseLost {
    return new LeaseLost({
      command,
      detail: "the delivery is not held here any more",
      stream: this.stream,
      id: this.id
    })
  }

  leave(state: State): void {
    this.state = state
    this.unbegun.delete(this)
    this.holder.running.delete(this)
    if (this.holder.inFlight.get(this.id) === this) {
      this.holder.inFlight.delete(this.id)
    }
  }
}
