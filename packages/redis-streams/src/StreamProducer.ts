/**
 * Sending entries to a stream.
 *
 * @since 0.1.0
 */
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type { ParseError } from "effect/ParseResult"
import type * as Schema from "effect/Schema"
import * as options from "./internal/options.js"
import * as scripts from "./internal/scripts.js"
import { encode, sending, sent } from "./internal/sending.js"
import { beside } from "./internal/slot.js"
import { addTrimmed, trimAcknowledged, trimAfterwards, trimming } from "./internal/trimming.js"
import * as Redis from "./Redis.js"
import { type InvalidOptions, type RedisError, ServerTooOld } from "./RedisError.js"
import * as Metrics from "./RedisStreamsMetrics.js"
import * as StreamEntry from "./StreamEntry.js"

/**
 * How a stream is kept from growing without end: each `send` drops the oldest entries beyond so many (`maxLength`), or
 * older than so long by this process's clock (`maxAge`; a bare number is milliseconds). Unless `exact`, they are dropped when a whole
 * block of them can go, which costs nearly nothing.
 *
 * Entries that a consumer group of the stream has not acked yet are kept, whatever their number and age. Before Redis 8.2 a
 * script sees to it, and keeps all that comes after the oldest of them as well. `unacked: "drop"` bounds the stream by all
 * means: a consumer that is behind by more than this loses entries, and what was pending is reported then (see the metric
 * `messages_deleted`); with it `maxAge` needs Redis 6.2.
 *
 * @category models
 * @since 0.1.0
 */
export type Trim =
  & ({ readonly maxLength: number } | { readonly maxAge: Duration.DurationInput })
  & { readonly exact?: boolean | undefined; readonly unacked?: "keep" | "drop" | undefined }

/**
 * A stream to which values of type `A` are sent. It is a description: nothing is sent until it is used. Who may send a type may send
 * each narrower one, so a function that sends to several takes producers of the narrowest.
 *
 * @category models
 * @since 0.1.0
 */
export interface StreamProducer<in A> {
  readonly stream: string
  readonly entry: StreamEntry.Encoder<A>
  readonly trim: Trim | undefined
  readonly traceContext: boolean
}

/**
 * Describes a stream to send to. Without `trim` it keeps all entries. `InvalidOptions`: an empty name, or a bound that is none.
 *
 * With `traceContext` each entry has the header `traceparent` if it is sent inside of a span and spans are collected, so
 * that whoever handles it can go on with the trace. Not by default: consumers of COTI SafeSync for Python refuse an entry
 * that has headers.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = <A, I>(settings: {
  readonly stream: string
  readonly schema: Schema.Schema<A, I>
  readonly trim?: Trim | undefined
  readonly traceContext?: boolean | undefined
}): Effect.Effect<StreamProducer<A>, InvalidOptions> =>
  Effect.gen(function*() {
    const { trim } = settings
    if (trim !== undefined) {
      yield* "maxLength" in trim
        ? options.count("trim.maxLength", trim.maxLength)
        : options.positive("trim.maxAge", trim.maxAge)
    }
    return {
      stream: yield* options.nonEmpty("stream", settings.stream),
      entry: StreamEntry.make(settings.schema),
      trim,
      traceContext: settings.traceContext === true
    }
  })

/**
 * Sends one value and answers with its entry's id. `RedisConnectionLost` with the outcome `"unknown"` and
 * `RedisTimeout` mean that the entry may be there although its id never came back; it is never sent twice here. `OutOfMemory` and
 * `ParseError` (the value does not fit the schema, a header is called `data`, or there are more than 3,900) mean that nothing was
 * written.
 *
 * @example
 * import * as StreamProducer from "@safesync/redis-streams/StreamProducer"
 * import * as Effect from "effect/Effect"
 * import * as Schema from "effect/Schema"
 *
 * const Payment = Schema.Struct({ account: Schema.Int, pence: Schema.Int })
 *
 * const pay = Effect.flatMap(
 *   StreamProducer.make({ stream: "payments", schema: Payment, trim: { maxAge: "7 days" } }),
 *   (payments) => StreamProducer.send(payments, { account: 7, pence: 1299 })
 * )
 *
 * @category operations
 * @since 0.1.0
 */
