/**
 * How a batch of the outbox gets to its streams: each message is added, or holds up its key, or its stream, or fails the relay.
 *
 * | Redis says | what is held up |
 * |---|---|
 * | that it has added the entry | nothing |
 * | that it refuses this command (`CommandFailed`), or it closes the connection each time that a long message comes | its key |
 * | that the stream cannot be written (`WrongType`, `NoPermission`) | its stream |
 * | anything else: it is away, full, not ready | all |
 *
 * @internal
 */
import type { MysqlError } from "@safesync/mysql/MysqlError"
import type { Stored } from "@safesync/mysql/Outbox"
import type * as Redis from "@safesync/redis-streams/Redis"
import { CommandFailed, isTransient } from "@safesync/redis-streams/RedisError"
import type { NoPermission, RedisError, WrongType } from "@safesync/redis-streams/RedisError"
import * as RedisStreamsMetrics from "@safesync/redis-streams/RedisStreamsMetrics"
import * as StreamEntry from "@safesync/redis-streams/StreamEntry"
import * as TraceContext from "@safesync/redis-streams/TraceContext"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as WorkerMetrics from "../WorkerMetrics.js"
import { laneOf, type Of, type RelayMemory } from "./relayMemory.js"

export class Batch {
  /** The failure that keeps the relay from going on. */
  failure: RedisError | undefined = undefined
  /** Long messages and those that follow one in its key. They are sent one by one, since Redis may close the connection at each. */
  private readonly long: Array<Stored> = []
  private readonly longLanes = new Set<string>()
  /** Keys of which nothing more is sent in this batch. */
  private readonly shut = new Set<string>()

  constructor(
    private readonly redis: Redis.Service,
    private readonly memory: RelayMemory,
    /** Streams that cannot be written. */
    private readonly refused: Map<string, RedisError | MysqlError>,
    private readonly bare: boolean
  ) {}

  /** Does not fail: `failure` says why it has not come to the end. */
  publish(messages: ReadonlyArray<Stored>): Effect.Effect<void> {
    const streams = new Map<string, Array<Stored>>()
    for (const message of messages) {
      const ofStream = streams.get(message.stream)
      if (ofStream === undefined) streams.set(message.stream, [message])
      else ofStream.push(message)
    }
    return Effect.zipRight(
      Effect.forEach(
        streams,
        ([stream, messages]) => this.spanned(stream, messages.length, this.short(messages)),
        { concurrency: "unbounded", discard: true }
      ),
      Effect.forEach(
        this.long,
        (message) =>
          this.failure !== undefined || this.isShut(message)
            ? Effect.void
            : this.spanned(message.stream, 1, this.aloneIfLong(message, this.isHeld(message) ? 1 : mostTimes)),
        { discard: true }
      )
    )
  }

  /** The message and all that follow it in its key wait for a minute. It is told once, and counted each time. */
  hold(message: Of, error: RedisError | MysqlError): Effect.Effect<void> {
    return Effect.suspend(() => {
      const { held } = this.memory
      const lane = laneOf(message)
      if (this.shut.has(lane)) return Effect.void
      this.shut.add(lane)
      const isKnown = held.get(lane)?.id === message.id
      held.set(lane, { ...message, error, until: performance.now() + againMillis })
      WorkerMetrics.outboxRefused.unsafeUpdate(1, RedisStreamsMetrics.labels(message.stream))
      if (isFull(this.memory, message.stream)) this.refused.set(message.stream, error)
      return isKnown ? Effect.void : Effect.annotateLogs(
        Effect.logError("A message of the outbox cannot be published and holds up its key", Cause.fail(error)),
        { stream: message.stream, row: message.id }
      )
    })
  }

  private isShut(message: Stored): boolean {
    return this.refused.has(message.stream) || this.shut.has(laneOf(message))
  }

