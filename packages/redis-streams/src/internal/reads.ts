/** The two reads of a consumer: what is pending for it; and what is new, after what was handed back where the server tells. */
import * as Effect from "effect/Effect"
import type { RedisError } from "../RedisError.js"
import * as Metrics from "../RedisStreamsMetrics.js"
import * as TraceContext from "../TraceContext.js"
import type { Blocking } from "./blocking.js"
import * as born from "./born.js"
import type { Capabilities } from "./capabilities.js"
import { after } from "./entryId.js"
import type { Fetched } from "./fetched.js"
import { claimOption } from "./handBack.js"
import * as scripts from "./scripts.js"

/**
 * The next `count` entries that are pending for this consumer and not in flight in this process. Answers where to go on;
 * nothing when the end has been seen.
 */
export const readOwn = <A>(
  fetched: Fetched<A>,
  from: string,
  count: number
): Effect.Effect<string | undefined, RedisError> =>
  Effect.suspend(() => {
    const { consumer, group, inFlight, redis, stream } = fetched.holder
    const sent = performance.now()
    const args = [group, consumer, from, String(count), ...inFlight.keys()]
    return fetched.finishing(Effect.flatMap(redis.take(scripts.takeOwn, born.keysOf(stream), args), (reply) => {
      const page = reply as scripts.Page
      const next = page[0].length === 0 ? undefined : after(page[0].toString())
      return Effect.as(fetched.arrivePage(page, sent), next)
    }))
  })

/**
 * Up to `count` new entries, waiting for the first of them for up to `block` milliseconds. `alive`: when this process was
 * last known to be awake, by `performance.now()`: what a reply brings was not delivered earlier.
 */
export const readNew = <A>(
  fetched: Fetched<A>,
  blocking: Blocking,
  count: number,
  block: number,
  alive: () => number
): Effect.Effect<void, RedisError> =>
  Effect.flatMap(Effect.zipRight(looked(fetched, count), fetched.holder.redis.capabilities), (able) => {
    const sent = performance.now()
    const arrive = (reply: unknown, bornReply: unknown) => fetched.arriveNew(reply, bornReply, Math.max(sent, alive()))
    const args = readArgs(fetched, able, count, "BLOCK", String(block))
    const key = born.keyOf(fetched.holder.stream)
    return measured(fetched, blocking.read("XREADGROUP", args, block, arrive, key), sent)
  })

/**
 * The same without waiting, and so on the connection that all share. Not a script: before 6.0 none may read. Answers whether the
 * server had something; what runs in this process already arrives in a group that was created again, and is no delivery.
 */
export const readNewNow = <A>(fetched: Fetched<A>, count: number): Effect.Effect<boolean, RedisError> =>
  Effect.flatMap(fetched.holder.redis.capabilities, (able) => {
    const sent = performance.now()
    const { redis, stream } = fetched.holder
    const key = born.keyOf(stream)
    const read = redis.read([
      ["XREADGROUP", ...readArgs(fetched, able, count)],
      ...(key === undefined ? [] : [["GET", key] as const])
    ])
    const arriving = Effect.map(read, (replies) => {
      const [reply, bornReply] = replies as ReadonlyArray<unknown>
      return fetched.arriveNew(reply, bornReply, sent)
    })
    return measured(fetched, fetched.finishing(arriving), sent)
  })

// internal

/** Before its first read, which may bring many, it looks how large they are; where it may not, the first read is for one. */
const looked = <A>(fetched: Fetched<A>, count: number): Effect.Effect<void> => {
  const { group, redis, stream } = fetched.holder
  return fetched.fitting !== undefined || count === 1 ? Effect.void : Effect.ignore(
    Effect.map(
      redis.take(scripts.ahead, [stream], [group, String(count)]),
      (largest) => fetched.fits(Number(largest))
    )
  )
}

const readArgs = <A>(
  fetched: Fetched<A>,
  able: Capabilities,
  count: number,
  ...block: ReadonlyArray<string>
): ReadonlyArray<string> => {
  const { holder, reclaims } = fetched
  return [
    "GROUP",
    holder.group,
    holder.consumer,
    "COUNT",
    String(Math.min(count, fetched.fitting ?? 1)),
    ...block,
    ...claimOption(able, reclaims ? holder.minIdle : undefined),
    "STREAMS",
    holder.stream,
    ">"
  ]
}

const measured = <A, B>(
  fetched: Fetched<A>,
  read: Effect.Effect<B, RedisError>,
  start: number
): Effect.Effect<B, RedisError> =>
  Effect.tap(read, () => {
    const count = fetched.arrivedCount
    if (count === 0) {
      return Effect.void
    }
    const { consumer, group, labels, stream } = fetched.holder
    const millis = performance.now() - start
    Metrics.messagesRead.unsafeUpdate(count - fetched.claimedCount, labels)
    Metrics.messagesClaimed.unsafeUpdate(fetched.claimedCount, labels)
    Metrics.readLatency.unsafeUpdate(millis / 1000, labels)
    return TraceContext.record(
      `receive ${stream}`,
      () => ({
        kind: "client",
        attributes: TraceContext.attributes(stream, "receive", { group, consumer, count })
      }),
      millis
    )
  })