export const send = <A>(
  self: StreamProducer<A>,
  value: NoInfer<A>,
  settings?: { readonly headers?: StreamEntry.Headers | undefined }
): Effect.Effect<string, RedisError | ParseError, Redis.Redis> =>
  sending(
    self,
    (span) =>
      Effect.flatMap(Redis.Redis, (redis) =>
        Effect.flatMap(encode(self, value, settings?.headers), (fields) =>
          Effect.flatMap(trimming(redis, self.trim), (trim) =>
            Effect.map(addTrimmed(redis, self.stream, trim, fields), (id) =>
              sent(self, span, id)))))
  )

/**
 * What `sendOnce` answers: the entry's id, and whether this call has made the entry or an earlier one had.
 *
 * @category models
 * @since 0.1.0
 */
export interface Sent {
  readonly id: string
  readonly isNew: boolean
}

/**
 * Sends a value unless that has been done under the same `key` before: then nothing is written, and the answer is the entry that is
 * there. So it may be repeated when nobody knows whether it was carried out, by `Effect.retry` or by another process.
 *
 * The server remembers a key for `remember` after its entry was made, which a repetition does not lengthen, in a key of its own beside
 * the stream (`{stream}:sent:key`), written in one atomic step with the entry and replicated with it. Afterwards the same key makes a
 * second entry; and sooner where the server evicts keys: a `maxmemory-policy` other than `noeviction` takes those that expire first
 * (`volatile-…`) or any (`allkeys-…`). It works on every server; `sendIdempotent` leaves the remembering to those that can do it.
 *
 * A key says what the message is: if another value is sent under it, the first stays. What holds beyond `remember`, and for what
 * reaches the stream in other ways, is for the consumer's inbox.
 *
 * @example
 * import { isTransient } from "@safesync/redis-streams/RedisError"
 * import * as StreamProducer from "@safesync/redis-streams/StreamProducer"
 * import * as Effect from "effect/Effect"
 * import * as Schedule from "effect/Schedule"
 *
 * const paid = (producer: StreamProducer.StreamProducer<number>, invoice: string, pence: number) =>
 *   StreamProducer.sendOnce(producer, pence, { key: invoice, remember: "1 day" }).pipe(
 *     Effect.retry({
 *       schedule: Schedule.exponential("100 millis").pipe(Schedule.intersect(Schedule.recurs(8))),
 *       while: isTransient
 *     })
 *   )
 *
 * @category operations
 * @since 0.1.0
 */
export const sendOnce = <A>(
  self: StreamProducer<A>,
  value: NoInfer<A>,
  settings: {
    readonly key: string
    readonly remember: Duration.DurationInput
    readonly headers?: StreamEntry.Headers | undefined
  }
): Effect.Effect<Sent, RedisError | ParseError | InvalidOptions, Redis.Redis> =>
  sending(self, (span) =>
    Effect.gen(function*() {
      const redis = yield* Redis.Redis
      const remember = yield* options.millis("remember", settings.remember)
      const key = beside(self.stream, `sent:${yield* options.nonEmpty("key", settings.key)}`)
      const fields = yield* encode(self, value, settings.headers)
      const trim = yield* trimming(redis, self.trim)
      const args = [String(remember), ...trim.options, "*", ...fields]
      const [id, known] = (yield* redis.script(scripts.sendOnce, [self.stream, key], args)) as [string, number]
      const isNew = known === 0
      if (isNew) {
        sent(self, span, id)
        yield* trimAfterwards(redis, self.stream, trim, 1)
      } else span?.attribute("messaging.message.id", id)
      return { id, isNew }
    }))

/**
 * Sends a value by `XADD … IDMP`: the first entry that a producer sends under `idempotentId` stays the only one, and its id is the
 * answer to every repetition, as long as the server remembers it. It costs no key and no script, and forgets sooner than
 * `sendOnce`: all but the newest ids of each producer (100, at most 10,000), and those that are older than a while (100
 * seconds, at most a day). `XCFGSET` sets both for a stream, and forgets all. What is in the append-only file outlives a restart.
 *
 * So it is for a producer that repeats at once what it has no answer to: `producerId` is that of one process, which has no more on
 * its way than the server remembers. Another value under the same id is not sent, and nothing tells. Fails with `ServerTooOld` where
 * the server cannot do it (before Redis 8.6, Valkey), and with `InvalidOptions` for an empty id; then nothing was sent.
 *
 * @example
 * import * as StreamProducer from "@safesync/redis-streams/StreamProducer"
 * import * as Effect from "effect/Effect"
 *
 * const paid = (producer: StreamProducer.StreamProducer<number>, invoice: string, pence: number) =>
 *   StreamProducer.sendIdempotent(producer, pence, { producerId: "till-7", idempotentId: invoice }).pipe(
 *     Effect.retry({ times: 1, while: (error) => error._tag === "RedisConnectionLost" || error._tag === "RedisTimeout" })
 *   )
 *
 * @category operations
 * @since 0.1.0
 */
