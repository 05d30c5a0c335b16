/**
 * The identity that tells a stream from another one of its name: on another server, in another database, or made anew under that name.
 *
 * The ids of entries are unique in their stream alone. Two streams of one name give out the same ids, and an inbox that both of them
 * write to takes the message of the one for that of the other: it is acked and never handled. So a stream may be given an identity, in
 * a key beside it (`{payments}:born`), and the ids of entries that are added from then on go together with it: `Delivery.born`. Entries
 * that were there before, and all as long as there is no identity, are known by their id alone, as ever.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { randomBytes } from "node:crypto"
import * as born from "./internal/born.js"
import * as options from "./internal/options.js"
import * as upkeep from "./internal/upkeep.js"
import * as Redis from "./Redis.js"
import type { InvalidOptions, RedisError } from "./RedisError.js"

/**
 * Gives a stream its identity. `true`: it has one from now on; `false`: it had one already, which stays.
 *
 * It is a step of its own, which no reader takes by itself, since all readers of the stream must know of it: first stop the last worker
 * of a version of this package that did not know identities. Workers of this version may run; each learns of it with its next read.
 *
 * A stream that is deleted and made again keeps the key, and its identity is made anew here if the stream now stands below it. Delete
 * both keys together, and take this step before anything is sent. After `FLUSHALL`, which forgets it, it is to be taken again.
 *
 * Fails with `NoGroup` where there is no such stream, and with `InvalidOptions` for a stream whose name holds a `}` and no hash tag, as
 * `a}b`: it has no place beside it in a Redis Cluster.
 *
 * @example
 * import * as ConsumerGroup from "@safesync/redis-streams/ConsumerGroup"
 * import * as StreamIdentity from "@safesync/redis-streams/StreamIdentity"
 * import * as Effect from "effect/Effect"
 *
 * // where the group is created, once all workers are of this version
 * const prepare = <A>(group: ConsumerGroup.ConsumerGroup<A>) =>
 *   Effect.zipRight(ConsumerGroup.create(group), StreamIdentity.create(group))
 *
 * @category operations
 * @since 0.1.0
 */
export const create = (
  self: { readonly stream: string }
): Effect.Effect<boolean, RedisError | InvalidOptions, Redis.Redis> =>
  Effect.gen(function*() {
    const redis = yield* Redis.Redis
    const key = born.keyOf(self.stream)
    if (key === undefined) {
      return yield* options.invalid(
        "stream",
        "must have a hash tag if its name holds a }, or it has no place for an identity"
      )
    }
    return (yield* redis.script(upkeep.giveIdentity, [self.stream, key], [randomBytes(12).toString("base64url")])) === 1
  })

/**
 * The identity of a stream, or none. Nothing is changed.
 *
 * @category operations
 * @since 0.1.0
 */
export const get = (self: { readonly stream: string }): Effect.Effect<Option.Option<string>, RedisError, Redis.Redis> =>
  Effect.flatMap(Redis.Redis, (redis) => {
    const key = born.keyOf(self.stream)
    return key === undefined
      ? Effect.succeedNone
      : Effect.map(redis.command("GET", key), (reply) => Option.fromNullable(born.parse(reply)))
  })
