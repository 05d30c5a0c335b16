/**
 * A consumer group of a stream: who may read what, and what the server knows about it.
 *
 * @since 0.1.0
 */
import * as Chunk from "effect/Chunk"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Schema from "effect/Schema"
import * as groupState from "./internal/groupState.js"
import * as options from "./internal/options.js"
import * as scripts from "./internal/scripts.js"
import { beside } from "./internal/slot.js"
import * as upkeep from "./internal/upkeep.js"
import * as Redis from "./Redis.js"
import type { InvalidOptions, RedisError } from "./RedisError.js"
import * as Metrics from "./RedisStreamsMetrics.js"
import * as StreamEntry from "./StreamEntry.js"

/**
 * A consumer group of a stream whose entries hold an `A`. It is a description: nothing is sent until it is used.
 *
 * Consumers only read, so a group of a type is a group of each wider one, and a function over groups of whatever type takes
 * `ConsumerGroup<unknown>`.
 *
 * @category models
 * @since 0.1.0
 */
export interface ConsumerGroup<out A> {
  readonly stream: string
  readonly group: string
  readonly entry: StreamEntry.Decoder<A>
  /** Where a group that is created begins to read: `"0"` (all that is there), `"$"` (only what comes), or after an id. */
  readonly startId: string
  /** An entry that has been idle for this long may be taken over by any consumer of the group. */
  readonly minIdle: Duration.Duration
  /** What a running consumer does when the group has vanished. */
  readonly whenLost: WhenLost
  /** Where undecodable and given-up entries go. */
  readonly deadLetterStream: string
}

/**
 * What a running consumer does when the group has vanished under it: `FLUSHALL`, a deleted stream, a server that came
 * back without its data. `"fail"`: the stream fails with `NoGroup`. `recreateFrom`: the group is created again, to begin
 * at `"0"` (everything that is in the stream by then: what had been acked before may come again), at `"$"` (only what comes:
 * what was sent in between is skipped) or after an id.
 *
 * @category models
 * @since 0.1.0
 */
export type WhenLost = "fail" | { readonly recreateFrom: string }

/**
 * Describes a consumer group.
 *
 * - `startId` has no default: `"0"` and `"$"` differ by every entry that was sent before the group existed.
 * - `minIdle` belongs to the group, since all its consumers must agree on it. It is the lease of a delivery (a running
 *   handler renews it), the bound of the delays of `Delivery.retryAfter`, and how long a crashed consumer's entries wait.
 * - `whenLost` defaults to `"fail"`: either way of going on repeats or skips entries, which is for the caller to choose.
 * - `deadLetterStream` defaults to `{stream}:dead`, or `stream:dead` if the name has a hash tag, so that it lives in the
 *   same slot of a Redis Cluster. A stream whose name holds a `}` and no hash tag, as `a}b`, cannot have one there.
 *
 * Fails with `InvalidOptions` for an empty name, a `minIdle` of less than a millisecond or of for ever, an id that is none, and a
 * dead-letter stream that is the stream itself.
 *
 * @example
 * import * as ConsumerGroup from "@safesync/redis-streams/ConsumerGroup"
 * import * as Effect from "effect/Effect"
 * import * as Schema from "effect/Schema"
 *
 * const Payment = Schema.Struct({ account: Schema.Int, pence: Schema.Int })
 *
 * const billing = Effect.tap(
 *   ConsumerGroup.make({ stream: "payments", group: "billing", schema: Payment, startId: "0", minIdle: "30 seconds" }),
 *   ConsumerGroup.create
 * )
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = <A, I>(settings: {
  readonly stream: string
  readonly group: string
  readonly schema: Schema.Schema<A, I>
  readonly startId: string
  readonly minIdle: Duration.DurationInput
  readonly whenLost?: WhenLost | undefined
  readonly deadLetterStream?: string | undefined
}): Effect.Effect<ConsumerGroup<A>, InvalidOptions> =>
  Effect.gen(function*() {
    const stream = yield* options.nonEmpty("stream", settings.stream)
    const deadLetterStream = yield* options.nonEmpty(
      "deadLetterStream",
      settings.deadLetterStream ?? beside(stream, "dead")
    )
    if (deadLetterStream === stream) {
      return yield* options.invalid("deadLetterStream", "must be another stream than the one that is read")
    }
    const whenLost = settings.whenLost ?? "fail"
    if (whenLost !== "fail") {
      yield* position("whenLost", whenLost.recreateFrom)
    }
    return {
      stream,
      group: yield* options.nonEmpty("group", settings.group),
      entry: StreamEntry.make(settings.schema),
      startId: yield* position("startId", settings.startId),
      minIdle: yield* options.positive("minIdle", settings.minIdle),
      whenLost,
      deadLetterStream
    }
  })

/**
 * Creates the group on the server, and its stream if that does not exist. `true`: created; `false`: it was there
 * already, wherever it stands: then its `startId` changes nothing, and the server need not take writes (`OutOfMemory`). Fails with `WrongType` where the key holds something else.
 *
 * @category operations
 * @since 0.1.0
 */
