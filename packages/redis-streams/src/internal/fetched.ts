/**
 * What one stream of deliveries has fetched. Whatever arrives is remembered at once, also when the fiber that asked for
 * it is being interrupted, and what was not begun when the stream closes is handed back.
 */
import * as Chunk from "effect/Chunk"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import type { ConsumerGroup } from "../ConsumerGroup.js"
import type { Delivery } from "../Delivery.js"
import type { Service } from "../Redis.js"
import { type InvalidOptions, isTransient, MalformedEntry, type RedisError } from "../RedisError.js"
import * as Metrics from "../RedisStreamsMetrics.js"
import type { Decoded } from "../StreamEntry.js"
import * as arrival from "./arrival.js"
import type { Arrival, Undecodable } from "./arrival.js"
import * as born from "./born.js"
import * as deadEntry from "./deadEntry.js"
import { toMillis } from "./duration.js"
import { handBack } from "./handBack.js"
import { type Holder, Lease, parked } from "./lease.js"
import * as options from "./options.js"
import * as scripts from "./scripts.js"

export type Malformed = "dead-letter" | "fail"

/** With CLAIM, also for how long it was pending before, and how often it had been delivered. */
type Entry = readonly [id: Buffer, fields: ReadonlyArray<Buffer>, idle?: number, deliveries?: number]

export class Fetched<in out A> {
  private arrived: Array<Arrival> = []
  private ready: Array<Lease<A>> = []
  /** How many of those that the last read has brought had been pending before. */
  claimedCount = 0
  /** How many entries a read asks for at most; nothing as long as none was looked at. */
  fitting: number | undefined
  /** Whether its reads take over what is stale, where the server can. */
  reclaims = false

  constructor(
    readonly holder: Holder,
    private readonly group: ConsumerGroup<A>,
    private readonly malformed: Malformed
  ) {}

  /** Entries that have arrived and are not deliveries yet. */
  get arrivedCount(): number {
    return this.arrived.length
  }

  /** Whether `deliver` has something to do. */
  get hasMore(): boolean {
    return this.arrived.length > 0 || this.ready.length > 0
  }

  /** Answers whether it is one more. */
  private arrive(
    bytes: Buffer,
    attempt: number,
    fields: ReadonlyArray<Buffer>,
    freshAt: number,
    streamBorn: string | undefined
  ): boolean {
    const id = bytes.toString("latin1")
    const held = this.holder.inFlight.get(id)
    const arrived = arrival.make(id, attempt, fields, freshAt, streamBorn)
    if (held?.state === "fetched") {
      // Nobody has begun it for so long that it was stale: it may have been dropped.
      held.leave("lost")
    } else if (held !== undefined && this.isAgain(held, arrived)) {
      return false
    }
    this.arrived.push(arrived)
    return true
  }

  /** Whether it is what is being handled here; if it is not, that entry is there no more, and its id is this one's. */
  private isAgain(held: Lease<unknown>, arrived: Arrival): boolean {
    const is = held.is(arrived)
    if (is) held.countedAgain(arrived.count, arrived.freshAt)
    else held.reused()
    return is
  }

  /**
   * The reply of XREADGROUP for one stream, strings as bytes, and the one of the question for the stream's identity that went behind
   * it. Answers whether there was something in it.
   */
  arriveNew(reply: unknown, bornReply: unknown, freshAt: number): boolean {
    const streamBorn = born.parse(bornReply)
    const entries = (reply as ReadonlyArray<readonly [Buffer, ReadonlyArray<Entry>]> | null)?.[0]?.[1] ?? []
    this.claimedCount = 0
    let largest = 0
    for (const [id, fields, idle = 0, deliveries = 0] of entries) {
      largest = Math.max(largest, bytesOf(fields))
      const isMore = this.arrive(id, Math.min(deliveries + 1, Number.MAX_SAFE_INTEGER), fields, freshAt, streamBorn)
      if (isMore && idle > 0) this.claimedCount++
    }
    if (entries.length === 0) return false
    this.fits(largest)
    return true
  }

  /**
   * An entry of so many bytes is the largest one of those that were seen last. As many as it are asked for as fit into a megabyte, and
   * no more than twice as many as before, since the next ones may be larger.
   */
  fits(bytes: number): void {
    this.fitting = Math.max(1, Math.min(2 * (this.fitting ?? Infinity), Math.floor(readBytes / Math.max(bytes, 1))))
  }

