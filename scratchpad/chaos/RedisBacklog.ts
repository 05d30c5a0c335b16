/**
 * L16, L18: a backlog of any length and a long pending list are worked off in order, each entry once, within bounded memory.
 *
 * @since 0.1.0
 */
import * as ConsumerGroup from "@safesync/redis-streams/ConsumerGroup"
import * as Delivery from "@safesync/redis-streams/Delivery"
import * as Reclaim from "@safesync/redis-streams/Reclaim"
import * as Redis from "@safesync/redis-streams/Redis"
import type { InvalidOptions, RedisError } from "@safesync/redis-streams/RedisError"
import * as StreamConsumer from "@safesync/redis-streams/StreamConsumer"
import * as StreamProducer from "@safesync/redis-streams/StreamProducer"
import * as RedisServer from "@safesync/testkit/RedisServer"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import type { Outcome, Scenario, Settings } from "./Scenario.js"

/**
 * @since 0.1.0
 * @category scenarios
 */
export const scenario: Scenario = {
  name: "redis-backlog",
  description:
    "A long backlog, and a pending list of a tenth of it, are worked off in order within bounded memory (L16, L18)",
  unit: "entries",
  runs: 1_000_000,
  run: (settings) => Effect.scoped(Effect.provide(run(settings), Live))
}

// internal

const Live = Layer.unwrapEffect(
  Effect.map(RedisServer.RedisServer, ({ url }) => Redis.layer({ url, commandTimeout: "1 minute" }))
).pipe(Layer.provideMerge(RedisServer.layerOwn()))

const batchSize = 500

/** Megabytes that a stage may take beyond what the process had before. It does not grow with the number of entries. */
const allowance = 200

type Source = Stream.Stream<Delivery.Delivery<number>, RedisError | InvalidOptions, Redis.Redis>

const run = (settings: Settings): Effect.Effect<Outcome, Error, Redis.Redis | RedisServer.RedisServer> =>
  Effect.gen(function*() {
    const { version } = yield* RedisServer.RedisServer
    const redis = yield* Redis.Redis
    const stream = "backlog"
    const make = (group: string) =>
      ConsumerGroup.make({ stream, group, schema: Schema.Int, startId: "0", minIdle: "2 seconds" })
    const failures: Array<string> = []
    const figures: Array<readonly [string, number | string]> = [["Redis", version]]
    const pendingCount = Math.max(Math.floor(settings.runs / 10), 1)

    const producer = yield* StreamProducer.make({ stream, schema: Schema.Int })
    const fill = yield* measured(StreamProducer.sendAll(producer, numbers(settings.runs)))
    figures.push(["entries sent a second", Math.round(settings.runs / fill.seconds)])
    settings.progress.say(`${settings.runs} entries are in the stream`)

    /** Works a source off, and looks whether each entry comes once and in order. */
    const workOff = (what: string, group: ConsumerGroup.ConsumerGroup<number>, source: Source, count: number) =>
      Effect.gen(function*() {
        let last = 0
        let handled = 0
        let outOfOrder = 0
        const handle = (delivery: Delivery.Delivery<number>) =>
          Delivery.use(delivery, (number) =>
            Effect.sync(() => {
              if (number !== last + 1) outOfOrder++
              last = number
              handled++
            }))
        const work = Effect.gen(function*() {
          const pull = yield* Stream.toPull(source)
          while (handled < count) {
            const chunk = yield* Effect.mapError(pull, Option.getOrThrow)
            yield* Effect.forEach(chunk, handle, { concurrency: "unbounded", discard: true })
            settings.progress.update(Math.min(handled, settings.runs), what)
          }
        })
        const { megabytes, seconds } = yield* measured(Effect.scoped(work))
        const { pending } = yield* ConsumerGroup.info(group)
        figures.push(
          [`${what}, entries`, handled],
          [`${what}, entries a second`, Math.round(handled / seconds)],
          [`${what}, peak memory beyond what was there, MB`, megabytes]
        )
        if (handled !== count) failures.push(`${what}: ${handled} entries were handled, and not ${count}`)
        if (outOfOrder > 0) failures.push(`${what}: ${outOfOrder} entries came out of order, or twice`)
        if (pending !== 0) failures.push(`${what}: ${pending} entries are still pending`)
        if (megabytes > allowance) failures.push(`${what}: it took ${megabytes} MB, more than ${allowance}`)
      })

    /** A consumer that reads so many and dies. */
    const abandon = (group: ConsumerGroup.ConsumerGroup<number>, consumer: string) =>
      Effect.gen(function*() {
        yield* ConsumerGroup.create(group)
        for (let left = pendingCount; left > 0; left -= 1000) {
          const count = String(Math.min(left, 1000))
          yield* redis.command("XREADGROUP", "GROUP", group.group, consumer, "COUNT", count, "STREAMS", stream, ">")
        }
      })

    const backlog = yield* make("backlog")
    yield* ConsumerGroup.create(backlog)
    yield* workOff("backlog", backlog, StreamConsumer.stream(backlog, { consumer: "a", batchSize }), settings.runs)

    const own = yield* make("own")
    yield* abandon(own, "a")
    yield* workOff("own pending list", own, StreamConsumer.stream(own, { consumer: "a", batchSize }), pendingCount)

    const stale = yield* make("stale")
    yield* abandon(stale, "dead")
    const reclaiming = Reclaim.stream(stale, { consumer: "heir", batchSize, every: Schedule.spaced("100 millis") })
    yield* workOff("pending list of a dead consumer", stale, reclaiming, pendingCount)

    return { figures, failures }
  }).pipe(Effect.mapError((error) => error as Error))

const numbers = function*(count: number) {
  for (let number = 1; number <= count; number++) yield number
}

/** How long it takes, and how much memory beyond what the process has now. */
const measured = <A, E, R>(self: Effect.Effect<A, E, R>) =>
  Effect.suspend(() => {
    globalThis.gc?.()
    const before = process.memoryUsage().rss
    const start = performance.now()
    let peak = before
    const look = setInterval(() => {
      peak = Math.max(peak, process.memoryUsage().rss)
    }, 20)
    return Effect.ensuring(
      Effect.map(self, () => ({
        seconds: (performance.now() - start) / 1000,
        megabytes: Math.round((Math.max(peak, process.memoryUsage().rss) - before) / 2 ** 20)
      })),
      Effect.sync(() => clearInterval(look))
    )
  })