export const create = <A>(self: ConsumerGroup<A>): Effect.Effect<boolean, RedisError, Redis.Redis> =>
  Effect.flatMap(Redis.Redis, (redis) => groupState.create(redis, self, self.startId))

/**
 * One consumer of a group, as the server knows it.
 *
 * @category models
 * @since 0.1.0
 */
export interface Consumer {
  readonly name: string
  /** How many entries are pending for it. */
  readonly pending: number
  /** How long ago it last asked for entries. */
  readonly idle: Duration.Duration
}

/**
 * What the server knows about a group.
 *
 * @category models
 * @since 0.1.0
 */
export interface Info {
  /** Entries in the stream. */
  readonly length: number
  /**
   * Entries not yet delivered to the group; none if the server cannot tell (before 7.0, or after deletions) and there may be
   * some.
   */
  readonly lag: Option.Option<number>
  /** Entries delivered and not acked. */
  readonly pending: number
  /** How long ago the pending entry with the lowest id was last delivered or renewed; none if nothing is pending. */
  readonly oldestPendingIdle: Option.Option<Duration.Duration>
  readonly consumers: ReadonlyArray<Consumer>
}

/**
 * Asks the server about the group. It changes nothing, and its cost does not grow with the stream or the pending list. Fails with
 * `NoGroup` where the group or its stream is not there.
 *
 * @category operations
 * @since 0.1.0
 */
export const info = <A>(self: ConsumerGroup<A>): Effect.Effect<Info, RedisError, Redis.Redis> =>
  Effect.gen(function*() {
    const redis = yield* Redis.Redis
    const [state, length, consumers] = yield* Effect.all([
      groupState.ask(redis, self),
      redis.command("XLEN", self.stream),
      redis.command("XINFO", "CONSUMERS", self.stream, self.group)
    ], { concurrency: "unbounded" })
    return {
      length: length as number,
      lag: state.lag,
      pending: state.pending,
      oldestPendingIdle: Option.map(state.oldest, ({ idleMillis }) => Duration.millis(idleMillis)),
      consumers: groupState.records(consumers).map((consumer) => ({
        name: String(consumer.name),
        pending: Number(consumer.pending),
        idle: Duration.millis(Number(consumer.idle))
      }))
    }
  })

/**
 * Removes a consumer from the group, unless something is pending for it: `XGROUP DELCONSUMER` would forget those
 * entries, so both are one atomic step. `true`: it is gone (or was never there); `false`: it has pending entries.
 *
 * With `handTo` its pending entries go to that consumer first, as old as they are and without counting as delivered: it
 * finds them at its next start, and every `Reclaim` once they are stale. Only for a consumer that does not run any more: `false` if it
 * has read since. Fails
 * with `NoGroup` where there is no such group, and `InvalidOptions` for an empty `handTo` or one that is the consumer itself.
 *
 * @category operations
 * @since 0.1.0
 */
