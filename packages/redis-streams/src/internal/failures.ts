/**
 * How often the handlers of a message have failed, beside its stream: what a retry's schedule is counted by. The server's delivery count
 * is no such number: it grows with each outage, each process that ends and each claim of another client.
 *
 * what happens                              | the entry's count
 * ------------------------------------------|------------------------------------------------------------
 * its handler fails, and it is to be retried | + 1, the expiry renewed
 * it fails by an outage                     | stays
 * it is acked or dead-lettered here         | is deleted
 * somebody else acks it                     | expires a week after the last failure
 *
 * It belongs to this module alone. What is not there counts as none.
 */
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import { isTransient, type RedisError } from "../RedisError.js"
import type { Lease } from "./lease.js"
import { type Script, script } from "./scripts.js"
import { beside } from "./slot.js"

export class Failures {
  /** As far as this process knows. */
  known = 0

  constructor(private readonly lease: Lease<unknown>) {}

  /** One more. Answers how many there are now. */
  readonly add: Effect.Effect<number, RedisError> = Effect.suspend(() =>
    Effect.map(this.lease.holder.redis.script(count, [this.key], [String(kept)]), (reply) => this.known = Number(reply))
  )

  /** The entry is no longer pending. To delete it is not waited for. */
  settled(): void {
    // Another process may have counted what was delivered before.
    if (this.known === 0 && this.lease.count === 1) return
    const { redis } = this.lease.holder
    redis.fork(Effect.ignore(Effect.retry(redis.command("DEL", this.key), {
      schedule: Schedule.spaced("500 millis"),
      while: isTransient
    })))
  }

  /** An id may be another entry's in a stream that was made anew. */
  private get key(): string {
    const { group, id, stream, streamBorn } = this.lease
    return beside(stream, `failed:${id}:${streamBorn ?? ""}:${stream}/${group}`)
  }
}

/** KEYS the entry's count; ARGV milliseconds to keep it. Answers the count. */
export const count: Script = script(
  "countFailure",
  `
local count = (tonumber(redis.call('GET', KEYS[1])) or 0) + 1
redis.call('SET', KEYS[1], count, 'PX', ARGV[1])
return count`
)

// internal

/** Milliseconds: a week. */
const kept = 604_800_000
