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
import * as Mailbox from "effect/Mailbox"
import * as Redacted from "effect/Redacted"
import * as Stream from "effect/Stream"
import type { Redis as Client } from "ioredis"
import type { Contender, Job, Place, Running } from "../Benchmark.js"
import * as Bull from "../Bull.js"
import * as Driver from "../Driver.js"
import { make, Message } from "../Message.js"

type Way = Omit<Contender, "name">

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
  Effect.gen(function*() {
    const group = yield* ConsumerGroup.make({
      stream: name,
      group: Driver.group,
      schema: Message,
      startId: "0",
      minIdle: "1 minute"
    })
    const fetched = yield* Mailbox.fromStream(
      Stream.take(StreamConsumer.stream(group, { consumer: "safesync", batchSize: concurrency }), count),
      { capacity: concurrency }
    )
    // Fibers that last: one for each message, as `Effect.forEach` has them, costs more than all the rest.
    const one = Effect.flatMap(fetched.take, Delivery.use((message) => Effect.sync(() => handle(message))))
    const loop = Effect.catchTag(Effect.forever(one), "NoSuchElementException", () => Effect.void)
    yield* Effect.replicateEffect(loop, concurrency, { concurrency: "unbounded", discard: true })
  }).pipe(Effect.scoped, Effect.provide(services))
)

/**
 * @since 0.1.0
 * @category contenders
 */
export const bullmq: Way = {
  start: (place) =>
    Effect.sync((): Running => {
      const handled = tallies()
      return {
        prepare: (job) => Bull.fill(place, job),
        run: (job) => {
          const { mark } = handled.of(job)
          return Effect.as(
            Bull.work(place, job, concurrency, async ({ number }) => mark(number)),
            []
          )
        },
        verify: (jobs) => Effect.map(Bull.settled(place, jobs), (problems) => [...problems, ...handled.problems()])
      }
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
            const left = await Promise.all(pending.map((key) => client.hlen(key)))
            return [...left.filter((count) => count > 0).map((count) => `${count} are pending`), ...handled.problems()]
          })
      }
      return running
    })
}

// internal

const concurrency = 100

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