export const removeConsumer = <A>(
  self: ConsumerGroup<A>,
  consumer: string,
  settings: { readonly handTo?: string | undefined } = {}
): Effect.Effect<boolean, RedisError | InvalidOptions, Redis.Redis> =>
  Effect.gen(function*() {
    const redis = yield* Redis.Redis
    const handTo = settings.handTo === undefined ? "" : yield* options.nonEmpty("handTo", settings.handTo)
    if (handTo === consumer) {
      return yield* options.invalid("handTo", "must be another consumer")
    }
    let [outcome, end] = [2, ""]
    do {
      ;[outcome, end] = (yield* redis.script(upkeep.removeConsumer, [self.stream], [
        self.group,
        consumer,
        handTo,
        String(scripts.pageSize),
        end
      ])) as [number, string]
    } while (outcome === 2)
    return outcome === 1
  })

/**
 * Removes the consumers that the server has not heard of for `idle` and that have nothing pending, and answers their names.
 * Each process that is started under a name of its own leaves such a one behind. What is pending for a dead consumer is
 * for `Reclaim` to take over first: whether it has anything left and its removal are one atomic step.
 *
 * A consumer that lives and is removed all the same, since it has been waiting in one read for longer than `idle`, misses
 * nothing: the server knows it again as soon as there is an entry for it. Fails with `NoGroup` where there is no such group.
 *
 * @category operations
 * @since 0.1.0
 */
export const removeIdleConsumers = <A>(
  self: ConsumerGroup<A>,
  settings: { readonly idle: Duration.DurationInput }
): Effect.Effect<ReadonlyArray<string>, RedisError | InvalidOptions, Redis.Redis> =>
  Effect.gen(function*() {
    const redis = yield* Redis.Redis
    const idle = yield* options.millis("idle", settings.idle)
    const consumers = groupState.records(yield* redis.command("XINFO", "CONSUMERS", self.stream, self.group))
    const names = consumers.filter((consumer) => consumer.pending === 0 && Number(consumer.idle) >= idle)
      .map(({ name }) => String(name))
    const pages = Chunk.chunksOf(Chunk.unsafeFromArray(names), scripts.pageSize)
    const removed = yield* Effect.forEach(pages, (page) =>
      redis.script(upkeep.removeConsumers, [self.stream], [self.group, ...page]))
    return removed.flat() as ReadonlyArray<string>
  })

/**
 * Acks entries by their ids, whoever has them, and answers how many were pending: an ack that is repeated answers 0. It is for those who
 * keep ids and no deliveries, such as a task that was handed to somebody else, or a person at a console. A handler that runs for such an
 * entry is not told: it ends by itself, or is interrupted when its lease cannot be renewed.
 *
 * `Delivery.use` is for all others: this ack does not look whose the entry is by now, nor whether its id is another entry's of a stream
 * that was made anew. Fails with `InvalidOptions` for what is no id; then nothing was acked.
 *
 * @category operations
 * @since 0.1.0
 */
export const ack = <A>(
  self: ConsumerGroup<A>,
  ids: ReadonlyArray<string>
): Effect.Effect<number, RedisError | InvalidOptions, Redis.Redis> =>
  Effect.gen(function*() {
    const redis = yield* Redis.Redis
    const noId = ids.find((id) => !/^\d{1,20}(-\d{1,20})?$/.test(id))
    if (noId !== undefined) return yield* options.invalid("ids", "must be ids of entries, such as 1526919030474-55")
    let acked = 0
    for (let from = 0; from < ids.length; from += scripts.pageSize) {
      const page = ids.slice(from, from + scripts.pageSize)
      acked += (yield* redis.command("XACK", self.stream, self.group, ...page)) as number
    }
    Metrics.messagesAcked.unsafeUpdate(acked, Metrics.labels(self.stream))
    return acked
  })

// internal

const position = (option: string, id: string): Effect.Effect<string, InvalidOptions> =>
  id === "$" || /^\d+(-\d+)?$/.test(id)
    ? Effect.succeed(id)
    : options.invalid(option, `must be "0", "$" or an entry id`)
