/**
 * A failure that comes again and again for as long as a server is away is told when it begins and when it is over, with how often it came.
 *
 * @internal
 */
import { loggable } from "@safesync/redis-streams/RedisError"
import { errorType } from "@safesync/redis-streams/TraceContext"
import type * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"

export class Outage {
  private failures = 0
  private since = 0
  private begunAt = 0
  private error = ""

  constructor(private readonly words: { readonly begins: string; readonly ends: string }) {}

  /** Whether the last attempt has failed. */
  get isOn(): boolean {
    return this.failures > 0
  }

  /** Since when it lasts, in milliseconds since the epoch, and what the last attempt failed with; nothing when it is over. */
  get current(): { readonly since: number; readonly error: string } | undefined {
    return this.isOn ? { since: this.begunAt, error: this.error } : undefined
  }

  failed(cause: Cause.Cause<unknown>): Effect.Effect<void> {
    return Effect.suspend(() => {
      this.error = errorType(cause)
      if (this.failures++ > 0) return Effect.void
      this.since = performance.now()
      this.begunAt = Date.now()
      return Effect.logWarning(this.words.begins, loggable(cause))
    })
  }

  succeeded(): Effect.Effect<void> {
    return Effect.suspend(() => {
      const { failures } = this
      if (failures === 0) return Effect.void
      this.failures = 0
      const took = Duration.format(Duration.millis(Math.round(performance.now() - this.since)))
      return Effect.logInfo(
        `${this.words.ends}, after ${failures} ${failures === 1 ? "failure" : "failures"} in ${took}`
      )
    })
  }
}
