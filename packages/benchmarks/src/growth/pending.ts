/**
 * Streams whose group has a long pending list.
 *
 * @since 0.1.0
 */
import * as ConsumerGroup from "@safesync/redis-streams/ConsumerGroup"
import * as Delivery from "@safesync/redis-streams/Delivery"
import * as Reclaim from "@safesync/redis-streams/Reclaim"
import * as Redis from "@safesync/redis-streams/Redis"
import * as StreamConsumer from "@safesync/redis-streams/StreamConsumer"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Schedule from "effect/Schedule"
import type { Redis as Client } from "ioredis"
import type { Contender, Job } from "../Benchmark.js"
import * as Driver from "../Driver.js"
import { Message } from "../Message.js"
import { use } from "../queue/consume.js"

/**
 * New messages, while so many are pending for a consumer that lives.
 *
 * @since 0.1.0
 * @category contenders
 */
export const beside = (pending: number): Omit<Contender, "name"> => ({
  start: (place) =>
    Effect.gen(function*() {
      const client = yield* Driver.redis(place)
      const services = yield* Layer.build(Redis.layer({ url: Redacted.make(place.redisUrl) }))
      const tallies: Array<Driver.Tally> = []
      return {
        prepare: ({ count, name }) =>
          Effect.zipRight(
            Driver.fill(client, { name, count: pending }),
            Driver.promise(async () => {
              await deliver(client, name)
              await Driver.append(client, { name, count })
            })
          ),
        run: ({ count, name }) => {
          const tally = Driver.tally({ count, name })
          tallies.push(tally)
          return Effect.as(Effect.provide(use(name, count, ({ number }) => tally.mark(number)), services), [])
        },
        verify: (jobs) =>
          Driver.promise(async () => {
            const problems = tallies.flatMap((tally) => tally.problems())
            for (const { name } of jobs) {
              const [left] = (await client.xpending(name, Driver.group)) as [number]
              if (left !== pending) problems.push(`${left} messages of ${name} are pending in place of ${pending}`)
            }
            return problems
          })
      }
    })
})

/**
 * Entries of a dead consumer, all of them, from lists of so many.
 *
 * @since 0.1.0
 * @category contenders
 */
export const takenOver = (pending: number): Omit<Contender, "name"> => ({
  start: (place) =>
    Effect.gen(function*() {
      const client = yield* Driver.redis(place)
      const services = yield* Layer.build(Redis.layer({ url: Redacted.make(place.redisUrl) }))
      const tallies: Array<Driver.Tally> = []
      return {
        prepare: (job) =>
          Effect.forEach(lists(job, pending), (list) =>
            Effect.zipRight(
              Driver.fill(client, list),
              Driver.promise(() => deliver(client, list.name))
            ), { discard: true }),
        run: (job) =>
          Effect.gen(function*() {
            for (const { count, name } of lists(job, pending)) {
              const tally = Driver.tally({ count, name })
              tallies.push(tally)
              const group = yield* ConsumerGroup.make({
                stream: name,
                group: Driver.group,
                schema: Message,
                startId: "0",
                minIdle: "1 millis"
              })
              const stale = Reclaim.stream(group, { consumer: "safesync", every: Schedule.stop, batchSize: 100 })
              yield* StreamConsumer.runForEach(
                stale,
                Delivery.use(({ number }) => Effect.sync(() => tally.mark(number))),
                { concurrency: 100 }
              )
            }
            return []
          }).pipe(Effect.provide(services)),
        verify: (jobs) =>
          Effect.map(
            Driver.settled(client, jobs.flatMap((job) => lists(job, pending))),
            (problems) => [...problems, ...tallies.flatMap((tally) => tally.problems())]
          )
      }
    })
})

// internal

/** All that the group has not read goes to a consumer that does nothing with it. */
const deliver = async (client: Client, name: string): Promise<void> => {
  while (await client.xreadgroup("GROUP", Driver.group, "another", "COUNT", 5_000, "STREAMS", name, ">") !== null);
}

const lists = ({ count, name }: Job, pending: number): ReadonlyArray<Job> => {
  const each = Math.min(pending, count)
  return Array.from({ length: Math.round(count / each) }, (_, at) => ({ name: `${name}:${at}`, count: each }))
}
