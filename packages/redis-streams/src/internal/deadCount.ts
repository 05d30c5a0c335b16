/** How many of the entries of a dead-letter stream are a group's: groups of the same name on other streams may share it. */
import * as Effect from "effect/Effect"
import type { ConsumerGroup } from "../ConsumerGroup.js"
import type { Service } from "../Redis.js"
import type { RedisError } from "../RedisError.js"
import * as scripts from "./scripts.js"
import * as upkeep from "./upkeep.js"

/** A count of the whole stream: its last id, how many entries it had, how many of them were the group's, and whether the last one was. */
interface Counted {
  readonly last: string
  readonly all: number
  readonly own: number
  readonly isLast: number
}

/**
 * Counts them, a page at a time. After the first time it counts only what has come since, as long as nothing was removed: then the
 * last entry is still there, and the stream is longer by just what has come.
 */
export const counting = <A>(
  redis: Service,
  { deadLetterStream, group, stream }: ConsumerGroup<A>
): Effect.Effect<number, RedisError> => {
  let known: Counted | undefined
  /** Ends with the last entry, or after as many as there were at its first page, if so many come meanwhile: then it has not seen all. */
  const pages = (
    from: string,
    counted: Counted,
    most = 0
  ): Effect.Effect<Counted & { readonly length: number }, RedisError> =>
    Effect.flatMap(
      redis.script(upkeep.countLetters, [deadLetterStream], [stream, group, from, String(scripts.pageSize)]),
      (reply) => {
        const [next, last, all, own, isLast, length] = reply as [string, string, number, number, number, number]
        const now = all === 0 ? counted : { last, all: counted.all + all, own: counted.own + own, isLast }
        const end = most || length
        return next === "" || now.all >= end ? Effect.succeed({ ...now, length }) : pages(next, now, end)
      }
    )
  const count = Effect.suspend((): Effect.Effect<number, RedisError> => {
    // The last entry is counted once more, to see that it is there.
    const before = known
    return Effect.flatMap(
      before === undefined ? pages("-", none) : pages(before.last, {
        ...none,
        all: before.all - 1,
        own: before.own - before.isLast
      }),
      (counted) => {
        // While pages were counted, entries may have been removed that had been counted before.
        known = counted.all === counted.length && counted.all > 0 ? counted : undefined
        return known === undefined && before !== undefined ? count : Effect.succeed(counted.own)
      }
    )
  })
  return count
}

// internal

const none: Counted = { last: "", all: 0, own: 0, isLast: 0 }