  /** The messages of one stream but for the long ones, as many with a script as may be. */
  private short(messages: ReadonlyArray<Stored>): Effect.Effect<void, RedisError> {
    const chunks: Array<Array<Stored>> = []
    let length = Infinity
    for (const message of messages) {
      const lane = laneOf(message)
      const own = lengthOf(message)
      if (own > longest || this.longLanes.has(lane)) {
        this.longLanes.add(lane)
        this.long.push(message)
        continue
      }
      length += own
      if (length > longest) {
        chunks.push([])
        length = own
      }
      chunks[chunks.length - 1]!.push(message)
    }
    return Effect.forEach(
      chunks,
      (chunk) => Effect.suspend(() => this.chunk(chunk.filter((message) => !this.isShut(message)))),
      { discard: true }
    )
  }

  private chunk(messages: ReadonlyArray<Stored>): Effect.Effect<void, RedisError> {
    if (messages.length === 0) return Effect.void
    const lanes = new Map<string, string>()
    const args = messages.flatMap((message) => {
      const lane = laneOf(message)
      if (!lanes.has(lane)) lanes.set(lane, String(lanes.size))
      const fields = this.fields(message)
      return [lanes.get(lane)!, String(fields.length), ...fields]
    })
    const added = Effect.catchTag(
      this.redis.commands([["EVAL", addAll, "1", messages[0]!.stream, ...args]]),
      "CommandFailed",
      () => Effect.succeed([[]])
    )
    return Effect.flatMap(added, ([answers]) => {
      const ids = answers as ReadonlyArray<string>
      const isAdded = (_: Stored, at: number) => ids[at] !== undefined && ids[at] !== ""
      const left = messages.filter((message, at) => !isAdded(message, at))
      return Effect.zipRight(
        this.sent(left.length === 0 ? messages : messages.filter(isAdded)),
        // The answer to a command of its own says what is wrong with it.
        Effect.forEach(left, (message) => this.isShut(message) ? Effect.void : this.alone(message), { discard: true })
      )
    })
  }

  private alone(message: Stored): Effect.Effect<void, RedisError> {
    return this.added(message, this.redis.commands([["XADD", ...this.entry(message)]]))
  }

  /**
   * Redis closes the connection, often without a word, when a command is longer than it takes (`proto-max-bulk-len`,
   * `client-query-buffer-limit`). If it can be asked afterwards, and that again and again, it is the message's fault; a Redis that is
   * away cannot be asked. So that the process's other commands are not lost with it, each has a connection of its own.
   * `times`: how often the message may yet be sent.
   */
  private aloneIfLong(message: Stored, times: number): Effect.Effect<void, RedisError> {
    const sent = Effect.scoped(Effect.flatMap(
      this.redis.reserve(message.stream, "outbox-relay"),
      (own) => own.read("XADD", this.entry(message), 0, () => {})
    ))
    return Effect.catchIf(
      this.added(message, sent),
      isSilence,
      (error) =>
        Effect.flatMap(this.answers, (answers) =>
          !answers
            ? Effect.fail(error)
            : times > 1
            ? this.aloneIfLong(message, times - 1)
            : this.hold(message, new CommandFailed({ command: "XADD", code: "CLOSED", detail: tooLong, cause: error })))
    )
  }

  private added(message: Stored, sent: Effect.Effect<unknown, RedisError>): Effect.Effect<void, RedisError> {
    return Effect.matchEffect(sent, {
      onSuccess: () => this.sent([message]),
      onFailure: (error) => error._tag === "CommandFailed" ? this.hold(message, error) : Effect.fail(error)
    })
  }

  /** Whether Redis can be asked again within a while. */
  private get answers(): Effect.Effect<boolean> {
    return this.redis.command("PING").pipe(
      Effect.retry({ schedule: Schedule.spaced("50 millis"), while: isTransient }),
      Effect.timeoutOption(answerTimeout),
      Effect.match({ onFailure: (error) => !isTransient(error), onSuccess: Option.isSome })
    )
  }

