/**
 * What a worker is doing, written by its loops and read by `Worker.status`.
 *
 * @internal
 */
import type { Delivery } from "@safesync/redis-streams/Delivery"
import type * as Cause from "effect/Cause"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Option from "effect/Option"
import type { Status } from "../WorkerStatus.js"

export class State {
  phase: Status["state"] = "running"
  /** What is being handled, and whether its transaction has committed. */
  readonly running = new Map<Delivery<unknown>, boolean>()
  /** Milliseconds since the epoch; 0: never. */
  private lastSuccess = 0
  private lastFailure: Status["lastFailure"] = Option.none()

  begin(delivery: Delivery<unknown>): void {
    this.running.set(delivery, false)
  }

  committed(delivery: Delivery<unknown>): void {
    this.running.set(delivery, true)
  }

  isCommitted(delivery: Delivery<unknown>): boolean {
    return this.running.get(delivery) === true
  }

  succeeded(delivery: Delivery<unknown>): void {
    this.running.delete(delivery)
    this.lastSuccess = Date.now()
  }

  failed(cause: Cause.Cause<unknown>): void {
    this.lastFailure = Option.some({ at: DateTime.unsafeMake(Date.now()), cause })
  }

  status(waiting: number): Status {
    let oldest = Infinity
    for (const { id } of this.running.keys()) oldest = Math.min(oldest, Number.parseInt(id))
    return {
      state: this.phase,
      inFlight: this.running.size,
      waiting,
      lastSuccess: this.lastSuccess === 0 ? Option.none() : Option.some(DateTime.unsafeMake(this.lastSuccess)),
      lastFailure: this.lastFailure,
      lag: oldest === Infinity ? Option.none() : Option.some(Duration.millis(Math.max(0, Date.now() - oldest)))
    }
  }
}
