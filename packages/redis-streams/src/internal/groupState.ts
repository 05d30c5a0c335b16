/** Making a group, and what the server knows about it, told without changing anything, at a cost that grows with nothing. */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { Service } from "../Redis.js"
import type { RedisError } from "../RedisError.js"

export interface GroupState {
  /** Entries not yet delivered; none where the server cannot tell (before 7.0, or after deletions) and there may be some. */
  readonly lag: Option.Option<number>
  /** Entries ever delivered; none where the server does not count them. */
  readonly entriesRead: Option.Option<number>
  /** Entries delivered and not acked. */
  readonly pending: number
  /** The pending entry with the lowest id; `idleMillis` since it was last delivered or renewed, 0 if it is nobody's (XNACK). */
  readonly oldest: Option.Option<{ readonly id: string; readonly idleMillis: number }>
}

export const ask = (
  redis: Service,
  { group, stream }: { readonly group: string; readonly stream: string }
): Effect.Effect<GroupState, RedisError> =>
  Effect.flatMap(
    Effect.all([
      redis.command("XINFO", "GROUPS", stream),
      redis.command("XPENDING", stream, group, "-", "+", "1")
    ], { concurrency: "unbounded" }),
    ([groups, pending]) => {
      const known = records(groups).find(({ name }) => name === group)
      const first = (pending as ReadonlyArray<readonly [string, string, number, number]>)[0]
      const lag = typeof known?.lag === "number"
        ? Effect.succeedSome(known.lag)
        : lagOfNone(redis, stream, String(known?.["last-delivered-id"]))
      return Effect.map(lag, (lag): GroupState => ({
        lag,
        entriesRead: typeof known?.["entries-read"] === "number" ? Option.some(known["entries-read"]) : Option.none(),
        pending: Number(known?.pending ?? 0),
        oldest: first === undefined ? Option.none() : Option.some({ id: first[0], idleMillis: Math.max(first[2], 0) })
      }))
    }
  )

/**
 * Creates the group, and its stream if that does not exist; `false` if it is there already. A server that takes no writes from this
 * user now, such as one whose memory is full, says that before it looks, so it is asked: those that read must be able to begin.
 */
export const create = (
  redis: Service,
  { group, stream }: { readonly group: string; readonly stream: string },
  from: string
): Effect.Effect<boolean, RedisError> =>
  redis.command("XGROUP", "CREATE", stream, group, from, "MKSTREAM").pipe(
    Effect.as(true),
    Effect.catchAll((error) =>
      Effect.matchEffect(error._tag === "BusyGroup" ? Effect.succeed(true) : exists(redis, stream, group), {
        onFailure: () => Effect.fail(error),
        onSuccess: (is) => is ? Effect.succeed(false) : Effect.fail(error)
      })
    )
  )

/** Replies that are flat lists of names and values, the RESP2 form of maps. */
export const records = (reply: unknown): ReadonlyArray<Readonly<Record<string, unknown>>> =>
  (reply as ReadonlyArray<ReadonlyArray<unknown>>).map((flat) => {
    const record: Record<string, unknown> = {}
    for (let i = 0; i + 1 < flat.length; i += 2) {
      record[String(flat[i])] = flat[i + 1]
    }
    return record
  })

// internal

const exists = (redis: Service, stream: string, group: string): Effect.Effect<boolean, RedisError> =>
  Effect.map(redis.command("XINFO", "GROUPS", stream), (groups) => records(groups).some(({ name }) => name === group))

/** A server that does not count can still tell that nothing follows the last entry that was delivered. */
const lagOfNone = (
  redis: Service,
  stream: string,
  lastDelivered: string
): Effect.Effect<Option.Option<number>, RedisError> =>
  Effect.map(
    redis.command("XRANGE", stream, lastDelivered, "+", "COUNT", "2"),
    (entries) =>
      (entries as ReadonlyArray<readonly [id: string, fields: unknown]>).every(([id]) => id === lastDelivered)
        ? Option.some(0)
        : Option.none()
  )
