/**
 * Reading a stream as one consumer of a group: as a `Stream`, or one entry at a time with `next`.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Chunk from "effect/Chunk"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as ExecutionStrategy from "effect/ExecutionStrategy"
import * as Exit from "effect/Exit"
import type * as FiberRef from "effect/FiberRef"
import { dual } from "effect/Function"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { ConsumerGroup } from "./ConsumerGroup.js"
import type { Delivery } from "./Delivery.js"
import type { Blocking } from "./internal/blocking.js"
import * as demands from "./internal/demand.js"
import * as Fetched from "./internal/fetched.js"
import { handout } from "./internal/handout.js"
import { regained } from "./internal/lostGroup.js"
import * as options from "./internal/options.js"
import { pulse } from "./internal/pulse.js"
import * as reads from "./internal/reads.js"
import * as Reclaim from "./Reclaim.js"
import * as Redis from "./Redis.js"
import { type InvalidOptions, isRefusal, isTransient, MalformedEntry, type RedisError } from "./RedisError.js"
import * as Metrics from "./RedisStreamsMetrics.js"

/**
 * - `consumer`: the name under which the server keeps what is pending. One running process per name; a name that is the
 *   same after a restart finds its pending entries at once, any other name's are left to `Reclaim`.
 * - `batchSize`: how many entries are fetched at a time, and so how many are held beyond what was asked for; 1 at least. Default 64. Of
 *   large ones it is as many as fit into a megabyte, told by those that were read before.
 *   Below a `Worker` it is the most: that one's reads ask for what it can begin.
 * - `block`: how long a read may wait on the server. It does not delay the end of the stream. Default 5 seconds.
 * - `malformed`: what happens to an entry that cannot be decoded. `"dead-letter"`, the default: it is moved to the group's
 *   dead-letter stream in one step with its ack, and logged. `"fail"`: the stream fails with `MalformedEntry`, after the
 *   good entries that were fetched with it; the entry stays pending.
 * - `reconnect`: when and how often to go on after a failure of the connection or the server (`RedisError.isTransient`).
 *   Its input is the error. Once the server has let the stream wait for new entries, a refused login or right (`LoginRefused`,
 *   `NoPermission`) is such a failure too, since credentials rotate; before that it fails the stream at once. Without it the stream fails with that error. It is for the reading alone: what `Delivery.use` fails with
 *   meanwhile is for whoever calls it.
 * - `reclaim`: also takes over what has been idle for the group's `minIdle`, whoever's it was, as a `Reclaim.stream` of the same
 *   consumer with this `every` does, which ends when `every` ends. Where the server can (`XREADGROUP … CLAIM`, Redis 8.4) each read
 *   takes what is stale before what is new, and one that waits is woken up when an entry gets stale; what is aged meanwhile, such
 *   as by `Delivery.retryAfter`, it finds when `block` is over. The passes go on there as well: a read does not see deleted entries.
 *   Not by default. With it, up to one batch of each kind is fetched before it is asked for.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  readonly consumer: string
  readonly batchSize?: number | undefined
  readonly block?: Duration.DurationInput | undefined
  readonly malformed?: "dead-letter" | "fail" | undefined
  readonly reconnect?: Schedule.Schedule<unknown, RedisError> | undefined
  readonly reclaim?: { readonly every: Schedule.Schedule<unknown> } | undefined
}

/**
 * The entries of a group as deliveries: first those pending for this consumer, at start and after each reconnect, then
 * new ones. It does not end by itself. It fails with `NoGroup` where the group is not there, and `InvalidOptions` at its start.
 *
 * Entries are fetched when they are asked for, `batchSize` at a time and in one chunk; there is no reader in the
 * background. When the stream's scope closes, a read that blocks is woken up at once, and deliveries that were not begun
 * are handed back, and not counted as attempts: where the server has XNACK (Redis 8.8) the next read of any consumer brings
 * them, before what is new; elsewhere they are aged, so that another's `Reclaim` can take them at once. Deliveries
 * that were begun are not touched: their `use` goes on and acks for as long as the Redis layer lives. While Redis is
 * silent this takes three seconds at most: one for a reply that is on its way, two to hand back.
 *
 * @category constructors
 * @since 0.1.0
 */
