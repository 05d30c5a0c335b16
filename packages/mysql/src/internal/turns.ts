/**
 * Statements of several fibers run one after another on the one connection.
 *
 * @internal
 */
import type { SqlError } from "@effect/sql/SqlError"
import type * as Blockers from "./blockers.js"
import type { Cursor } from "./cursor.js"

/** What mysql2 calls back with. */
export type Answer = (error: unknown, results: unknown, fields?: unknown) => void

/** What has a turn. */
export abstract class Job {
  state: "queued" | "running" | "settled" = "queued"
  /** Its fiber has been interrupted: what it has not sent yet is not sent any more. */
  cancelled = false
  /** Where the answer goes that it waits for. */
  awaiting: Answer | undefined = undefined
  /** Asks who holds what it waits for, where the caller wants to know. */
  watch: Blockers.Watch | undefined = undefined
  /** Of a streamed result. */
  cursor: Cursor<Record<string, unknown>, SqlError> | undefined = undefined

  /** Called when its turn comes. */
  abstract start(): void

  /** Gives it an answer, unless it has one. */
  answer(error: unknown, results: unknown, fields?: unknown): void {
    const { awaiting } = this
    this.awaiting = undefined
    awaiting?.call(this, error, results, fields)
  }
}

export class Turns {
  active: Job | undefined = undefined
  private readonly queue: Array<Job> = []
  private advancing = false

  /** At the end of the queue. */
  take(job: Job): void {
    if (this.active === undefined && !this.advancing) {
      this.begin(job)
    } else {
      this.queue.push(job)
      // A stream at its consumer's pace is not waited for.
      this.active?.cursor?.readRest()
    }
  }

  /** At its head: next after what runs. */
  takeNext(job: Job): void {
    this.queue.unshift(job)
  }

  /** Leaves the queue without a turn. */
  leave(job: Job): void {
    const at = this.queue.indexOf(job)
    if (at >= 0) this.queue.splice(at, 1)
  }

  /** Ends a job, and with it its turn. A loop, since the next may settle at once, and thousands after it. */
  settle(job: Job): void {
    job.state = "settled"
    job.watch?.stop()
    if (this.active !== job) return
    this.active = undefined
    if (this.advancing) return
    this.advancing = true
    try {
      while (this.active === undefined && this.queue.length > 0) this.begin(this.queue.shift()!)
    } finally {
      this.advancing = false
    }
  }

  private begin(job: Job): void {
    this.active = job
    job.state = "running"
    job.start()
  }
}
