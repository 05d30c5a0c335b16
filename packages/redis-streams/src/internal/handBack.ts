/**
 * Handing an entry back, so that anybody can take it at once. A server with XNACK makes it nobody's, and the next read that
 * claims brings it before what is new; on others it stays its consumer's, aged, and is `Reclaim`'s to find.
 */
import * as Chunk from "effect/Chunk"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type { Service } from "../Redis.js"
import type { RedisError } from "../RedisError.js"
import * as Metrics from "../RedisStreamsMetrics.js"
import type { Arrival } from "./arrival.js"
import type { Capabilities } from "./capabilities.js"
import { type Holder, Lease } from "./lease.js"
import * as scripts from "./scripts.js"

/** For `hold`: the new owner, and the idle time. */
export const handedBackTo = (
  { consumer, minIdle, redis }: { readonly redis: Service; readonly consumer: string; readonly minIdle: number }
): Effect.Effect<readonly [owner: string, idle: string], RedisError> =>
  Effect.map(redis.capabilities, (able) => able.has("release") ? [nobody, "0"] : [consumer, String(minIdle)])

/** What XREADGROUP is told, so that it brings what was handed back, and what has been idle for so many milliseconds, if that is wanted. */
export const claimOption = (able: Capabilities, minIdle: number | undefined): ReadonlyArray<string> =>
  minIdle !== undefined && able.has("claiming-read")
    ? ["CLAIM", String(minIdle)]
    : able.has("release")
    ? ["CLAIM", onlyReleased]
    : []

type Entry = Arrival | Lease<unknown>

/**
 * What was fetched and not begun, when its stream closes; it does not count as delivered. Never fails: what cannot be handed back
 * stays pending for its consumer, and is logged.
 */
export const handBack = (holder: Holder, entries: ReadonlyArray<Entry>): Effect.Effect<void> =>
  entries.length === 0 ? Effect.void : Effect.flatMap(handedBackTo(holder), ([owner, idle]) =>
    Effect.forEach(
      Chunk.chunksOf(Chunk.unsafeFromArray(entries), scripts.pageSize),
      (entries) => page(holder, owner, idle, Chunk.toReadonlyArray(entries)),
      { discard: true }
    )).pipe(
      Effect.interruptible,
      Effect.timeout(timeout),
      Effect.catchAll((error) =>
        Effect.logWarning(
          `${entries.length} entries of ${holder.stream} could not be handed back and stay pending for ${holder.consumer}`,
          error._tag
        )
      )
    )

// internal

/** As an owner: XNACK. */
const nobody = ""

/** Milliseconds. What is nobody's has been idle since 1970 for CLAIM, and nothing that somebody holds can be so for thirty years. */
const onlyReleased = "1000000000000"

/** What a stop takes at most for this while Redis is silent. */
const timeout = Duration.seconds(2)

const page = (
  { consumer, group, labels, redis, stream }: Holder,
  owner: string,
  idle: string,
  entries: ReadonlyArray<Entry>
) => {
  const held = entries.flatMap((entry) => [
    entry.id,
    String(entry instanceof Lease ? entry.fence : entry.count),
    String(entry.count - 1)
  ])
  return Effect.map(redis.script(scripts.hold, [stream], [group, consumer, owner, idle, ...held]), (reply) => {
    const notHeld = new Set((reply as scripts.NotHeld).flat())
    for (const entry of entries) {
      if (entry instanceof Lease && !notHeld.has(entry.id)) entry.fence = entry.count - 1
    }
    Metrics.messagesHandedBack.unsafeUpdate(entries.length - notHeld.size, labels)
  })
}
