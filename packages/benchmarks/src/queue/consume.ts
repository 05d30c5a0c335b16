/**
 * Ways to consume and ack. Each handler notes that it has seen its message, and that is all it does.
 *
 * @since 0.1.0
 */
import * as PersistedQueue from "@effect/experimental/PersistedQueue"
import * as RedisQueue from "@effect/experimental/PersistedQueue/Redis"
import * as ConsumerGroup from "@safesync/redis-streams/ConsumerGroup"
import * as Delivery from "@safesync/redis-streams/Delivery"
import * as Redis from "@safesync/redis-streams/Redis"
import * as StreamConsumer from "@safesync/redis-streams/StreamConsumer"
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Stream from "effect/Stream"
import type { Redis as Client } from "ioredis"
import type { Contender, Job, Place, Running } from "../Benchmark.js"
import * as Bull from "../Bull.js"
import * as Driver from "../Driver.js"
import { make, Message } from "../Message.js"

type Way = Omit<Contender, "name">

const concurrency = 100

/**
 * 100 fetched, handled at a time, and acked by one XACK.
 *
 * @since 0.1.0
 * @category contenders
 */
export const handWritten: Way = streams(({ client, handle, job: { count, name } }) =>
  Driver.promise(async () => {
    for (let left = count; left > 0;) {
      const entries = await Driver.read(client, name, concurrency, 5_000)
      const ids = await Promise.all(entries.map(async ([id, data]) => {
        handle(JSON.parse(data) as Message)
        return id
      }))
      await client.xack(name, Driver.group, ...ids)
      left -= entries.length
    }
  })
)

/**
 * @since 0.1.0
 * @category contenders
 */
export const oneAtATime: Way = streams(({ client, handle, job: { count, name } }) =>
  Driver.promise(async () => {
    for (let left = count; left > 0; left--) {
      const [entry] = await Driver.read(client, name, 1, 5_000)
      handle(JSON.parse(entry![1]) as Message)
      await client.xack(name, Driver.group, entry![0])
    }
  })
)

/**
 * @since 0.1.0
 * @category contenders
 */
export const safesync: Way = streams(({ handle, job: { count, name }, services }) =>
  Effect.provide(use(name, count, handle), services)
)

/**
 * So many new entries of the stream.
 *
 * @since 0.1.0
 * @category steps
 */
export const use = (
  name: string,
  count: number,
  handle: (message: Message) => void
): Effect.Effect<void, unknown, Redis.Redis> =>
  Effect.gen(function*() {
    const group = yield* ConsumerGroup.make({
      stream: name,
      group: Driver.group,
      schema: Message,
      startId: "0",
      minIdle: "1 minute"
    })
    const deliveries = StreamConsumer.stream(group, { consumer: "safesync", batchSize: concurrency })
    yield* StreamConsumer.runForEach(
      Stream.take(deliveries, count),
      Delivery.use((message) => Effect.sync(() => handle(message))),
      { concurrency }
    )
  })

/**
 * @since 0.1.0
 * @category contenders
 */
export const bullmq: Way = {
  start: (place) =>
    Effect.gen(function*() {
      const handled = new Map<string, Driver.Tally>()
      const workers = yield* Bull.workers(place, concurrency, async ({ number }, { name }) =>
        handled.get(name)!.mark(number))
      const running: Running = {
        prepare: (job) => {
          handled.set(job.name, Driver.tally(job))
          return Effect.zipRight(Bull.fill(place, job), workers.connect(job))
        },
        run: (job) =>
          Effect.as(workers.work(job), []),
        verify: (jobs) =>
          Effect.map(
            Bull.settled(place, jobs),
            (problems) => [
              ...problems,
              ...[...handled.values()].flatMap((tally) =>
                tally.problems()
              )
            ]
          )
      }
      return running
    })
}

/**
 * @since 0.1.0
 * @category contenders
 */
export const persistedQueue: Way = {
  start: (place) =>
    Effect.gen(function*() {
      const { hostname, port } = new URL(place.redisUrl)
      const client = yield* Driver.redis(place)
      const services = yield* Layer.build(Layer.provide(
        PersistedQueue.layer,
        RedisQueue.layerStore({ host: hostname, port: Number(port), prefix: `${place.prefix}:` })
      ))
      const queue = ({ name }: Job) => PersistedQueue.make({ name, schema: Message })
      const handled = tallies()
      const running: Running = {
        prepare: (job) =>
          Effect.gen(function*() {
            const { offer } = yield* queue(job)
            yield* Effect.forEach(Array.from({ length: job.count }, (_, number) => make(number)), (_) => offer(_), {
              concurrency,
              discard: true
            })
          }).pipe(Effect.provide(services)),
        run: (job) =>
          Effect.gen(function*() {
            const { mark } = handled.of(job)
            const { take } = yield* queue(job)
            let left = job.count
            const one = take(({ number }) => Effect.sync(() => mark(number)))
            const loop: Effect.Effect<void, unknown> = Effect.suspend(() =>
              left-- > 0 ? Effect.zipRight(one, loop) : Effect.void
            )
            yield* Effect.all(Array.from({ length: concurrency }, () => loop), {
              concurrency: "unbounded",
              discard: true
            })
            return []
          }).pipe(Effect.provide(services)),
        verify: () =>
          Driver.promise(async () => {
            const pending = await client.keys(`${place.prefix}:*:pending*`)
            const failed = await client.keys(`${place.prefix}:*:failed`)
            const left = await Promise.all([
              ...pending.map(async (key) => [await client.hlen(key), "pending"] as const),
              ...failed.map(async (key) => [await client.llen(key), "failed"] as const)
            ])
            return [
              ...left.filter(([count]) => count > 0).map(([count, state]) => `${count} are ${state}`),
              ...handled.problems()
            ]
          })
      }
      return running
    })
}

// internal

const tallies = () => {
  const all: Array<Driver.Tally> = []
  return {
    of: (job: Job): Driver.Tally => {
      const tally = Driver.tally(job)
      all.push(tally)
      return tally
    },
    problems: () => all.flatMap(({ problems }) => problems())
  }
}

interface Work {
  readonly client: Client
  readonly services: Context.Context<Redis.Redis>
  readonly job: Job
  readonly handle: (message: Message) => void
}

function streams(work: (_: Work) => Effect.Effect<void, unknown>): Way {
  return {
    batch: concurrency,
    start: (place: Place) =>
      Effect.gen(function*() {
        const client = yield* Driver.redis(place)
        const services = yield* Layer.build(Redis.layer({ url: Redacted.make(place.redisUrl) }))
        const handled = tallies()
        const running: Running = {
          prepare: (job) => Driver.fill(client, job),
          run: (job) => {
            const { mark } = handled.of(job)
            return Effect.as(
              work({ client, services, job, handle: ({ number }) => mark(number) }),
              []
            )
          },
          verify: (jobs) => Effect.map(Driver.settled(client, jobs), (problems) => [...problems, ...handled.problems()])
        }
        return running
      })
  }
}
