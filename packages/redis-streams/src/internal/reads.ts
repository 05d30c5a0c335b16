/** The two reads of a consumer: what is pending for it, and what is new. */
import * as Effect from "effect/Effect"
import type { RedisError } from "../RedisError.js"
import * as Metrics from "../RedisStreamsMetrics.js"
import * as TraceContext from "../TraceContext.js"
import type { Blocking } from "./blocking.js"
import * as scripts from "./scripts.js"
import type { Session } from "./session.js"

/**
 * The next `count` entries that are pending for this consumer and not in flight in this process. Answers where to go on;
 * nothing when the end has been seen.
 */
export const readOwn = <A>(
  { arrivePage, holder: { consumer, group, inFlight, redis, stream } }: Session<A>,
  from: string,
  count: number
): Effect.Effect<string | undefined, RedisError> =>
  // Uninterruptible, since the server has delivered what the reply brings.
  Effect.uninterruptible(
    Effect.flatMap(
      redis.take(scripts.takeOwn, [stream], [group, consumer, from, String(count), ...inFlight.keys()]),
      (reply) => {
        const page = reply as scripts.Page
        return Effect.as(arrivePage(page), page[0].length === 0 ? undefined : scripts.after(page[0].toString()))
      }
    )
  )

/** Up to `count` new entries, waiting for the first of them for up to `block` milliseconds. */
export const readNew = <A>(
  session: Session<A>,
  blocking: Blocking,
  count: number,
  block: number
): Effect.Effect<void, RedisError> => {
  const args = readArgs(session, count, "BLOCK", String(block))
  return measured(session, blocking.read("XREADGROUP", args, block, session.arriveNew))
}

/** The same without waiting, and so on the connection that all share. Not a script: before 6.0 none may read. */
export const readNewNow = <A>(session: Session<A>, count: number): Effect.Effect<void, RedisError> => {
  const read = session.holder.redis.read("XREADGROUP", ...readArgs(session, count))
  return measured(session, Effect.uninterruptible(Effect.map(read, session.arriveNew)))
}

// internal

const readArgs = <A>({ holder }: Session<A>, count: number, ...block: ReadonlyArray<string>): ReadonlyArray<string> => [
  "GROUP",
  holder.group,
  holder.consumer,
  "COUNT",
  String(count),
  ...block,
  "STREAMS",
  holder.stream,
  ">"
]

const measured = <A>(session: Session<A>, read: Effect.Effect<void, RedisError>): Effect.Effect<void, RedisError> =>
  Effect.suspend(() => {
    const start = performance.now()
    return Effect.flatMap(read, () => {
      const count = session.arrivedCount
      if (count === 0) {
        return Effect.void
      }
      const { consumer, group, labels, stream } = session.holder
      const millis = performance.now() - start
      Metrics.messagesRead.unsafeUpdate(count, labels)
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
  })
