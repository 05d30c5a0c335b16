/**
 * Taking over what has been pending for too long: entries of consumers that died, were handed back, or wait for a retry.
 *
 * @since 0.1.0
 */
import type * as Chunk from "effect/Chunk"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { ConsumerGroup } from "./ConsumerGroup.js"
import type { Delivery } from "./Delivery.js"
import * as born from "./internal/born.js"
import { wanted } from "./internal/demand.js"
import { toMillis } from "./internal/duration.js"
import { after, isAbove } from "./internal/entryId.js"
import * as Fetched from "./internal/fetched.js"
import { regained } from "./internal/lostGroup.js"
import * as options from "./internal/options.js"
import * as scripts from "./internal/scripts.js"
import * as Redis from "./Redis.js"
import { type InvalidOptions, isOutage, isTransient, type RedisError } from "./RedisError.js"
import * as Metrics from "./RedisStreamsMetrics.js"

/**
 * - `consumer`: the name under which stale entries are taken; the same as that of the process's `StreamConsumer`.
 * - `batchSize`: how many entries are taken at a time, 1 at least. Default 64.
 * - `takeOwn`: whether entries that are pending for `consumer` itself are taken as well, such as those whose handler failed
 *   and was not told what to do. Default true. With false they wait for its next start, or for another consumer.
 * - `malformed`: as for `StreamConsumer.stream`.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  readonly consumer: string
  readonly batchSize?: number | undefined
  readonly malformed?: "dead-letter" | "fail" | undefined
  readonly takeOwn?: boolean | undefined
}

/**
 * Looks through the whole pending list at once and then each time that `every` says, and takes over every entry that
 * has been idle for the group's `minIdle`. It ends when `every` ends. Deliveries that were not begun when its scope closes
 * are handed back.
 *
 * `reconnect` is as for `StreamConsumer.stream`: without it the stream fails when Redis goes away. Fails with `NoGroup` where there is no
 * such group, and `InvalidOptions` at its start for a name that is empty or a count below 1.
 *
 * @example
 * import type * as ConsumerGroup from "@safesync/redis-streams/ConsumerGroup"
 * import * as Delivery from "@safesync/redis-streams/Delivery"
 * import * as Reclaim from "@safesync/redis-streams/Reclaim"
 * import type * as Effect from "effect/Effect"
 * import * as Schedule from "effect/Schedule"
 * import * as Stream from "effect/Stream"
 *
 * const recover = <A>(group: ConsumerGroup.ConsumerGroup<A>, handle: (value: A) => Effect.Effect<void>) =>
 *   Reclaim.stream(group, { consumer: "a", every: Schedule.spaced("5 seconds") }).pipe(
 *     Stream.runForEach(Delivery.use(handle))
 *   )
 *
 * @category constructors
 * @since 0.1.0
 */
export const stream = <A>(
  group: ConsumerGroup<A>,
  settings: Options & {
    readonly every: Schedule.Schedule<unknown>
    readonly reconnect?: Schedule.Schedule<unknown, RedisError> | undefined
  }
): Stream.Stream<Delivery<A>, RedisError | InvalidOptions, Redis.Redis> =>
  Stream.unwrapScoped(Effect.gen(function*() {
    const every = yield* Schedule.driver(settings.every)
    const reconnect = yield* Schedule.driver(settings.reconnect ?? Schedule.stop)
    const pass = yield* makePass(group, settings, toMillis(group.minIdle))
    const redis = yield* Redis.Redis
    let done = false
    let seen = false

    const reconnected = (error: RedisError) =>
      settings.reconnect === undefined || !(seen ? isOutage(error) : isTransient(error))
        ? Effect.fail(error)
        : Effect.mapError(reconnect.next(error), () => error)

    const next: Effect.Effect<Chunk.Chunk<Delivery<A>>, Option.Option<RedisError>> = Effect.suspend(() =>
      done
        ? Effect.flatMap(Effect.mapError(every.next(undefined), Option.none), () => {
          done = false
          return next
        })
        : Effect.matchEffect(pass.next(Infinity), {
          onFailure: (error) =>
            Effect.matchEffect(regained(redis, group, error, seen, reconnected), {
              onFailure: (error) => Effect.fail(Option.some(error)),
              onSuccess: () => next
            }),
          onSuccess: (chunk) => {
            done = pass.done
            seen = true
            return Effect.as(reconnect.reset, chunk)
          }
        })
    )
    return Stream.repeatEffectChunkOption(next)
  }))

