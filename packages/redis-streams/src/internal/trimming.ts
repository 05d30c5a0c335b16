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

/** The entry is there, so a failure here is no failure of sending it. The next `send` tries again. */
export const trimAfterwards = (redis: Service, stream: string, { byScript }: Trimming): Effect.Effect<void> =>
  byScript === undefined ? Effect.void : Effect.catchAll(
    Effect.asVoid(redis.script(upkeep.trimKept, [stream], byScript)),
    (error) => Effect.logWarning(`The stream ${stream} was not trimmed: ${error._tag}`)
  )

/** Adds an entry, and answers its id. Of large ones no script drops many, so there is a second one, or no stream would get shorter. */
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
      return more === 0 ? Effect.succeed(id) : Effect.as(trimAfterwards(redis, stream, trim), id)
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
