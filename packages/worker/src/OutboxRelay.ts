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
 * @since 0.1.0
 */
import * as MysqlClient from "@effect/sql-mysql2/MysqlClient"
import { SqlClient } from "@effect/sql/SqlClient"
import * as AdvisoryLock from "@safesync/mysql/AdvisoryLock"
import type { MysqlError, TransactionAborted } from "@safesync/mysql/MysqlError"
import * as Outbox from "@safesync/mysql/Outbox"
import * as Redis from "@safesync/redis-streams/Redis"
import type { RedisError } from "@safesync/redis-streams/RedisError"
import * as StreamEntry from "@safesync/redis-streams/StreamEntry"
import * as Arr from "effect/Array"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as MetricLabel from "effect/MetricLabel"
import * as Queue from "effect/Queue"
import * as Schedule from "effect/Schedule"
import * as WorkerMetrics from "./WorkerMetrics.js"

/**
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
   * connection of the pool, and needs a second one now and then. All relays must say the same; stop them all to change it.
   * Default: 1.
   */
  readonly partitions?: number | undefined
  /** As for `AdvisoryLock.withLock`: how soon it is noticed that a connection has died without a word. */
  readonly heartbeat?: Duration.DurationInput | undefined
}

/**
 * Relays until it is interrupted. Several may run, in as many processes: on each partition one of them works at a time, by an
 * advisory lock, and another one takes over when it is gone.
 *
 * It fails with what the servers fail with; nothing is lost by that. `Effect.retry` with a schedule of yours goes on.
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
  Effect.suspend(() => {
    const partitions = options.partitions ?? 1
    if (!Number.isInteger(partitions) || partitions < 1 || partitions > Outbox.slots) {
      return Effect.dieMessage(
        `OutboxRelay: partitions must be a whole number from 1 to ${Outbox.slots}, not ${partitions}`
      )
    }
    return Effect.forEach(
      Array.from({ length: partitions }, (_, n) => n),
      (n) => partition(n, partitions, options),
      { concurrency: "unbounded", discard: true }
    )
  })

// ---------------------------------------------------------------------------------------------------------------------
// internal
// ---------------------------------------------------------------------------------------------------------------------

const partition = (n: number, of: number, options: Options) =>
  Effect.scoped(Effect.gen(function*() {
    const client = yield* MysqlClient.MysqlClient
    const poll = yield* Schedule.driver(options.poll)
    const committed = yield* Outbox.committed(client)
    const limit = options.batchSize ?? 256
    const range = {
      fromSlot: Math.ceil(n * Outbox.slots / of),
      toSlot: Math.ceil((n + 1) * Outbox.slots / of) - 1,
      limit
    }
    /** `false`: the schedule has ended. */
    const next = Effect.match(Effect.raceFirst(Queue.take(committed), poll.next(undefined)), {
      onFailure: () => false,
      onSuccess: () => true
    })

    const work: Effect.Effect<void, RedisError | MysqlError | TransactionAborted, Redis.Redis> = Effect.flatMap(
      Effect.provideService(Outbox.read(range), SqlClient, client),
      (messages) =>
        Effect.zipRight(
          // Uninterruptible, so that a relay that is stopped in good order publishes nothing twice.
          Effect.uninterruptible(Effect.zipRight(
            publish(messages),
            Effect.provideService(Outbox.remove(messages.map(({ id }) => id)), SqlClient, client)
          )),
          messages.length === limit ? work : Effect.flatMap(next, (more) => more ? work : Effect.void)
        )
    )
    const held = Effect.as(work, false).pipe(
      AdvisoryLock.withLock(`outbox/${n} of ${of}`, { timeout: 0, heartbeat: options.heartbeat }),
      Effect.catchTag("AdvisoryLockTimeout", () =>
        poll.next(undefined).pipe(Effect.as(true), Effect.orElseSucceed(() => false)))
    )
    yield* Effect.iterate(true, {
      while: (again) =>
        again,
      body: () => held
    })
  }))

/** One step for each stream: it adds all of its messages in order, or stops at the first that cannot be added. */
const publish = (messages: ReadonlyArray<Outbox.Stored>): Effect.Effect<void, RedisError, Redis.Redis> =>
  messages.length === 0 ? Effect.void : Effect.flatMap(Redis.Redis, (redis) =>
    Effect.forEach(
      Object.entries(Arr.groupBy(messages, ({ stream }) => stream)),
      ([stream, messages]) =>
        Effect.map(redis.command("EVAL", addAll, "1", stream, ...messages.flatMap(fields)), () => {
          WorkerMetrics.outboxPublished.unsafeUpdate(messages.length, [MetricLabel.make("stream", stream)])
        }),
      { concurrency: "unbounded", discard: true }
    ))

/** KEYS stream; ARGV for each entry the number of its fields and values, then those. */
const addAll = `
local at = 1
while at <= #ARGV do
  local count = tonumber(ARGV[at])
  redis.call('XADD', KEYS[1], '*', unpack(ARGV, at + 1, at + count))
  at = at + count + 1
end`

const fields = ({ data, headers, key, messageId }: Outbox.Stored): Array<string> => {
  const pairs = Object.entries({
    ...headers,
    ...(key === undefined ? {} : { key }),
    [StreamEntry.messageIdHeader]: messageId
  })
  return [String(2 + 2 * pairs.length), "data", data, ...pairs.flat()]
}
