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
import type * as AdvisoryLock from "@safesync/mysql/AdvisoryLock"
import type { MysqlError, TransactionAborted } from "@safesync/mysql/MysqlError"
import * as Outbox from "@safesync/mysql/Outbox"
import * as Redis from "@safesync/redis-streams/Redis"
import type { RedisError } from "@safesync/redis-streams/RedisError"
import * as RedisStreamsMetrics from "@safesync/redis-streams/RedisStreamsMetrics"
import * as Cause from "effect/Cause"
import * as DateTime from "effect/DateTime"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as FiberRef from "effect/FiberRef"
import * as Option from "effect/Option"
import * as Queue from "effect/Queue"
import * as Schedule from "effect/Schedule"
import * as required from "./internal/options.js"
import { Batch, isFull } from "./internal/outboxBatch.js"
import { type Held, laneOf, memoriesOf, type RelayMemory, relayMemory } from "./internal/relayMemory.js"
import * as WorkerMetrics from "./WorkerMetrics.js"
import type { RelayStatus } from "./WorkerStatus.js"

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

/**
 * The state of this process's relay on this client under this name: `RelayStatus`. It is kept from one `run` to the next,
 * so that it tells of an outage while `Effect.retry` waits.
 *
 * @since 0.1.0
 * @category probes
 */
export const status = (
  options: Pick<Options, "name"> = {}
): Effect.Effect<RelayStatus, never, MysqlClient.MysqlClient> =>
  Effect.map(MysqlClient.MysqlClient, (client) => {
    const all = memoriesOf(client, options.name ?? "")
    const outage = all.map((memory) => memory.outage.current).find((current) => current !== undefined)
    const lastSuccess = Math.max(0, ...all.map((memory) => memory.lastSuccess))
    const partitions = all.filter(({ has }) => has).length
    return {
      state: partitions > 0
        ? "relaying"
        : all.some(({ running }) => running)
        ? "waiting"
        : outage === undefined
        ? "stopped"
        : "failed",
      partitions,
      held: all.reduce((sum, { held }) => sum + held.size, 0),
      lastSuccess: lastSuccess === 0 ? Option.none() : Option.some(DateTime.unsafeMake(lastSuccess)),
      outage: Option.map(
        Option.fromNullable(outage),
        ({ error, since }) => ({ error, since: DateTime.unsafeMake(since) })
      )
    }
  })

// internal

type Failure = RedisError | MysqlError | TransactionAborted

const partition = (number: number, of: number, limit: number, options: Options) =>
  Effect.scoped(Effect.gen(function*() {
    const client = yield* MysqlClient.MysqlClient
    const redis = yield* Redis.Redis
    const poll = yield* Schedule.driver(options.poll)
    const committed = yield* Outbox.committed(client)
    const memory = relayMemory(client, `${options.name ?? ""} ${number} of ${of}`)
    /** `false`: the schedule has ended. */
    const next = Effect.match(Effect.raceFirst(Queue.take(committed), poll.next(undefined)), {
      onFailure: () => false,
      onSuccess: () => true
    })
    const had = Effect.sync(() => memory.has)
    // A look that finds nothing makes no span.
    const traced = yield* FiberRef.get(FiberRef.currentTracerEnabled)
    memory.running = true
    yield* Effect.addFinalizer(() =>
      Effect.sync(() => {
        memory.running = memory.has = false
      })
    )
    const held = Outbox.withPartition(
      { number, of, heartbeat: options.heartbeat },
      (partition) => {
        memory.has = true
        return Effect.zipRight(
          memory.outage.isOn || memory.told.size > 0 ? Effect.void : Effect.logInfo("The relay has its partition"),
          Effect.as(new Relay(partition, redis, memory, limit, options.bare === true, traced).work(next), false)
        )
      }
    ).pipe(
      Effect.catchTag(
        "AdvisoryLockTimeout",
        () => poll.next(undefined).pipe(Effect.as(true), Effect.orElseSucceed(() => false))
      ),
      Effect.tapErrorCause((cause) =>
        Option.exists(Cause.failureOption(cause), (error) => memory.isTold(error))
          ? Effect.void
          : memory.outage.failed(cause)
      ),
      Effect.onInterrupt(() =>
        Effect.flatMap(had, (had) => had ? Effect.logInfo("The relay has given up its partition") : Effect.void)
      ),
      Effect.withTracerEnabled(false)
    )
    yield* Effect.logDebug("The relay starts")
    yield* Effect.iterate(true, {
      while: (again) => again,
      body: () => held
    })
    yield* Effect.logDebug("The relay has ended")
  }))

class Relay {
  constructor(
    private readonly partition: Outbox.Partition,
    private readonly redis: Redis.Service,
    private readonly memory: RelayMemory,
    private readonly limit: number,
    private readonly bare: boolean,
    private readonly traced: boolean
  ) {}

  /** Goes through the outbox again and again, until there is no `next` time. */
  work(next: Effect.Effect<boolean>): Effect.Effect<void, Failure> {
    return Effect.flatMap(
      this.whole,
      (left): Effect.Effect<void, Failure> =>
        left === "more" ? this.work(next) : Effect.flatMap(next, (more) =>
          more
            ? this.work(next)
            : left === undefined
            ? Effect.void
            : Effect.fail(left))
    )
  }

