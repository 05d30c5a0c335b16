/**
 * Publishes what transactions have left in the outbox: a message is in its stream if, and only if, the transaction that
 * wrote it has committed.
 *
 * | where a relay dies | what the next one finds |
 * |---|---|
 * | before XADD | the row: it publishes it |
 * | between XADD and the row's removal | the row: it publishes it a second time, under the same message id |
 * | after the removal | nothing to do |
 *
 * So a message is published at least once, and who reads it with an inbox under `delivery.messageId` applies it once.
 *
 * **Order.** Messages of one stream with one key are published in the order in which their transactions committed. The
 * outbox sees to it that no lower id of a key can still commit; here one relay at a time works on a partition of the outbox,
 * and an entry that could not be added is followed by none of its stream. What is published again comes after all that was
 * published before it, so the first appearances stay in order.
 *
 * **A stream that cannot be written** (it is of another type, or access to it is denied) holds up no other: the relay goes
 * through the rest of the outbox without it, and fails then.
 *
 * @since 0.1.0
 */
import * as MysqlClient from "@effect/sql-mysql2/MysqlClient"
import { SqlClient } from "@effect/sql/SqlClient"
import * as AdvisoryLock from "@safesync/mysql/AdvisoryLock"
import type { MysqlError, TransactionAborted } from "@safesync/mysql/MysqlError"
import * as Outbox from "@safesync/mysql/Outbox"
import * as Redis from "@safesync/redis-streams/Redis"
import { isTransient, loggable, type RedisError } from "@safesync/redis-streams/RedisError"
import * as RedisStreamsMetrics from "@safesync/redis-streams/RedisStreamsMetrics"
import * as StreamEntry from "@safesync/redis-streams/StreamEntry"
import * as TraceContext from "@safesync/redis-streams/TraceContext"
import * as Cause from "effect/Cause"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Queue from "effect/Queue"
import * as Schedule from "effect/Schedule"
import * as required from "./internal/options.js"
import * as WorkerMetrics from "./WorkerMetrics.js"

/**
 * How a relay looks for messages, and how it shares the work.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /**
   * When to look for messages of other processes, and for a partition whose relay is gone. Messages of this process, whose
   * transactions run on the same client, wake the relay as soon as they are committed. The relay ends when this ends.
   */
  readonly poll: Schedule.Schedule<unknown>
  /** How many messages are published and removed at a time. Default: 256. */
  readonly batchSize?: number | undefined
  /**
   * Into how many parts the outbox is divided, on each of which another process may work. Each that is worked on holds a
   * connection of its own, beside the pool, and needs one of the pool now and then. All relays must say the same; stop them all to
   * change it. Default: 1.
   */
  readonly partitions?: number | undefined
  /** As for `AdvisoryLock.withLock`: how soon it is noticed that a connection has died without a word. */
  readonly heartbeat?: Duration.DurationInput | undefined
  /**
   * Publishes the field `data` alone, with neither message id nor key nor headers: consumers of COTI SafeSync (Python) refuse
   * every other field. Readers know a message by its entry's id then, so one that is published twice is handled twice. Default: false.
   */
  readonly bare?: boolean | undefined
  /** What the relay is called in logs. Default: "outbox-relay". */
  readonly name?: string | undefined
}

/**
 * Relays until it is interrupted. Several may run, in as many processes: on each partition one of them works at a time, by an
 * advisory lock, and another one takes over when it is gone.
 *
 * It fails with what the servers fail with; nothing is lost by that. `Effect.retry` with a schedule of yours goes on:
 *
 * - a `RedisError`: messages could not be published, and are still in the outbox;
 * - a `MysqlError` or `TransactionAborted`: they could not be read or removed; those that were published are published again;
 * - `AdvisoryLockLost`: the connection that held its partition is gone; `AdvisoryLockDeadlock` does not come of its own one lock.
 *
 * It ends with success when `poll` ends. Needs the tables of `Outbox.migration`; `batchSize` or `partitions` that are no whole number
 * above 0, or more partitions than `Outbox.slots`, are a defect.
 *
 * @example
 * import * as OutboxRelay from "@safesync/worker/OutboxRelay"
 * import * as Effect from "effect/Effect"
 * import * as Schedule from "effect/Schedule"
 *
 * const relay = OutboxRelay.run({ poll: Schedule.spaced("1 second") }).pipe(
 *   Effect.tapError((error) => Effect.logWarning("The relay starts again", error)),
 *   Effect.retry(Schedule.exponential("100 millis").pipe(Schedule.union(Schedule.spaced("10 seconds"))))
 * )
 *
 * @since 0.1.0
 * @category runners
 */
