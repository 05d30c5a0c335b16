/**
 * Reading a stream as one consumer of a group.
 *
 * @since 0.1.0
 */
import * as Chunk from "effect/Chunk"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as ExecutionStrategy from "effect/ExecutionStrategy"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { ConsumerGroup } from "./ConsumerGroup.js"
import type { Delivery } from "./Delivery.js"
import type { Blocking } from "./internal/blocking.js"
import { recreate } from "./internal/lostGroup.js"
import * as options from "./internal/options.js"
import * as scripts from "./internal/scripts.js"
import * as session from "./internal/session.js"
import * as Redis from "./Redis.js"
import { type InvalidOptions, isTransient, type RedisError } from "./RedisError.js"
import * as Metrics from "./RedisStreamsMetrics.js"

/**
 * - `consumer`: the name under which the server keeps what is pending. One running process per name; a name that is the
 *   same after a restart finds its pending entries at once, any other name's are left to `Reclaim`.
 * - `batchSize`: how many entries are fetched at a time, and so how many are held beyond what was asked for. Default 64.
 * - `block`: how long a read may wait on the server. It does not delay the end of the stream. Default 5 seconds.
 * - `malformed`: what happens to an entry that cannot be decoded. `"dead-letter"`, the default: it is moved to the group's
 *   dead-letter stream in one step with its ack, and logged. `"fail"`: the stream fails with `MalformedEntry`, after the
 *   good entries that were fetched with it; the entry stays pending.
 * - `reconnect`: when and how often to go on after a failure of the connection or the server (`RedisError.isTransient`).
 *   Its input is the error. Without it the stream fails with that error.
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
}

/**
 * The entries of a group as deliveries: first those pending for this consumer, at start and after each reconnect, then
 * new ones. It does not end by itself.
 *
 * Entries are fetched when they are asked for, `batchSize` at a time and in one chunk; there is no reader in the
 * background. When the stream's scope closes, a read that blocks is woken up at once, and deliveries that were not begun
 * are handed back, aged so that another consumer's `Reclaim` can take them at once. Deliveries that were begun are not
 * touched: their `use` goes on and acks for as long as the Redis layer lives.
 *
 * @category constructors
 * @since 0.1.0
 */
export const stream = <A>(
  group: ConsumerGroup<A>,
  settings: Options
): Stream.Stream<Delivery<A>, RedisError | InvalidOptions, Redis.Redis> =>
  Stream.unwrapScoped(Effect.gen(function*() {
    const redis = yield* Redis.Redis
    const batchSize = String(yield* options.count("batchSize", settings.batchSize ?? 64))
    const block = Math.ceil(Duration.toMillis(yield* options.positive("block", settings.block ?? Duration.seconds(5))))
    const fetched = yield* session.make(redis, group, settings.consumer, settings.malformed)
    const schedule = yield* Schedule.driver(settings.reconnect ?? Schedule.stop)
    const scope = yield* Effect.scope
    // Added before the connection, so run after it is closed: a read that still brings something has come back by then.
    yield* Effect.addFinalizer(() => fetched.handBack)

    const { consumer, inFlight, labels } = fetched.holder
    const read = [
      "GROUP",
      group.group,
      consumer,
      "COUNT",
      batchSize,
      "BLOCK",
      String(block),
      "STREAMS",
      group.stream,
      ">"
    ]

    const name = `safesync:${group.stream}:${group.group}:${consumer}`

    /** The connection for reads that block, while there is one. */
    let connection: { readonly blocking: Blocking; readonly scope: Scope.CloseableScope } | undefined
    /** Where to go on among this consumer's pending entries; none when all have been seen. */
    let own: string | undefined = "-"
    let lost = false
    let seen = false

    const connect = Effect.gen(function*() {
      const own = yield* Scope.fork(scope, ExecutionStrategy.sequential)
      connection = { blocking: yield* Scope.extend(redis.reserve(group.stream, name), own), scope: own }
    })

    const disconnect = Effect.suspend(() => {
      const closing = connection?.scope
      connection = undefined
      own = "-"
      lost = true
      return closing === undefined ? Effect.void : Scope.close(closing, Exit.void)
    })

    // Uninterruptible, since the server has delivered what the reply brings.
    const readOwn = Effect.uninterruptible(Effect.suspend(() =>
      Effect.flatMap(
        redis.take(scripts.takeOwn, [group.stream], [group.group, consumer, own!, batchSize, ...inFlight.keys()]),
        (reply) => {
          const page = reply as scripts.Page
          own = page[0].length === 0 ? undefined : scripts.after(page[0].toString())
          return fetched.arrivePage(page)
        }
      )
    ))

    const arriveNew = (reply: unknown) => {
      const entries = (reply as ReadonlyArray<readonly [Buffer, ReadonlyArray<Entry>]> | null)?.[0]
      for (const [id, fields] of entries?.[1] ?? []) {
        fetched.arrive(id, 1, fields)
      }
    }

    const readNew = Effect.suspend(() => {
      const start = performance.now()
      return Effect.map(connection!.blocking.read("XREADGROUP", read, block, arriveNew), () => {
        const count = fetched.arrivedCount
        if (count > 0) {
          Metrics.messagesRead.unsafeUpdate(count, labels)
          Metrics.readLatency.unsafeUpdate((performance.now() - start) / 1000, labels)
        }
      })
    })

    const next: Effect.Effect<Chunk.Chunk<Delivery<A>>, RedisError> = Effect.suspend(() => {
      if (fetched.hasMore) {
        return fetched.deliver
      }
      if (connection === undefined) {
        return Effect.zipRight(connect, next)
      }
      return Effect.zipRight(own === undefined ? readNew : readOwn, fetched.deliver)
    })

    const reconnected = (error: RedisError) => {
      if (settings.reconnect === undefined || !isTransient(error)) {
        return Effect.fail(error)
      }
      const report = lost
        ? Effect.void
        : Effect.logWarning(`Consumer ${consumer} of ${group.stream} has lost Redis: ${error._tag}`)
      return Effect.zipRight(report, disconnect).pipe(
        Effect.zipRight(Effect.mapError(schedule.next(error), () => error))
      )
    }

    const recover = (error: RedisError) => {
      // A group that was never there is not lost, but was not created.
      const regained = error._tag === "NoGroup" && seen ? recreate(redis, group, error) : reconnected(error)
      return Effect.mapBoth(regained, { onFailure: Option.some, onSuccess: () => Chunk.empty<Delivery<A>>() })
    }

    const recovered = Effect.suspend(() => {
      seen = true
      if (!lost) {
        return Effect.void
      }
      lost = false
      Metrics.reconnects.unsafeUpdate(1, labels)
      return Effect.zipRight(schedule.reset, Effect.logInfo(`Consumer ${consumer} of ${group.stream} goes on`))
    })

    return Stream.repeatEffectChunkOption(
      Effect.matchEffect(next, { onFailure: recover, onSuccess: (chunk) => Effect.as(recovered, chunk) })
    )
  }))

// internal

type Entry = readonly [id: Buffer, fields: ReadonlyArray<Buffer>]