  /** Once through the outbox. Answers whether there may be more, or why something is left that can wait. */
  private readonly whole: Effect.Effect<"more" | Failure | undefined, Failure> = Effect.suspend(() => {
    const { memory } = this
    const now = performance.now()
    const waiting = [...memory.held.values()].filter(({ until }) => until > now)
    const refused = new Map<string, RedisError | MysqlError>()
    for (const { error, stream } of waiting) if (isFull(memory, stream)) refused.set(stream, error)
    return Effect.matchEffect(
      Effect.zipRight(this.remove, Effect.suspend(() => this.pass(this.partition.fromSlot, waiting, refused))),
      {
        // While it holds its lock, another relay would publish again what this one cannot remove.
        onFailure: (error) =>
          error instanceof NotRemoved
            ? Effect.as(memory.outage.failed(Cause.fail(error.cause)), error.cause)
            : Effect.fail(error),
        onSuccess: (all) =>
          Effect.zipRight(
            Effect.suspend(() => {
              memory.lastSuccess = Date.now()
              return memory.outage.succeeded()
            }),
            Effect.suspend((): Effect.Effect<"more" | Failure | undefined, Failure> => {
              for (const error of refused.values()) return Effect.fail(memory.telling(error))
              if (!all) return Effect.succeed("more")
              // They are not there any more, or they were published.
              for (const [lane, { until }] of memory.held) if (until <= now) memory.held.delete(lane)
              for (const { error } of memory.held.values()) return Effect.succeed(error)
              memory.told.clear()
              return Effect.succeed(undefined)
            })
          )
      }
    )
  })

  /**
   * From this slot to the last one, a batch at a time. After a full batch it goes on behind the slot where that one ended: what is
   * left there has its turn when the pass begins again, so that a key that never rests does not keep back those behind it.
   * `true`: nothing was left.
   */
  private pass(
    fromSlot: number,
    waiting: ReadonlyArray<Held>,
    refused: Map<string, RedisError | MysqlError>
  ): Effect.Effect<boolean, Failure | NotRemoved> {
    const { partition } = this
    const without = { streams: [...refused.keys()], messages: waiting }
    return Effect.flatMap(partition.read({ fromSlot, limit: this.limit, without }), (found) => {
      const last = Math.max(...[found.messages, found.damaged].map((_) => _.at(-1)?.slot ?? -1))
      return Effect.flatMap(
        // A relay that is stopped in good order publishes nothing twice.
        last < 0 ? Effect.void : withGrace(this.publish(found, refused)),
        () => {
          if (!found.more) return Effect.succeed(fromSlot === partition.fromSlot)
          const behind = Math.max(last, fromSlot) + 1
          return behind <= partition.toSlot ? this.pass(behind, waiting, refused) : Effect.succeed(false)
        }
      )
    })
  }

  private publish(
    { damaged, messages }: Outbox.Found,
    refused: Map<string, RedisError | MysqlError>
  ): Effect.Effect<void, Failure | NotRemoved> {
    // There before the first of them: while Redis cannot be reached the counter shows that nothing is published.
    for (const { stream } of messages) WorkerMetrics.outboxPublished.unsafeUpdate(0, RedisStreamsMetrics.labels(stream))
    const batch = new Batch(this.redis, this.memory, refused, this.bare)
    const isBehind = (message: Outbox.Stored) =>
      damaged.some((_) => laneOf(_) === laneOf(message) && BigInt(_.id) < BigInt(message.id))
    return batch.publish(damaged.length === 0 ? messages : messages.filter((message) => !isBehind(message))).pipe(
      Effect.zipRight(
        // Had what comes before it not been sent, it would be held up too.
        Effect.forEach(
          damaged,
          (message) =>
            batch.failure !== undefined || refused.has(message.stream)
              ? Effect.void
              : batch.hold(message, message.error),
          { discard: true }
        )
      ),
      Effect.zipRight(this.remove),
      Effect.zipRight(Effect.suspend(() => batch.failure === undefined ? Effect.void : Effect.fail(batch.failure))),
      Effect.withTracerEnabled(this.traced)
    )
  }

  /** Messages that have been published are removed before others are published. */
  private readonly remove: Effect.Effect<void, Failure | NotRemoved> = Effect.suspend(() => {
    const { memory } = this
    const messages = memory.published
    return Effect.matchEffect(this.partition.remove(messages), {
      onFailure: (error): Effect.Effect<never, Failure | NotRemoved> =>
        error._tag === "ConnectionLost" || error._tag === "TransactionAborted" || error._tag === "ReadOnlyServer"
          ? Effect.fail(error)
          : Effect.fail(new NotRemoved(error)),
      onSuccess: () =>
        Effect.sync(() => {
          memory.published = []
        })
    })
  })
}

/** The connection, and the lock with it, is still there. */
class NotRemoved {
  readonly _tag = "NotRemoved"
  constructor(readonly cause: MysqlError) {}
}

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