export const run = (
  options: Options
): Effect.Effect<
  void,
  RedisError | MysqlError | TransactionAborted | AdvisoryLock.AdvisoryLockDeadlock | AdvisoryLock.AdvisoryLockLost,
  Redis.Redis | MysqlClient.MysqlClient
> =>
  Effect.gen(function*() {
    const partitions = yield* required.count("OutboxRelay", "partitions", options.partitions ?? 1, Outbox.slots)
    const batchSize = yield* required.count("OutboxRelay", "batchSize", options.batchSize ?? 256)
    yield* Effect.forEach(
      Array.from({ length: partitions }, (_, n) => n),
      (n) => Effect.annotateLogs(partition(n, partitions, batchSize, options), "partition", `${n} of ${partitions}`),
      { concurrency: "unbounded", discard: true }
    )
  }).pipe(Effect.annotateLogs("relay", options.name ?? "outbox-relay"))

// internal

const partition = (n: number, of: number, limit: number, options: Options) =>
  Effect.scoped(Effect.gen(function*() {
    const client = yield* MysqlClient.MysqlClient
    const poll = yield* Schedule.driver(options.poll)
    const committed = yield* Outbox.committed(client)
    const first = Math.ceil(n * Outbox.slots / of)
    const last = Math.ceil((n + 1) * Outbox.slots / of) - 1
    /** `false`: the schedule has ended. */
    const next = Effect.match(Effect.raceFirst(Queue.take(committed), poll.next(undefined)), {
      onFailure: () => false,
      onSuccess: () => true
    })

    /**
     * From this slot to the last one, a batch at a time. After a full batch it goes on behind the slot where that one ended: what is
     * left there has its turn when the pass begins again, so that a key that never rests does not keep back those behind it.
     * `true`: nothing was left.
     */
    const pass = (fromSlot: number, refused: Map<string, RedisError>): Effect.Effect<boolean, Failure, Redis.Redis> =>
      Effect.flatMap(
        Effect.provideService(
          Outbox.read({ fromSlot, toSlot: last, limit, except: [...refused.keys()] }),
          SqlClient,
          client
        ),
        (messages) =>
          Effect.flatMap(
            // A relay that is stopped in good order publishes nothing twice.
            messages.length === 0 ? Effect.void : withGrace(publishAndRemove(client, messages, refused, options)),
            () => {
              if (messages.length < limit) return Effect.succeed(fromSlot === first)
              const behind = messages[limit - 1]!.slot + 1
              return behind <= last ? pass(behind, refused) : Effect.succeed(false)
            }
          )
      )
    const whole = Effect.suspend(() => {
      const refused = new Map<string, RedisError>()
      return Effect.flatMap(pass(first, refused), (all) => {
        for (const error of refused.values()) return Effect.fail(error)
        return Effect.succeed(all)
      })
    })
    const work: Effect.Effect<void, Failure, Redis.Redis> = Effect.flatMap(
      whole,
      (all) => all ? Effect.flatMap(next, (more) => more ? work : Effect.void) : work
    )
    const held = Effect.logInfo("The relay has its partition").pipe(
      Effect.zipRight(work),
      Effect.as(false),
      AdvisoryLock.withLock(`outbox/${n} of ${of}`, { timeout: 0, heartbeat: options.heartbeat }),
      Effect.catchTag("AdvisoryLockTimeout", () =>
        poll.next(undefined).pipe(Effect.as(true), Effect.orElseSucceed(() => false))),
      Effect.tapErrorCause((cause) =>
        Effect.logWarning("The relay has given up its partition", loggable(cause))
      )
    )
    yield* Effect.logDebug("The relay starts")
    yield* Effect.iterate(true, {
      while: (again) => again,
      body: () => held
    })
    yield* Effect.logDebug("The relay has ended")
  }))