export const stream = <A>(
  group: ConsumerGroup<A>,
  settings: Options
): Stream.Stream<Delivery<A>, RedisError | InvalidOptions, Redis.Redis> =>
  settings.reclaim === undefined
    ? reading(group, settings)
    : Stream.merge(reading(group, settings), Reclaim.stream(group, { ...settings, every: settings.reclaim.every }))

/**
 * One delivery, or none: the next entry that is pending for this consumer, and once those have been seen, the next new one. It is
 * `stream` for those who want to ask for each entry themselves. Its own pending entries come first at the first call
 * with a `Redis` layer, again after a call that failed, and after a hundred other consumers have been used meanwhile.
 *
 * Without `block` it does not wait: none means that nothing is there now. With `block` it waits for so long on the server,
 * over a connection of its own, which the next call finds if it comes within a third of a second; interrupted, it stops waiting at once.
 *
 * The scope is there for the same reason as with `Reclaim.once`: a delivery that was not begun when it closes is handed back.
 *
 * @example
 * import type * as ConsumerGroup from "@safesync/redis-streams/ConsumerGroup"
 * import * as Delivery from "@safesync/redis-streams/Delivery"
 * import * as StreamConsumer from "@safesync/redis-streams/StreamConsumer"
 * import * as Effect from "effect/Effect"
 * import * as Option from "effect/Option"
 *
 * const one = <A>(group: ConsumerGroup.ConsumerGroup<A>, handle: (value: A) => Effect.Effect<void>) =>
 *   StreamConsumer.next(group, { consumer: "a", block: "10 seconds" }).pipe(
 *     Effect.flatMap(Option.match({ onNone: () => Effect.void, onSome: Delivery.use(handle) })),
 *     Effect.scoped
 *   )
 *
 * @category constructors
 * @since 0.1.0
 */
export const next = <A>(
  group: ConsumerGroup<A>,
  settings: Pick<Options, "consumer" | "block" | "malformed">
): Effect.Effect<Option.Option<Delivery<A>>, RedisError | InvalidOptions, Redis.Redis | Scope.Scope> =>
  Effect.gen(function*() {
    const redis = yield* Redis.Redis
    const block = settings.block === undefined ? 0 : yield* options.millis("block", settings.block)
    const fetched = yield* Fetched.make(redis, group, settings.consumer, settings.malformed)
    yield* Effect.addFinalizer(() => fetched.handBack)
    const { inFlight } = fetched.holder
    const deadline = performance.now() + block

    type Found = Effect.Effect<Option.Option<Delivery<A>>, RedisError>
    const orElse = (chunk: Effect.Effect<Chunk.Chunk<Delivery<A>>, RedisError>, rest: Found): Found =>
      Effect.flatMap(chunk, (chunk) => Chunk.isEmpty(chunk) ? rest : Effect.succeed(Chunk.head(chunk)))

    const fromOwn: Found = Effect.suspend(() =>
      inFlight.own === undefined ? fromNew : orElse(fetched.claim(readOwn), fromOwn)
    )
    const readOwn = Effect.suspend(() =>
      // Another call may have seen the end while this one waited for it.
      inFlight.own === undefined ? Effect.void : Effect.map(reads.readOwn(fetched, inFlight.own, 1), (next) => {
        inFlight.own = next
      })
    )
    // What came and is no delivery has been dealt with: it was undecodable, for another group, or runs here already.
    const fromNew: Found = Effect.flatMap(
      reads.readNewNow(fetched, 1),
      (found) => found ? orElse(fetched.deliver, fromNew) : wait
    )
    const wait: Found = Effect.suspend(() => {
      const left = Math.ceil(deadline - performance.now())
      if (left < 1) {
        return Effect.succeedNone
      }
      const read = redis.spares.use(
        nameOf(fetched),
        reserve(fetched),
        (blocking) => reads.readNew(fetched, blocking, 1, left, () => -Infinity)
      )
      return Effect.zipRight(read, orElse(fetched.deliver, fromNew))
    })
    return yield* Effect.onError(fromOwn, (cause) =>
      Effect.sync(() => {
        if (!(Cause.squash(cause) instanceof MalformedEntry)) {
          // Something may have been delivered that did not arrive.
          inFlight.own = "-"
        }
      }))
  })