export const sendIdempotent = <A>(
  self: StreamProducer<A>,
  value: NoInfer<A>,
  settings: {
    readonly producerId: string
    readonly idempotentId: string
    readonly headers?: StreamEntry.Headers | undefined
  }
): Effect.Effect<string, RedisError | ParseError | InvalidOptions, Redis.Redis> =>
  sending(self, (span) =>
    Effect.gen(function*() {
      const redis = yield* Redis.Redis
      const producerId = yield* options.nonEmpty("producerId", settings.producerId)
      const idempotentId = yield* options.nonEmpty("idempotentId", settings.idempotentId)
      const fields = yield* encode(self, value, settings.headers)
      if (!(yield* redis.capabilities).has("idempotent-add")) {
        return yield* new ServerTooOld({
          command: "XADD",
          detail: "the server does not know its option IDMP",
          needs: "Redis 8.6 or newer"
        })
      }
      const trim = yield* trimming(redis, self.trim)
      const id = (yield* redis.command(
        "XADD",
        ...[self.stream, "IDMP", producerId, idempotentId, ...trim.options, "*", ...fields]
      )) as string
      sent(self, span, id)
      yield* trimAfterwards(redis, self.stream, trim, 1)
      return id
    }))

/**
 * Sends many values in order and answers with their ids in order. They go out in pipelined batches, a bounded number
 * at a time, so `values` may be a long generator. It fails with the first failure; what was sent before it stays sent, and
 * so may the rest of its batch, of at most 256 values and some 4 MB: how far it got is not told.
 *
 * @category operations
 * @since 0.1.0
 */
export const sendAll = <A>(
  self: StreamProducer<A>,
  values: Iterable<NoInfer<A>>
): Effect.Effect<ReadonlyArray<string>, RedisError | ParseError, Redis.Redis> =>
  sending(self, (span) =>
    Effect.gen(function*() {
      const redis = yield* Redis.Redis
      const labels = Metrics.labels(self.stream)
      const ids: Array<string> = []
      let trim = yield* trimming(redis, self.trim)
      let batch: Array<Redis.Command> = []
      let length = 0
      const flush = Effect.suspend(() => {
        const commands = batch
        batch = []
        length = 0
        return Effect.flatMap(redis.commands(commands), (replies) => {
          Metrics.messagesSent.unsafeUpdate(replies.length, labels)
          for (const id of replies) {
            ids.push(id as string)
          }
          return trimAfterwards(redis, self.stream, trim, replies.length)
        })
      })
      for (const value of values) {
        const fields = yield* encode(self, value, undefined)
        batch.push(["XADD", self.stream, ...trim.options, "*", ...fields])
        for (const { length: more } of fields) length += more
        if (batch.length === batchSize || length >= batchLength) {
          yield* flush
          trim = yield* trimming(redis, self.trim)
        }
      }
      if (batch.length > 0) {
        yield* flush
      }
      span?.attribute("messaging.batch.message_count", ids.length)
      return ids
    }))

/**
 * Drops the entries that every consumer group of the stream has acked, and nothing else; without a group it drops
 * nothing. Answers how many. It works in bounded steps, and leaves a few: the newest acked one, and on servers since 6.2
 * those that share a block with one that is kept. After a failure what earlier steps have dropped is gone; it may be repeated.
 *
 * @category operations
 * @since 0.1.0
 */
export const trimAcked = <A>(self: StreamProducer<A>): Effect.Effect<number, RedisError, Redis.Redis> =>
  Effect.flatMap(Redis.Redis, (redis) => trimAcknowledged(redis, self.stream))

// internal

/** How many entries are on their way at a time: enough to hide the round trip, little enough to hold in memory. */
const batchSize = 256

/** How long they may be together. */
const batchLength = 4_000_000