/**
 * Looks through the whole pending list once and takes over every entry that has been idle for the group's `minIdle`, or for the
 * `minIdle` of this call, up to `count` of them, 1 at least. A `minIdle` below the group's takes entries of handlers that live: theirs
 * are interrupted, since their leases are lost; 0 takes all, as of a host that is known to be gone. Those that were not begun when the scope closes are handed back, so use them inside of it. Fails as
 * `stream` does, with `InvalidOptions` for a `count` below 1; what had been taken before a failure is handed back then too.
 *
 * @example
 * import type * as ConsumerGroup from "@safesync/redis-streams/ConsumerGroup"
 * import * as Delivery from "@safesync/redis-streams/Delivery"
 * import * as Reclaim from "@safesync/redis-streams/Reclaim"
 * import * as Effect from "effect/Effect"
 *
 * const stale = <A>(group: ConsumerGroup.ConsumerGroup<A>, handle: (value: A) => Effect.Effect<void>) =>
 *   Effect.scoped(Effect.flatMap(
 *     Reclaim.once(group, { consumer: "a", count: 10 }),
 *     Effect.forEach(Delivery.use(handle), { discard: true })
 *   ))
 *
 * @category constructors
 * @since 0.1.0
 */
export const once = <A>(
  group: ConsumerGroup<A>,
  settings: Options & { readonly count: number; readonly minIdle?: Duration.DurationInput | undefined }
): Effect.Effect<ReadonlyArray<Delivery<A>>, RedisError | InvalidOptions, Redis.Redis | Scope.Scope> =>
  Effect.gen(function*() {
    const count = yield* options.count("count", settings.count)
    const minIdle = yield* options.age("minIdle", settings.minIdle ?? group.minIdle)
    const pass = yield* makePass(group, settings, minIdle)
    const deliveries: Array<Delivery<A>> = []
    do {
      deliveries.push(...(yield* pass.next(count - deliveries.length)))
    } while (!pass.done && deliveries.length < count)
    return deliveries
  })

// internal

interface Pass<A> {
  /** The next page, of no more than `limit` entries. */
  readonly next: (limit: number) => Effect.Effect<Chunk.Chunk<Delivery<A>>, RedisError>
  /** Whether the page was the last of the pending list; the next one is the first again. */
  readonly done: boolean
}

const makePass = <A>(
  group: ConsumerGroup<A>,
  settings: Options,
  minIdle: number
): Effect.Effect<Pass<A>, InvalidOptions, Redis.Redis | Scope.Scope> =>
  Effect.gen(function*() {
    const redis = yield* Redis.Redis
    const batchSize = yield* options.count("batchSize", settings.batchSize ?? 64)
    const fetched = yield* Fetched.make(redis, group, settings.consumer, settings.malformed)
    yield* Effect.addFinalizer(() => fetched.handBack)
    const { consumer, labels } = fetched.holder
    const spared = settings.takeOwn === false ? consumer : ""
    const keys = born.keysOf(group.stream)
    let cursor = start
    /** The last of the pending list when the pass began: what gets pending meanwhile is the next one's, or this one may never end. */
    let end = ""
    const ask = (limit: number): Effect.Effect<readonly [string, scripts.Page], RedisError> =>
      Effect.flatMap(Effect.zip(redis.capabilities, wanted(Math.min(batchSize, limit))), ([able, count]) => {
        const args = [group.group, consumer, String(minIdle), cursor, String(count)]
        const scan = spared !== "" || !able.has("auto-claim")
        return Effect.map(
          scan
            ? redis.take(scripts.takeStaleByScan, keys, [...args, spared])
            : redis.take(scripts.takeStale, keys, args),
          (reply) => {
            const page = reply as scripts.Page
            const last = page[0].toString()
            return [scan && last !== start ? after(last) : last, page] as const
          }
        )
      })
    const begin = Effect.suspend(() =>
      cursor !== start ? Effect.void : Effect.map(redis.command("XPENDING", group.stream, group.group), (reply) => {
        end = (reply as readonly [count: number, first: string, last: string | null])[2] ?? ""
      })
    )
    const take = (limit: number) =>
      Effect.suspend(() => {
        const sent = performance.now()
        return fetched.finishing(Effect.flatMap(ask(limit), ([next, page]) => {
          cursor = end === "" || isAbove(next, end) ? start : next
          Metrics.messagesClaimed.unsafeUpdate(page[1].length, labels)
          return fetched.arrivePage(page, sent)
        }))
      })
    return {
      next: (limit) =>
        Effect.suspend(() => fetched.hasMore ? fetched.deliver : fetched.claim(Effect.zipRight(begin, take(limit)))),
      get done() {
        return cursor === start && !fetched.hasMore
      }
    }
  })

/** Where a pending list begins, and the cursor that says that it has been seen to its end. */
const start = "0-0"
