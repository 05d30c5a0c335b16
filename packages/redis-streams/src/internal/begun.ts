/**
 * The marks of suspects. A delivery that comes with a count of 3 or more is a suspect: its message may be what has ended the processes
 * that had it before. Counts alone convict no message, since all that were fetched with it have the same one, and claims of other
 * clients and lost leases raise it. So a suspect is begun after a mark was written beside its stream, by a caller that sees to it that
 * nothing else runs in its process; a mark that outlives its handler tells that the process has died of it.
 *
 * The state is a set at the server, one for each entry and group, of the nonces of the handlers that have begun and not ended. It
 * belongs to this module alone. Nonces are taken out in any order, so a handler that has lost its lease and ends late is no death.
 *
 * what happens                                        | the entry's set                        | the handler
 * ----------------------------------------------------|----------------------------------------|---------------------------------
 * it is begun, and fewer than `maxDeaths` are there   | its nonce is added, the expiry renewed | runs
 * it is begun, and as many or more are there          | stays                                  | does not run: `ProcessDied`
 * Redis cannot be asked, or the wait is interrupted   | its nonce is taken out, if it is there | does not run: that failure
 * Redis refuses to write it (its memory, an ACL)      | stays                                  | runs without a mark, which is logged
 * success, failure, defect, interruption, lost lease  | its nonce is taken out                 | is over
 * its process dies                                    | its nonce stays: a death               |
 * the entry is acked or dead-lettered                 | is deleted                             |
 *
 * To take a nonce out is not waited for, and is tried again until Redis is back: the answer changes nothing for who has ended.
 */
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import { randomUUID } from "node:crypto"
import { isTransient, type RedisError } from "../RedisError.js"
import type { Lease } from "./lease.js"
import { type Script, script } from "./scripts.js"
import { beside } from "./slot.js"

/** The message is not begun: so many processes have died of it while they did nothing else. */
export class ProcessDied extends Data.TaggedError("ProcessDied")<{ readonly times: number }> {}

/** Whether the mark must be written before it is begun. */
export const isSuspect = ({ count }: Lease<unknown>): boolean => count >= 3

export class Mark {
  private readonly key: string
  private nonce: string | undefined
  private deaths = 0

  constructor(private readonly lease: Lease<unknown>) {
    const { group, id, stream } = lease
    this.key = beside(stream, `begun:${id}:${stream}/${group}`)
  }

  /** To be followed by `ended`, whatever becomes of it. */
  begin(maxDeaths: number): Effect.Effect<void, RedisError | ProcessDied> {
    return Effect.suspend(() => {
      const nonce = randomUUID()
      this.nonce = nonce
      const { redis } = this.lease.holder
      const args = [nonce, String(maxDeaths), String(kept), ...(owed.get(this.key) ?? [])]
      return Effect.matchEffect(redis.script(begin, [this.key], args), {
        onSuccess: (reply) => {
          this.deaths = Number(reply)
          if (this.deaths < maxDeaths) return Effect.void
          this.nonce = undefined
          return Effect.fail(new ProcessDied({ times: this.deaths }))
        },
        onFailure: (error) => {
          if (isTransient(error) && error._tag !== "OutOfMemory") return Effect.fail(error)
          this.nonce = undefined
          return this.unmarked(error)
        }
      })
    })
  }

  /** Its handler has ended, or was not begun after all. */
  ended(): void {
    const { nonce } = this
    if (nonce === undefined) return
    this.nonce = undefined
    const { key } = this
    owe(key, nonce)
    this.send(Effect.ensuring(this.untilDone("SREM", key, nonce), Effect.sync(() => paid(key, nonce))))
  }

  /** The entry is no longer pending: no death is remembered of it. */
  settled(): void {
    if (this.deaths > 0) this.send(this.untilDone("DEL", this.key))
  }

  private untilDone(...command: readonly [string, ...Array<string>]): Effect.Effect<void> {
    return Effect.ignore(
      Effect.retry(this.lease.holder.redis.command(...command), {
        schedule: Schedule.spaced(untilRedisIsBack),
        while: isTransient
      })
    )
  }

  private send(effect: Effect.Effect<void>): void {
    this.lease.holder.redis.fork(effect)
  }

  /** It is no fault of the message, which would never be handled otherwise. */
  private unmarked({ _tag }: RedisError): Effect.Effect<void> {
    const { consumer, inFlight, stream } = this.lease.holder
    if (inFlight.unmarked) return Effect.void
    inFlight.unmarked = true
    return Effect.logWarning(
      `Redis refuses the marks of ${consumer} beside ${stream} (${_tag}): a message that ends its process is not told from others`
    )
  }
}

// internal

const untilRedisIsBack = Duration.millis(500)

/** Milliseconds for which deaths are remembered after the last attempt: a week. */
const kept = 604_800_000

/** Nonces that could not be taken out yet, by key: what this process knows to have ended is no death. */
const owed = new Map<string, Set<string>>()

const owe = (key: string, nonce: string): void => {
  const nonces = owed.get(key)
  if (nonces === undefined) owed.set(key, new Set([nonce]))
  else nonces.add(nonce)
}

const paid = (key: string, nonce: string): void => {
  const nonces = owed.get(key)
  if (nonces?.delete(nonce) === true && nonces.size === 0) owed.delete(key)
}

/**
 * KEYS the entry's set; ARGV nonce, greatest number of deaths, milliseconds to keep it, then nonces that are known to have ended.
 * Answers how many have not ended, this one not included; it is there now if these are fewer than the greatest number.
 */
export const begin: Script = script(
  "begin",
  `
for i = 4, #ARGV do redis.call('SREM', KEYS[1], ARGV[i]) end
local deaths = redis.call('SCARD', KEYS[1])
if deaths < tonumber(ARGV[2]) then
  redis.call('SADD', KEYS[1], ARGV[1])
  redis.call('PEXPIRE', KEYS[1], ARGV[3])
end
return deaths`
)
