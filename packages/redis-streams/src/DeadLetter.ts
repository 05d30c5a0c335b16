/**
 * What a group could not decode or has given up: looking at it, sending it again, and throwing it away.
 *
 * A dead entry has its own fields as they were, and beside them where it came from, how often it was tried and why it
 * died. Groups of one stream share its dead-letter stream by default, and those of several streams may be told to
 * (`ConsumerGroup.make`); each group sees, sends and throws away its own entries only: those of its stream and its name.
 *
 * @since 0.1.0
 */
import * as Chunk from "effect/Chunk"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as ParseResult from "effect/ParseResult"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { isUtf8 } from "node:buffer"
import type { ConsumerGroup } from "./ConsumerGroup.js"
import * as deadEntry from "./internal/deadEntry.js"
import * as options from "./internal/options.js"
import * as scripts from "./internal/scripts.js"
import * as upkeep from "./internal/upkeep.js"
import * as Redis from "./Redis.js"
import type { InvalidOptions, RedisError } from "./RedisError.js"
import * as StreamEntry from "./StreamEntry.js"

/**
 * A dead entry.
 *
 * @category models
 * @since 0.1.0
 */
export interface DeadLetter {
  /** Its id in the dead-letter stream. The first part is the time of its death in milliseconds, by the server's clock. */
  readonly id: string
  /** The stream from which it came. */
  readonly stream: string
  /** Its id there. Of an entry that was replayed and died again it is the replay's; its header `message-id` has the first one. */
  readonly originalId: string
  readonly group: string
  /** Who gave it up. */
  readonly consumer: string
  /** How many times it had been delivered. */
  readonly attempts: number
  readonly reason: string
  /** The entry as it was: name, value, name, value… What is no UTF-8 is not shown as it is. */
  readonly fields: StreamEntry.Fields
  /** The same byte for byte. */
  readonly bytes: ReadonlyArray<Uint8Array>
}

/**
 * The group's dead entries, oldest first, as they are when it begins: it ends with the one that was the last then, whatever dies
 * meanwhile, and what is sent again may. Nothing is changed. They come a page at a time, of at most 500 entries and some 256 kB. Where
 * there is none, and the server does not know the group either, it fails with `NoGroup`: of a name that is misspelt it must not seem
 * that nothing died.
 *
 * @category constructors
 * @since 0.1.0
 */
export const stream = <A>(group: ConsumerGroup<A>): Stream.Stream<DeadLetter, RedisError, Redis.Redis> =>
  Stream.unwrap(Effect.map(Redis.Redis, (redis) => {
    let isEmpty = true
    const all = Stream.paginateChunkEffect(["-", ""] as readonly [from: string, to: string], ([from, to]) =>
      Effect.map(
        redis.take(upkeep.letters, [group.deadLetterStream], [
          group.stream,
          group.group,
          from,
          to,
          String(scripts.pageSize)
        ]),
        (reply) => {
          const [next, last, page] = reply as readonly [Buffer, Buffer, ReadonlyArray<readonly [Buffer, Array<Buffer>]>]
          const letters = page.flatMap(([id, fields]) => Option.toArray(parse(id.toString(), fields)))
          if (letters.length > 0) isEmpty = false
          return [
            Chunk.unsafeFromArray(letters),
            next.length === 0 ? Option.none() : Option.some([next.toString(), last.toString()] as const)
          ] as const
        }
      ))
    const known = Effect.suspend(() => isEmpty ? redis.command("XPENDING", group.stream, group.group) : Effect.void)
    return Stream.concat(all, Stream.execute(known))
  }))

/**
 * What the entry holds, by the group's schema as it is today. It fails as long as a consumer would find the entry malformed: what is
 * no UTF-8 always is.
 *
 * @category operations
 * @since 0.1.0
 */
export const decode = <A>(
  group: ConsumerGroup<A>,
  letter: DeadLetter
): Effect.Effect<StreamEntry.Decoded<A>, ParseResult.ParseError> =>
  letter.bytes.every((bytes) => isUtf8(bytes)) ? group.entry.decode(letter.fields) : notUtf8

/**
 * Sends the entry to its stream again and removes it from the dead-letter stream, in one atomic step. It gets a new id;
 * the header `message-id` keeps the old one, so that an inbox still knows it (`Delivery.messageId`), the header `message-born` what
 * belongs to that id if the stream had an identity then (`Delivery.born`), and the header `for-group` keeps it from the other groups of the stream. The new id, or none if the entry is not there any more, or is not
 * the group's: the dead letter of another stream, or of a group of another name, is left as it is.
 *
 * Without a schema that takes it, it dies again: mend that first. In a cluster both streams must be of one slot (`CommandFailed`,
 * `CROSSSLOT`).
 *
 * With `dryRun` nothing is changed, and the answer is what would be sent, name, value, name, value…; `decode` tells whether the
 * group's consumers would take it.
 *
 * @example
 * import type * as ConsumerGroup from "@safesync/redis-streams/ConsumerGroup"
 * import * as DeadLetter from "@safesync/redis-streams/DeadLetter"
 * import * as Effect from "effect/Effect"
 * import * as Either from "effect/Either"
 * import * as Stream from "effect/Stream"
 *
 * // those that today's schema takes, whatever they died of
 * const replayAll = <A>(group: ConsumerGroup.ConsumerGroup<A>) =>
 *   DeadLetter.stream(group).pipe(
 *     Stream.filterEffect((letter) => Effect.map(Effect.either(DeadLetter.decode(group, letter)), Either.isRight)),
 *     Stream.runForEach((letter) => DeadLetter.replay(group, letter))
 *   )
 *
 * @category operations
 * @since 0.1.0
 */
