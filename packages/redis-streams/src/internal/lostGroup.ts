/** A group that vanished while it was being read is created again where its policy says, or not at all. */
import * as Effect from "effect/Effect"
import type { ConsumerGroup } from "../ConsumerGroup.js"
import type { Service } from "../Redis.js"
import type { RedisError } from "../RedisError.js"
import * as Metrics from "../RedisStreamsMetrics.js"
import * as groupState from "./groupState.js"

/**
 * What a reader does about an error: it creates its group again, or else does what it does about every other. `seen`: whether the
 * group has been there; one that never was is not lost, but was not created.
 */
export const regained = <A>(
  redis: Service,
  group: ConsumerGroup<A>,
  error: RedisError,
  seen: boolean,
  otherwise: (error: RedisError) => Effect.Effect<unknown, RedisError>
): Effect.Effect<unknown, RedisError> =>
  error._tag === "NoGroup" && seen ? Effect.catchAll(recreate(redis, group, error), otherwise) : otherwise(error)

// internal

/** Fails with the error if the policy says nothing else. */
const recreate = <A>(
  redis: Service,
  group: ConsumerGroup<A>,
  error: RedisError
): Effect.Effect<void, RedisError> => {
  if (group.whenLost === "fail") {
    return Effect.fail(error)
  }
  const { recreateFrom } = group.whenLost
  return Effect.flatMap(groupState.create(redis, group, recreateFrom), (isNew) => {
    // Otherwise another consumer was quicker.
    if (!isNew) return Effect.void
    Metrics.groupsRecreated.unsafeUpdate(1, Metrics.labels(group.stream))
    return Effect.logWarning(`Group ${group.group} of ${group.stream} was lost and begins again at ${recreateFrom}`)
  })
}
