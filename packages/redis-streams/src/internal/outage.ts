/**
 * Keeps the log of an outage short: one line when it begins and one when it is over, with how long it was and how often something has
 * failed. Failures that follow one another within the quiet time are one outage, as when connections are cut again and again.
 *
 * state | a failure             | a success             | the quiet time is over | its owner ends
 * ------|-----------------------|-----------------------|------------------------|---------------------------
 * well  | is told: down         |                       |                        |
 * down  | is counted            | the quiet time: quiet |                        | the counts are told
 * quiet | is counted: down      |                       | the counts are told: well | the counts are told
 */
import * as Effect from "effect/Effect"
import * as Runtime from "effect/Runtime"
import type * as Scope from "effect/Scope"
import * as duration from "./duration.js"

export class Outage {
  private since: number | undefined
  private until = 0
  private failures = 0
  private timer: ReturnType<typeof setTimeout> | undefined

  constructor(
    /** Runs what logs, in the background. */
    private readonly run: (log: Effect.Effect<void>) => unknown,
    private readonly begins: string,
    private readonly ends: string
  ) {}

  /** `why`: what tells failures apart, without the values of any message. `begins`: where this one has other words. */
  failed(why: Readonly<Record<string, unknown>>, begins: string = this.begins): void {
    clearTimeout(this.timer)
    this.timer = undefined
    this.failures++
    if (this.since !== undefined) return
    this.since = performance.now()
    this.run(Effect.annotateLogs(Effect.logWarning(begins), why))
  }

  succeeded(): void {
    if (this.since === undefined || this.timer !== undefined) return
    this.until = performance.now()
    this.timer = duration.later(() => this.tell(Effect.logInfo(this.ends)), quiet)
    this.timer.unref()
  }

  /** It is watched no longer. */
  end(): void {
    if (this.since === undefined) return
    if (this.timer !== undefined) return this.tell(Effect.logInfo(this.ends))
    this.until = performance.now()
    this.tell(Effect.logWarning(`${this.begins}; it is not over`))
  }

  private tell(log: Effect.Effect<void>): void {
    clearTimeout(this.timer)
    this.timer = undefined
    const seconds = ((this.until - this.since!) / 1000).toFixed(1)
    this.run(Effect.annotateLogs(log, { seconds, failures: this.failures }))
    this.since = undefined
    this.failures = 0
  }
}

/** Its log lines have the annotations of the fiber that makes it. */
export const make = (begins: string, ends: string): Effect.Effect<Outage, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.map(Effect.runtime<never>(), (runtime) => new Outage(Runtime.runFork(runtime), begins, ends)),
    (outage) => Effect.sync(() => outage.end())
  )

// internal

/** Milliseconds without a failure after which it is over. */
const quiet = 5_000
