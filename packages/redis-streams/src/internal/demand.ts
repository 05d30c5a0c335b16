/** How much whoever pulls a stream can begin just now, so that a read takes no more from its colleagues than that. */
import * as Effect from "effect/Effect"
import * as FiberRef from "effect/FiberRef"
import { globalValue } from "effect/GlobalValue"

/** Asked at each read. A fiber that is forked, such as one of `Stream.merge`, asks the same. */
export const demand: FiberRef.FiberRef<() => number> = globalValue(
  Symbol.for("@safesync/redis-streams/demand"),
  () => FiberRef.unsafeMake<() => number>(() => Infinity)
)

/** How many entries to ask for: at most `batchSize`, one at least. */
export const wanted = (batchSize: number): Effect.Effect<number> =>
  Effect.map(FiberRef.get(demand), (count) => Math.max(1, Math.min(batchSize, Math.ceil(count()))))
