/**
 * What one stream of deliveries has fetched. Whatever arrives is remembered at once, also when the fiber that asked for
 * it is being interrupted, and what was not begun when the stream closes is handed back.
 */
import * as Chunk from "effect/Chunk"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as ParseResult from "effect/ParseResult"
import { isUtf8 } from "node:buffer"
import type { ConsumerGroup } from "../ConsumerGroup.js"
import type { Delivery } from "../Delivery.js"
import type { Service } from "../Redis.js"
import { type InvalidOptions, MalformedEntry, type RedisError } from "../RedisError.js"
import * as Metrics from "../RedisStreamsMetrics.js"
import { type Decoded, type Fields, forGroupHeader } from "../StreamEntry.js"
import * as deadEntry from "./deadEntry.js"
import { type Holder, Lease, parked } from "./lease.js"
import * as options from "./options.js"
import * as scripts from "./scripts.js"

export type Malformed = "dead-letter" | "fail"

type Entry = readonly [id: Buffer, fields: ReadonlyArray<Buffer>]

interface Raw {
  readonly id: string
  readonly attempt: number
  readonly fields: Fields
  /** Whether all of it is UTF-8. If not, `fields` are not what the entry holds. */
  readonly isText: boolean
}

export class Session<in out A> {
  private arrived: Array<Raw> = []
  private ready: Array<Delivery<A>> = []
  private readonly unbegun = new Set<Lease<unknown>>()

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

  private arrive(bytes: Buffer, attempt: number, fields: ReadonlyArray<Buffer>): void {
    const id = bytes.toString()
    const held = this.holder.inFlight.get(id)
    if (held !== undefined) {
      // The server has counted a delivery of what this process holds already.
      held.fence = attempt
      return
    }
    let isText = true
    this.arrived.push({
      id,
      attempt,
      fields: fields.map((field) => {
        const text = field.toString()
        // What is no UTF-8 becomes U+FFFD, silently; but U+FFFD may also have been sent.
        isText &&= !text.includes("\uFFFD") || isUtf8(field)
        return text
      }),
      isText
    })
  }

  /** The reply of XREADGROUP for one stream, strings as bytes. */
  readonly arriveNew = (reply: unknown): void => {
    const stream = (reply as ReadonlyArray<readonly [Buffer, ReadonlyArray<Entry>]> | null)?.[0]
    for (const [id, fields] of stream?.[1] ?? []) {
      this.arrive(id, 1, fields)
    }
  }

  /** What a script has taken. Entries that were deleted while they were pending are reported, and gone. */
  readonly arrivePage = ([, entries, deleted]: scripts.Page): Effect.Effect<void> => {
    const { labels, stream } = this.holder
    for (const [id, attempt, fields] of entries) {
      this.arrive(id, attempt, fields)
    }
    if (entries.length > 0) {
      Metrics.messagesClaimed.unsafeUpdate(entries.length, labels)
    }
    if (deleted.length === 0) {
      return Effect.void
    }
    Metrics.messagesDeleted.unsafeUpdate(deleted.length, labels)
    return Effect.logWarning(`Entries of ${stream} were deleted while they were pending: ${deleted.join(", ")}`)
  }

  /**
   * The arrived entries as deliveries. An undecodable one is dealt with, and takes nobody else along: if that fails, the
   * good ones come first, and the failure when more is asked for.
   */
  readonly deliver: Effect.Effect<Chunk.Chunk<Delivery<A>>, RedisError> = Effect.suspend(() => {
    const now = performance.now()
    const rest: Array<Raw> = []
    for (const raw of this.arrived) {
      const decoded = raw.isText && !this.isForOthers(raw)
        ? ParseResult.eitherOrUndefined(this.group.entry.decode(raw.fields))
        : undefined
      if (decoded?._tag === "Right") {
        this.makeReady(raw, decoded.right, now)
      } else {
        rest.push(raw)
      }
    }
    this.arrived = rest
    if (rest.length === 0) {
      return this.emit
    }
    // What is settled at the server must be known to be settled here.
    return Effect.uninterruptible(Effect.matchEffect(Effect.forEach(rest, this.settle, { discard: true }), {
      onFailure: (error) => this.ready.length > 0 ? this.emit : Effect.fail(error),
      onSuccess: () => this.emit
    }))
  })

  private readonly emit: Effect.Effect<Chunk.Chunk<Delivery<A>>> = Effect.sync(() => {
    const ready = this.ready
    this.ready = []
    return Chunk.unsafeFromArray(ready)
  })

  private makeReady(raw: Raw, decoded: Decoded<A>, now: number): void {
    Metrics.deliveries.unsafeUpdate(1, Metrics.attemptLabels(this.holder.stream, raw.attempt))
    this.ready.push(new Lease(this.holder, raw.id, raw.attempt, decoded.value, decoded.headers, this.unbegun, now))
  }