/**
 * How many entries whoever pulls a stream can begin just now, asked at each read of `stream` and `Reclaim.stream` in the fiber that
 * pulls and in those that it forks: the read asks for so many, at most `batchSize` and one at least. A `Worker` sets it.
 *
 * @internal
 */
export const demand: FiberRef.FiberRef<() => number> = demands.demand

/**
 * Runs an effect for every delivery of a stream, `concurrency` of them at a time: what `Stream.runForEach` is for one at a time. Its
 * fibers last, which costs far less than one for each element, as `Stream.mapEffect` has it; no queue is between.
 *
 * It ends when the stream has ended and all have run. The first failure, of the stream or of an effect, ends all, and interrupts
 * what runs. Up to one chunk of the stream is fetched beyond what runs. Fails with `InvalidOptions` for a `concurrency` below 1.
 *
 * @example
 * import type * as ConsumerGroup from "@safesync/redis-streams/ConsumerGroup"
 * import * as Delivery from "@safesync/redis-streams/Delivery"
 * import * as StreamConsumer from "@safesync/redis-streams/StreamConsumer"
 * import type * as Effect from "effect/Effect"
 *
 * const consume = <A>(group: ConsumerGroup.ConsumerGroup<A>, handle: (value: A) => Effect.Effect<void>) =>
 *   StreamConsumer.stream(group, { consumer: "a" }).pipe(
 *     StreamConsumer.runForEach(Delivery.use(handle), { concurrency: 16 })
 *   )
 *
 * @category destructors
 * @since 0.1.0
 */
export const runForEach: {
  <A, E, R>(
    f: (delivery: Delivery<A>) => Effect.Effect<unknown, E, R>,
    settings: { readonly concurrency: number }
  ): <E2, R2>(self: Stream.Stream<Delivery<A>, E2, R2>) => Effect.Effect<void, E | E2 | InvalidOptions, R | R2>
  <A, E2, R2, E, R>(
    self: Stream.Stream<Delivery<A>, E2, R2>,
    f: (delivery: Delivery<A>) => Effect.Effect<unknown, E, R>,
    settings: { readonly concurrency: number }
  ): Effect.Effect<void, E | E2 | InvalidOptions, R | R2>
} = dual(3, <A, E2, R2, E, R>(
  self: Stream.Stream<Delivery<A>, E2, R2>,
  f: (delivery: Delivery<A>) => Effect.Effect<unknown, E, R>,
  settings: { readonly concurrency: number }
): Effect.Effect<void, E | E2 | InvalidOptions, R | R2> =>
  Effect.flatMap(options.count("concurrency", settings.concurrency), (concurrency) => handout(self, concurrency, f)))

// internal