  /** What a script has taken. Entries that were deleted while they were pending are reported, and gone. */
  arrivePage([, entries, deleted, bornReply]: scripts.Page, freshAt: number): Effect.Effect<void> {
    const streamBorn = born.parse(bornReply)
    for (const [id, attempt, fields] of entries) {
      this.arrive(id, attempt, fields, freshAt, streamBorn)
    }
    return deleted.length === 0 ? Effect.void : this.reportDeleted(deleted)
  }

  /**
   * The arrived entries as deliveries. An undecodable one is dealt with, and takes nobody else along: if that fails, the
   * good ones come first, and the failure when more is asked for.
   */
  readonly deliver: Effect.Effect<Chunk.Chunk<Delivery<A>>, RedisError> = Effect.suspend(() => {
    const rest: Array<Arrival> = []
    for (const raw of this.arrived) {
      const decoded = raw.isText && !arrival.isForOthers(raw, this.holder.group)
        ? arrival.decodeNow(this.group.entry, raw)
        : undefined
      if (decoded?._tag === "Right") {
        this.makeReady(raw, decoded.right)
      } else {
        rest.push(raw)
      }
    }
    this.arrived = rest
    if (rest.length === 0) {
      return this.emit
    }
    // What is settled at the server must be known to be settled here.
    return Effect.matchEffect(this.finishing(Effect.forEach(rest, this.settle, { discard: true })), {
      onFailure: (error) => this.ready.length > 0 ? this.emit : Effect.fail(error),
      onSuccess: () => this.emit
    })
  })

  /** What a read of entries that may be pending for this very consumer brings, as deliveries. */
  claim(read: Effect.Effect<void, RedisError>): Effect.Effect<Chunk.Chunk<Delivery<A>>, RedisError> {
    return this.holder.inFlight.claiming.withPermits(1)(Effect.zipRight(read, this.deliver))
  }

  /**
   * For steps whose outcome must be known here, since the server has delivered or settled something. Whoever is
   * interrupted waits for them, but not for as long as a command may take. What arrives later is handed back then.
   */
  finishing<B, E>(step: Effect.Effect<B, E>): Effect.Effect<B, E> {
    const whole = Effect.ensuring(step, Effect.suspend(() => this.holder.closed ? this.handBack : Effect.void))
    return Effect.uninterruptibleMask((restore) =>
      Effect.flatMap(Effect.forkDaemon(whole), (fiber) =>
        Effect.onInterrupt(
          restore(Fiber.join(fiber)),
          () => Effect.timeoutOption(Effect.interruptible(Fiber.await(fiber)), finishTimeout)
        ))
    )
  }

  private readonly emit: Effect.Effect<Chunk.Chunk<Delivery<A>>> = Effect.sync(() => {
    const { ready } = this
    const { stream } = this.holder
    this.ready = []
    let first = 0
    for (const { count } of ready) {
      if (count === 1) {
        first++
      } else {
        Metrics.deliveries.unsafeUpdate(1, Metrics.attemptLabels(stream, count))
      }
    }
    if (first > 0) {
      Metrics.deliveries.unsafeUpdate(first, Metrics.attemptLabels(stream, 1))
    }
    return Chunk.unsafeFromArray(ready)
  })

  private makeReady(raw: Arrival, decoded: Decoded<A>): void {
    const held = this.holder.inFlight.get(raw.id)
    if (held !== undefined && held.state !== "fetched" && this.isAgain(held, raw)) {
      // Another read has brought it as well, and it has been begun since this one has arrived.
      return
    }
    const { count, fields, freshAt, id } = raw
    this.ready.push(new Lease(this.holder, id, count, decoded.value, decoded.headers, freshAt, raw.born, fields))
  }