  private isForOthers({ fields }: Raw): boolean {
    for (let i = 2; i + 1 < fields.length; i += 2) {
      if (fields[i] === forGroupHeader) {
        return fields[i + 1] !== this.holder.group
      }
    }
    return false
  }

  /** An entry that is for others, undecodable, or whose schema is asynchronous. */
  private readonly settle = (raw: Raw): Effect.Effect<void, RedisError> => {
    const { group, redis, stream } = this.holder
    const settled = () => {
      this.arrived = this.arrived.filter((other) => other !== raw)
    }
    if (raw.isText && this.isForOthers(raw)) {
      return Effect.map(redis.acks.ack(stream, group, raw.id), settled)
    }
    const decoding = raw.isText
      ? Effect.mapError(this.group.entry.decode(raw.fields), (error) => ({
        reason: error.message,
        withoutValues: withoutValues(error)
      }))
      : Effect.fail({ reason: "it is not UTF-8", withoutValues: "it is not UTF-8" })
    return Effect.matchEffect(decoding, {
      onSuccess: (decoded) => {
        settled()
        this.makeReady(raw, decoded, performance.now())
        return Effect.void
      },
      onFailure: (why) => {
        if (this.malformed === "dead-letter") {
          return Effect.map(this.bury(raw, why), settled)
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

  /** Everything that was fetched and not begun is made old enough for any consumer to take it at once. */
  readonly handBack: Effect.Effect<void> = Effect.suspend(() => {
    const entries: Array<{ readonly id: string; readonly attempt: number }> = this.arrived
    this.arrived = []
    for (const lease of this.unbegun) {
      entries.push({ id: lease.id, attempt: lease.fence })
      lease.leave("handed")
    }
    if (entries.length === 0) {
      return Effect.void
    }
    const { consumer, group, labels, minIdle, redis, stream } = this.holder
    const pages = Chunk.chunksOf(Chunk.unsafeFromArray(entries), scripts.pageSize)
    return Effect.forEach(pages, (entries) =>
      redis.script(scripts.hold, [stream], [
        group,
        consumer,
        consumer,
        String(minIdle),
        ...Chunk.toReadonlyArray(entries).flatMap((entry) => [entry.id, String(entry.attempt)])
      ]), { discard: true }).pipe(
        Effect.interruptible,
        Effect.timeout(handBackTimeout),
        Effect.matchEffect({
          onFailure: (error) =>
            Effect.logWarning(
              `${entries.length} entries of ${stream} could not be handed back and stay pending for ${consumer}`,
              error._tag
            ),
          onSuccess: () =>
            Effect.sync(() => {
              Metrics.messagesHandedBack.unsafeUpdate(entries.length, labels)
            })
        })
      )
  })

  private bury(
    raw: Raw,
    why: { readonly reason: string; readonly withoutValues: string }
  ): Effect.Effect<void, RedisError> {
    const { deadLetterStream, labels, redis, stream } = this.holder
    const args = deadEntry.deadLetterArgs(this.holder, raw, why.reason)
    return Effect.flatMap(redis.script(scripts.deadLetter, [stream, deadLetterStream], args), (outcome) => {
      if (outcome !== "dead") {
        return Effect.void
      }
      Metrics.messagesDeadLettered.unsafeUpdate(1, labels)
      return Effect.logWarning(
        `Entry ${raw.id} of ${stream} cannot be decoded and is now in ${deadLetterStream}: ${why.withoutValues}`
      )
    })
  }
}

export const make = <A>(
  redis: Service,
  group: ConsumerGroup<A>,
  consumer: string,
  malformed: Malformed = "dead-letter"
): Effect.Effect<Session<A>, InvalidOptions> =>
  Effect.map(
    consumer === parked
      ? options.invalid("consumer", `must not be ${parked}`)
      : options.nonEmpty("consumer", consumer),
    () =>
      new Session(
        {
          redis,
          stream: group.stream,
          group: group.group,
          consumer,
          deadLetterStream: group.deadLetterStream,
          minIdle: Math.ceil(Duration.toMillis(group.minIdle)),
          running: new Set(),
          renewing: false,
          inFlight: redis.inFlight.of(group.stream, group.group, consumer),
          labels: Metrics.labels(group.stream)
        },
        group,
        malformed
      )
  )

// internal

const handBackTimeout = Duration.seconds(2)

/** Where it does not fit, without what was there instead. */
const withoutValues = (error: ParseResult.ParseError): string =>
  ParseResult.ArrayFormatter.formatErrorSync(error)
    .map((issue) => `${issue._tag} at ${issue.path.length === 0 ? "its root" : issue.path.map(String).join(".")}`)
    .join(", ")