export const replay: {
  <A>(
    group: ConsumerGroup<A>,
    letter: DeadLetter,
    settings?: { readonly dryRun?: false | undefined }
  ): Effect.Effect<Option.Option<string>, RedisError, Redis.Redis>
  <A>(
    group: ConsumerGroup<A>,
    letter: DeadLetter,
    settings: { readonly dryRun: true }
  ): Effect.Effect<Option.Option<StreamEntry.Fields>, RedisError, Redis.Redis>
} = <A>(
  group: ConsumerGroup<A>,
  letter: DeadLetter,
  settings: { readonly dryRun?: boolean | undefined } = {}
): Effect.Effect<Option.Option<any>, RedisError, Redis.Redis> =>
  Effect.flatMap(Redis.Redis, (redis) =>
    Effect.map(
      redis.script(upkeep.replay, [group.deadLetterStream, group.stream], [
        letter.id,
        StreamEntry.messageIdHeader,
        StreamEntry.forGroupHeader,
        letter.originalId,
        group.stream,
        group.group,
        StreamEntry.messageBornHeader,
        settings.dryRun === true ? "dry" : ""
      ]),
      (sent) => Option.fromNullable(sent)
    ))

/**
 * Throws one dead entry away. `false`: it was not there any more, which after a failure (`RedisConnectionLost`, `RedisTimeout`) may be
 * the work of the first try: it may be repeated. Or it is not the group's, and stays.
 *
 * @category operations
 * @since 0.1.0
 */
export const remove = <A>(
  group: ConsumerGroup<A>,
  letter: DeadLetter
): Effect.Effect<boolean, RedisError, Redis.Redis> =>
  Effect.flatMap(
    Redis.Redis,
    (redis) =>
      Effect.map(
        redis.script(upkeep.removeLetter, [group.deadLetterStream], [
          letter.id,
          group.stream,
          group.group,
          letter.originalId
        ]),
        (removed) => removed === 1
      )
  )

/**
 * Throws away the group's entries that have been dead for longer than `olderThan`, by the server's clock, and answers how
 * many there were; what grows as old meanwhile stays. It works in steps of at most 500 entries and some 256 kB: after a failure what earlier steps have thrown away is gone. `olderThan: 0` throws
 * all of them away.
 *
 * @category operations
 * @since 0.1.0
 */
export const purge = <A>(
  group: ConsumerGroup<A>,
  settings: { readonly olderThan: Duration.DurationInput }
): Effect.Effect<number, RedisError | InvalidOptions, Redis.Redis> =>
  Effect.gen(function*() {
    const redis = yield* Redis.Redis
    const age = String(yield* options.age("olderThan", settings.olderThan))
    const from = (start: string, end: string, removed: number): Effect.Effect<number, RedisError> =>
      Effect.flatMap(
        redis.script(upkeep.purge, [group.deadLetterStream], [
          group.stream,
          group.group,
          age,
          start,
          end,
          String(scripts.pageSize)
        ]),
        (reply) => {
          const [next, last, count] = reply as [string, string, number]
          return next === "" ? Effect.succeed(removed + count) : from(next, last, removed + count)
        }
      )
    return yield* from("-", "", 0)
  })

// internal

const notUtf8 = Effect.fail(
  ParseResult.parseError(new ParseResult.Type(Schema.String.ast, undefined, "it is not UTF-8"))
)

/** The fields that were added come last, so an entry's own fields may have any name. */
const parse = (id: string, bytes: ReadonlyArray<Buffer>): Option.Option<DeadLetter> => {
  const fields = bytes.map((field) => field.toString())
  const count = deadEntry.count + (fields.at(-2) === deadEntry.born ? 1 : 0)
  const own = Math.max(fields.length - 2 * count, 0)
  const added = new Map<string, string>()
  for (let i = own; i + 1 < fields.length; i += 2) {
    added.set(fields[i]!, fields[i + 1]!)
  }
  const field = (name: keyof typeof deadEntry.fields) => added.get(deadEntry.fields[name])
  const stream = field("stream")
  const originalId = field("id")
  const group = field("group")
  return stream === undefined || originalId === undefined || group === undefined ? Option.none() : Option.some({
    id,
    stream,
    originalId,
    group,
    consumer: field("consumer") ?? "",
    attempts: Number(field("attempts")),
    reason: field("reason") ?? "",
    fields: fields.slice(0, own),
    bytes: bytes.slice(0, own)
  })
}