  private sent(messages: ReadonlyArray<Stored>): Effect.Effect<void> {
    const [first] = messages
    if (first === undefined) return Effect.void
    const { held, published, told } = this.memory
    for (const { id, messageId } of messages) published.push({ id, messageId })
    WorkerMetrics.outboxPublished.unsafeUpdate(messages.length, RedisStreamsMetrics.labels(first.stream))
    const again = held.size === 0 ? [] : messages.filter((message) => this.isHeld(message))
    for (const message of again) held.delete(laneOf(message))
    return Effect.annotateLogs(
      Effect.zipRight(
        told.delete(first.stream) ? Effect.logInfo("Messages of this stream can be published again") : Effect.void,
        Effect.forEach(
          again,
          ({ id }) => Effect.annotateLogs(Effect.logInfo("A message that held up its key is published"), "row", id),
          { discard: true }
        )
      ),
      "stream",
      first.stream
    )
  }

  /** Whether the message has held up its key before. */
  private isHeld(message: Stored): boolean {
    return this.memory.held.get(laneOf(message))?.id === message.id
  }

  private entry(message: Stored): Array<string> {
    return [message.stream, "*", ...this.fields(message)]
  }

  private fields({ data, headers, key, messageId }: Stored): Array<string> {
    const pairs = this.bare ? [] : Object.entries({
      ...headers,
      ...(key === undefined ? {} : { key }),
      [StreamEntry.messageIdHeader]: messageId
    })
    return ["data", data, ...pairs.flat()]
  }

  /** A failure shuts its stream, or ends the batch. */
  private spanned(stream: string, count: number, effect: Effect.Effect<void, RedisError>): Effect.Effect<void> {
    return Effect.catchAll(
      TraceContext.useSpan(
        `send ${stream}`,
        () => ({ kind: "producer", attributes: TraceContext.attributes(stream, "send", { count }) }),
        () => effect
      ),
      (error) => {
        if (!isOfStream(error)) {
          this.failure ??= error
          return Effect.void
        }
        this.refused.set(stream, error)
        if (this.memory.told.has(stream)) return Effect.void
        this.memory.told.add(stream)
        return Effect.annotateLogs(
          Effect.logError("Messages of the outbox cannot be published to this stream", Cause.fail(error)),
          "stream",
          stream
        )
      }
    )
  }
}

/** Whether so many messages of the stream hold up their keys that the stream is left alone. */
export const isFull = ({ held }: RelayMemory, stream: string): boolean => {
  if (held.size < mostHeld) return false
  let count = 0
  for (const message of held.values()) if (message.stream === stream) count++
  return count >= mostHeld
}

// internal

const mostHeld = 100

/** After how long a message is tried again that holds up its key. */
const againMillis = 60_000

/** How often a message is sent by which the connection is lost. */
const mostTimes = 3

const tooLong =
  "the connection is lost whenever the message is sent: Redis, or what is before it, takes none of its length"

/** How long Redis may take to be there again. */
const answerTimeout = "5 seconds"

/** No command is longer than the least that Redis can be told to take, 1 MB: in characters, of three bytes each. */
const longest = 300_000

/** A script passes on less than 4,000 fields. */
const lengthOf = ({ data, headers }: Stored): number => {
  let length = data.length + 1_000
  for (const name in headers) length += 100 + name.length + headers[name]!.length
  return length
}

const isOfStream = (error: RedisError): error is WrongType | NoPermission =>
  error._tag === "WrongType" || error._tag === "NoPermission"

const isSilence = (error: RedisError): boolean =>
  error._tag === "RedisTimeout" || error._tag === "RedisConnectionLost" && error.outcome === "unknown"

/**
 * Adds the entries in order; where one is refused, what has the same lane is passed over.
 *
 * KEYS stream; ARGV for each entry its lane, the number of its fields and values, then those. Answers for each its id, or nothing.
 */
const addAll = `
local function add(first, last)
  return redis.call('XADD', KEYS[1], '*', unpack(ARGV, first, last))
end
local at, answers, shut = 1, {}, {}
while at <= #ARGV do
  local lane, count = ARGV[at], tonumber(ARGV[at + 1])
  local done, id = false, nil
  if not shut[lane] then done, id = pcall(add, at + 2, at + 1 + count) end
  shut[lane] = not done
  answers[#answers + 1] = done and id or ''
  at = at + 2 + count
end
return answers`
