/**
 * Ways to add many entries to a stream.
 *
 * @since 0.1.0
 */
import * as Redis from "@safesync/redis-streams/Redis"
import * as StreamProducer from "@safesync/redis-streams/StreamProducer"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import type { Redis as Client } from "ioredis"
import type { Contender, Job, Running } from "../Benchmark.js"
import * as Driver from "../Driver.js"
import { make, Message } from "../Message.js"

/** As `sendAll` has it. */
const batchSize = 256

/**
 * @since 0.1.0
 * @category contenders
 */
export const handWritten: Omit<Contender, "name"> = {
  batch: batchSize,
  start: (place) =>
    Effect.map(Driver.redis(place), (client) =>
      running(client, (name, messages) =>
        Driver.promise(async () => {
          for (let at = 0; at < messages.length; at += batchSize) {
            const pipeline = client.pipeline()
            for (const message of messages.slice(at, at + batchSize)) {
              pipeline.xadd(name, "*", "data", JSON.stringify(message))
            }
            for (const [error] of (await pipeline.exec())!) {
              if (error !== null) throw error
            }
          }
        })))
}

/**
 * @since 0.1.0
 * @category contenders
 */
export const sendAll: Omit<Contender, "name"> = {
  batch: batchSize,
  start: (place) =>
    Effect.gen(function*() {
      const client = yield* Driver.redis(place)
      const services = yield* Layer.build(Redis.layer({ url: Redacted.make(place.redisUrl) }))
      return running(client, (stream, messages) =>
        StreamProducer.make({ stream, schema: Message }).pipe(
          Effect.flatMap((producer) => StreamProducer.sendAll(producer, messages)),
          Effect.provide(services)
        ))
    })
}

// internal

const running = (
  client: Client,
  send: (stream: string, messages: ReadonlyArray<Message>) => Effect.Effect<unknown, unknown>
): Running => {
  const messages = new Map<string, ReadonlyArray<Message>>()
  return {
    prepare: ({ count, name }) =>
      Effect.sync(() => {
        messages.set(name, Array.from({ length: count }, (_, number) => make(number)))
      }),
    run: ({ name }) => Effect.as(send(name, messages.get(name)!), []),
    verify: (jobs) => Effect.map(Effect.forEach(jobs, (job) => inOrder(client, job)), (_) => _.flat())
  }
}

const inOrder = (client: Client, { count, name }: Job): Effect.Effect<ReadonlyArray<string>, unknown> =>
  Driver.promise(async () => {
    const entries = await client.xrange(name, "-", "+")
    const isRight = entries.length === count &&
      entries.every(([, fields], at) => JSON.stringify(make(at)) === fields[1])
    return isRight ? [] : [`${name} does not hold the ${count} messages in their order`]
  })
