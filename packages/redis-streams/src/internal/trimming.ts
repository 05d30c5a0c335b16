/** How a stream is kept short while it is written to: by the server itself where it can do what is asked for, else by a script. */
import * as Effect from "effect/Effect"
import type { Service } from "../Redis.js"
import type { RedisError } from "../RedisError.js"
import type { Trim } from "../StreamProducer.js"
import type { Capabilities } from "./capabilities.js"
import { toMillis } from "./duration.js"
import * as scripts from "./scripts.js"
import * as upkeep from "./upkeep.js"

export interface Trimming {
  /** What XADD is told, before the entry's id. */
  readonly options: ReadonlyArray<string>
  /** What the scripts of `upkeep` are told that trim in the server's place. */
  readonly byScript: ReadonlyArray<string> | undefined
}

export const trimming = (redis: Service, trim: Trim | undefined): Effect.Effect<Trimming, RedisError> =>
  trim === undefined
    ? untrimmed
    : trim.unacked === "drop"
    ? Effect.sync(() => ({ options: limit(trim), byScript: undefined }))
    : Effect.map(redis.capabilities, (able) => keeping(trim, able))

/**
 * The entries are there, so a failure here is no failure of sending them. The next `send` tries again. Of large entries no script drops
 * many, so there are as many scripts as were `sent` and one more, or no stream would get shorter.
 */
export const trimAfterwards = (redis: Service, stream: string, trim: Trimming, sent: number): Effect.Effect<void> => {
  const { byScript } = trim
  return byScript === undefined || sent < 0 ? Effect.void : Effect.matchEffect(
    redis.script(upkeep.trimKept, [stream], byScript),
    {
      onFailure: (error) => Effect.logWarning(`The stream ${stream} was not trimmed: ${error._tag}`),
      onSuccess: (more) => more === 0 ? Effect.void : trimAfterwards(redis, stream, trim, sent - 1)
    }
  )
}

/** Adds an entry, and answers its id. */
export const addTrimmed = (
  redis: Service,
  stream: string,
  trim: Trimming,
  fields: ReadonlyArray<string>
): Effect.Effect<string, RedisError> =>
  trim.byScript === undefined
    ? redis.command("XADD", stream, ...trim.options, "*", ...fields) as Effect.Effect<string, RedisError>
    : Effect.flatMap(redis.script(upkeep.addKept, [stream], [...trim.byScript, ...fields]), (reply) => {
      const [id, more] = reply as [string, number]
      return more === 0 ? Effect.succeed(id) : Effect.as(trimAfterwards(redis, stream, trim, 0), id)
    })

/** Drops what every group has acked when it begins, step by step, and answers how many. */
export const trimAcknowledged = (redis: Service, stream: string): Effect.Effect<number, RedisError> =>
  Effect.gen(function*() {
    const page = (yield* redis.capabilities).has("trim-min-id") ? ["MINID", "10000"] : ["", String(scripts.pageSize)]
    let removed = 0
    let bound = ""
    let step: number
    do {
      ;[step, bound] = (yield* redis.script(upkeep.trimAcked, [stream], [...page, bound])) as [number, string]
      removed += step
    } while (step > 0)
    return removed
  })

// internal

const untrimmed = Effect.succeed<Trimming>({ options: [], byScript: undefined })

const keeping = (trim: Trim, able: Capabilities): Trimming => {
  const [strategy, operator, threshold] = limit(trim)
  return able.has("trim-acked")
    ? { options: ["ACKED", strategy, operator, threshold], byScript: undefined }
    : { options: [], byScript: [strategy, threshold, operator] }
}

const limit = (trim: Trim): readonly [strategy: string, operator: string, threshold: string] => {
  const operator = trim.exact === true ? "=" : "~"
  return "maxLength" in trim
    ? ["MAXLEN", operator, String(trim.maxLength)]
    : ["MINID", operator, String(Math.max(0, Date.now() - toMillis(trim.maxAge)))]
}