type Failure = RedisError | MysqlError | TransactionAborted

/** One step for each stream: it adds all of its messages in order, or stops at the first that cannot be added. */
const publishAndRemove = (
  client: MysqlClient.MysqlClient,
  messages: ReadonlyArray<Outbox.Stored>,
  refused: Map<string, RedisError>,
  { bare = false }: Options
): Effect.Effect<void, Failure, Redis.Redis> =>
  Effect.flatMap(Redis.Redis, (redis) => {
    const published: Array<string> = []
    const publish = (stream: string, messages: ReadonlyArray<Outbox.Stored>) => {
      const labels = RedisStreamsMetrics.labels(stream)
      // There before the first of them: while Redis cannot be reached the counter shows that nothing is published.
      WorkerMetrics.outboxPublished.unsafeUpdate(0, labels)
      return Effect.matchEffect(
        TraceContext.useSpan(
          `send ${stream}`,
          () => ({
            kind: "producer",
            attributes: TraceContext.attributes(stream, "send", { count: messages.length })
          }),
          () => redis.command("EVAL", addAll, "1", stream, ...messages.flatMap((_) => fields(_, bare)))
        ),
        {
          onSuccess: () => {
            published.push(...messages.map(({ id }) => id))
            WorkerMetrics.outboxPublished.unsafeUpdate(messages.length, labels)
            return Effect.void
          },
          onFailure: (error) => {
            refused.set(stream, error)
            return Effect.annotateLogs(
              Effect.logWarning("Messages of the outbox could not be published", Cause.fail(error)),
              { stream, messages: messages.length }
            )
          }
        }
      )
    }
    const streams = new Set(messages.map(({ stream }) => stream))
    return Effect.forEach(streams, (stream) => publish(stream, messages.filter((_) => _.stream === stream)), {
      concurrency: "unbounded",
      discard: true
    }).pipe(
      Effect.zipRight(Effect.suspend(() => Effect.provideService(Outbox.remove(published), SqlClient, client))),
      // Redis is away: so it is for every other stream.
      Effect.zipRight(Effect.suspend(() => {
        for (const error of refused.values()) if (isTransient(error)) return Effect.fail(error)
        return Effect.void
      }))
    )
  })

const grace = "400 millis"

/** Goes on for a while when it is interrupted, but not for ever: a server may be gone without a word. */
const withGrace = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.flatMap(
      Effect.forkDaemon(Effect.interruptible(effect)),
      (fiber) =>
        Effect.onInterrupt(restore(Fiber.join(fiber)), () =>
          Effect.zipRight(
            Effect.timeoutOption(Effect.interruptible(Fiber.await(fiber)), grace),
            Fiber.interruptFork(fiber)
          ))
    )
  )

/** KEYS stream; ARGV for each entry the number of its fields and values, then those. */
const addAll = `
local at = 1
while at <= #ARGV do
  local count = tonumber(ARGV[at])
  redis.call('XADD', KEYS[1], '*', unpack(ARGV, at + 1, at + count))
  at = at + count + 1
end`

const fields = ({ data, headers, key, messageId }: Outbox.Stored, bare: boolean): Array<string> => {
  const pairs = bare ? [] : Object.entries({
    ...headers,
    ...(key === undefined ? {} : { key }),
    [StreamEntry.messageIdHeader]: messageId
  })
  return [String(2 + 2 * pairs.length), "data", data, ...pairs.flat()]
}