  /** An entry that is for others, undecodable, or whose schema is asynchronous. */
  private readonly settle = (raw: Arrival): Effect.Effect<void, RedisError> => {
    const { group, inFlight, stream } = this.holder
    const settled = () => {
      this.arrived = this.arrived.filter((other) => other !== raw)
    }
    if (arrival.isForOthers(raw, group)) {
      return Effect.async((resume) =>
        inFlight.acks.ack([{ id: raw.id, fence: raw.count }], (error) => {
          if (error === undefined) settled()
          resume(error === undefined ? Effect.void : Effect.fail(error))
        })
      )
    }
    return Effect.matchEffect(arrival.decode(this.group.entry, raw), {
      onSuccess: (decoded) => {
        settled()
        this.makeReady(raw, decoded)
        return Effect.void
      },
      onFailure: (why) => {
        if (this.malformed === "dead-letter") {
          return Effect.map(
            Effect.catchIf(this.bury(raw, why), isOfItself, (error) =>
              Effect.logError(
                `Entry ${raw.id} of ${stream} cannot be decoded, cannot be moved to the dead-letter stream ` +
                  `(${error._tag}) and stays pending: ${why.withoutValues}`
              )),
            settled
          )
        }
        const error = new MalformedEntry({
          command: "StreamConsumer",
          detail: `the entry cannot be decoded: ${why.withoutValues}`,
          stream,
          id: raw.id
        })
        if (this.ready.length === 0) {
          // It stays pending and is not handed back: whoever took it would fail as well.
          settled()
        }
        return Effect.fail(error)
      }
    })
  }

  /**
   * Everything that was fetched and not begun is given back, for any consumer to take at once, and does not count as
   * delivered.
   */
  readonly handBack: Effect.Effect<void> = Effect.suspend(() => {
    this.holder.closed = true
    const entries: Array<Arrival | Lease<unknown>> = this.arrived
    this.arrived = []
    for (const lease of this.holder.inFlight.values()) {
      if (lease.holder === this.holder && lease.state === "fetched") {
        lease.leave("handed")
        entries.push(lease)
      }
    }
    return handBack(this.holder, entries)
  })

  private bury(raw: Arrival, why: Undecodable): Effect.Effect<void, RedisError> {
    const { deadLetterStream, labels, redis, stream } = this.holder
    const { count, id } = raw
    const args = deadEntry.deadLetterArgs(this.holder, {
      id,
      fence: count,
      attempts: count,
      born: born.ofEntry(id, raw.born)
    }, why.reason)
    return Effect.flatMap(redis.script(scripts.deadLetter, [stream, deadLetterStream], args), (outcome) => {
      switch (outcome) {
        case "dead":
          Metrics.messagesDeadLettered.unsafeUpdate(1, labels)
          return Effect.logWarning(
            `Entry ${id} of ${stream} cannot be decoded and is now in ${deadLetterStream}: ${why.withoutValues}`
          )
        case "deleted":
          return this.reportDeleted([id])
        default:
          return Effect.void
      }
    })
  }

  private reportDeleted(ids: ReadonlyArray<unknown>): Effect.Effect<void> {
    const { labels, stream } = this.holder
    Metrics.messagesDeleted.unsafeUpdate(ids.length, labels)
    return Effect.logWarning(`Entries of ${stream} were deleted while they were pending: ${ids.join(", ")}`)
  }
}

export const make = <A>(
  redis: Service,
  group: ConsumerGroup<A>,
  consumer: string,
  malformed: Malformed = "dead-letter"
): Effect.Effect<Fetched<A>, InvalidOptions> =>
  Effect.map(
    consumer === parked
      ? options.invalid("consumer", `must not be ${parked}`)
      : options.nonEmpty("consumer", consumer),
    () =>
      new Fetched(
        {
          redis,
          stream: group.stream,
          group: group.group,
          consumer,
          deadLetterStream: group.deadLetterStream,
          minIdle: toMillis(group.minIdle),
          recreated: group.whenLost !== "fail",
          closed: false,
          inFlight: redis.inFlight.of(group.stream, group.group, consumer),
          labels: Metrics.labels(group.stream)
        },
        group,
        malformed
      )
  )

// internal

const readBytes = 1_000_000

/** Bytes of an entry. */
const bytesOf = (fields: ReadonlyArray<Buffer>): number => {
  let bytes = 0
  for (const { length } of fields) bytes += length
  return bytes
}

/** What a stop takes at most while Redis is silent, beside the time to hand back. */
const finishTimeout = Duration.seconds(1)

/** Whether the failure is that of this one entry, or of the stream where the dead go, and does not stop the others. */
const isOfItself = (error: RedisError): boolean =>
  error._tag === "OutOfMemory" || (error._tag !== "NoGroup" && error._tag !== "LoginRefused" && !isTransient(error))
