/**
 * What was fetched and not begun goes back, when its stream closes: for any consumer to take at once, and not counted as delivered.
 */
import * as Chunk from "effect/Chunk"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Metrics from "../RedisStreamsMetrics.js"
import type { Arrival } from "./arrival.js"
import { type Holder, Lease } from "./lease.js"
import { givenBack } from "./release.js"
import * as scripts from "./scripts.js"

type Entry = Arrival | Lease<unknown>

/** Never fails: what cannot be handed back stays pending for its consumer, and is logged. */
export const handBack = (holder: Holder, entries: ReadonlyArray<Entry>): Effect.Effect<void> =>
  entries.length === 0 ? Effect.void : Effect.flatMap(givenBack(holder), ([owner, idle]) =>
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