const reading = <A>(
  group: ConsumerGroup<A>,
  settings: Options
): Stream.Stream<Delivery<A>, RedisError | InvalidOptions, Redis.Redis> =>
  Stream.unwrapScoped(Effect.gen(function*() {
    const redis = yield* Redis.Redis
    const batchSize = yield* options.count("batchSize", settings.batchSize ?? 64)
    const block = yield* options.millis("block", settings.block ?? Duration.seconds(5))
    const fetched = yield* Fetched.make(redis, group, settings.consumer, settings.malformed)
    fetched.reclaims = settings.reclaim !== undefined
    const schedule = yield* Schedule.driver(settings.reconnect ?? Schedule.stop)
    const scope = yield* Effect.scope
    // Added before the connection, so run after it is closed: a read that still brings something has come back by then.
    yield* Effect.addFinalizer(() => fetched.handBack)

    const { consumer, labels, minIdle } = fetched.holder
    const whose = `Consumer ${consumer} of ${group.stream}`
    const outage = yield* Redis.outage(`${whose} has lost Redis`, `${whose} goes on`)
    const alive = yield* pulse(minIdle)

    /** The connection for reads that block, while there is one. */
    let connection: { readonly blocking: Blocking; readonly scope: Scope.CloseableScope } | undefined
    /** Where to go on among this consumer's pending entries; none when all have been seen. */
    let own: string | undefined = "-"
    let lost = false
    let seen = false
    /** Whether the server has let it wait for new entries: before that, it is at its start. */
    let admitted = false
    /** Whether the server has refused it since, and has not let it wait again. */
    let refused = false

    const connect = Effect.uninterruptibleMask((restore) =>
      Effect.flatMap(Scope.fork(scope, ExecutionStrategy.sequential), (own) =>
        Effect.matchCauseEffect(restore(Scope.extend(reserve(fetched), own)), {
          onFailure: (cause) =>
            Effect.zipRight(Scope.close(own, Exit.failCause(cause)), Effect.failCause(cause)),
          onSuccess: (blocking) => {
            connection = { blocking, scope: own }
            return Effect.void
          }
        }))
    )

    const disconnect = Effect.suspend(() => {
      const closing = connection?.scope
      connection = undefined
      own = "-"
      lost = true
      return closing === undefined ? Effect.void : Scope.close(closing, Exit.void)
    })

    const takeOwn = Effect.suspend(() =>
      Effect.map(
        Effect.flatMap(demands.wanted(batchSize), (count) =>
          reads.readOwn(fetched, own!, count)),
        (next) => {
          own = next
        }
      )
    )

    const readNew = Effect.flatMap(
      demands.wanted(batchSize),
      (count) => reads.readNew(fetched, connection!.blocking, count, block, alive)
    )
    const takeNew = Effect.suspend(() =>
      Effect.mapBoth(readNew, {
        onFailure: (error) => {
          if (!isRefusal(error)) {
            admitted = true
          }
          return error
        },
        onSuccess: () => {
          admitted = true
          refused = false
        }
      })
    )

    const next: Effect.Effect<Chunk.Chunk<Delivery<A>>, RedisError> = Effect.suspend(() => {
      if (fetched.hasMore) {
        return fetched.deliver
      }
      if (connection === undefined) {
        return Effect.zipRight(connect, next)
      }
      return own === undefined ? Effect.zipRight(takeNew, fetched.deliver) : fetched.claim(takeOwn)
    })

    const reconnected = (error: RedisError) => {
      if (settings.reconnect === undefined || !(isTransient(error) || admitted && isRefusal(error))) {
        return Effect.fail(error)
      }
      if (isRefusal(error)) {
        refused = true
      }
      outage.failed({ error: error._tag })
      return Effect.zipRight(
        disconnect,
        Effect.mapError(schedule.next(error), () => error)
      )
    }

    const recover = (error: RedisError) =>
      Effect.mapBoth(regained(redis, group, error, seen, reconnected), {
        onFailure: Option.some,
        onSuccess: () => Chunk.empty<Delivery<A>>()
      })

    const recovered = Effect.suspend(() => {
      seen = true
      if (!lost || refused) {
        return Effect.void
      }
      lost = false
      outage.succeeded()
      Metrics.reconnects.unsafeUpdate(1, labels)
      return schedule.reset
    })

    return Stream.repeatEffectChunkOption(
      Effect.matchEffect(next, { onFailure: recover, onSuccess: (chunk) => Effect.as(recovered, chunk) })
    )
  }))

const reserve = <A>({ holder }: Pick<Fetched.Fetched<A>, "holder">): Effect.Effect<Blocking, RedisError, Scope.Scope> =>
  holder.redis.reserve(holder.stream, nameOf({ holder }))

/** The connection's name in CLIENT LIST. */
const nameOf = <A>({ holder }: Pick<Fetched.Fetched<A>, "holder">): string =>
  `safesync:${holder.stream}:${holder.group}:${holder.consumer}`
