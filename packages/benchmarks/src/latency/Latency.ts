/**
 * From XADD to the handler, on a stream where nothing else happens: each message is sent when the one before was handled.
 *
 * @since 0.1.0
 */
import * as ConsumerGroup from "@safesync/redis-streams/ConsumerGroup"
import * as Delivery from "@safesync/redis-streams/Delivery"
import * as Redis from "@safesync/redis-streams/Redis"
import * as StreamConsumer from "@safesync/redis-streams/StreamConsumer"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { setTimeout } from "node:timers/promises"
import type { Case, Contender, Job, Running } from "../Benchmark.js"
import * as Bull from "../Bull.js"
import * as Driver from "../Driver.js"
import { make, Message } from "../Message.js"

const baseline = "hand-written blocking read"

/**
 * @since 0.1.0
 * @category cases
 */
export const cases: ReadonlyArray<Case> = [{
  name: "latency",
  about:
    "Milliseconds from sending a message to its handler, on an idle stream or queue; each is sent 2 ms after the last.",
  unit: "messages",
  compares: "p50",
  count: { full: 1_000, quick: 300, smoke: 20 },
  quick: true,
  slices: 4,
  baseline,
  contenders: [
    {
      name: baseline,
      start: (place) =>
        Effect.gen(function*() {
          const client = yield* Driver.redis(place)
          const blocking = yield* Driver.redis(place)
          return idle({
            prepare: (job) => Driver.fill(client, { ...job, count: 0 }),
            send: async ({ name }, message) => void await client.xadd(name, "*", "data", JSON.stringify(message)),
            consume: ({ count, name }, handle) =>
              Driver.promise(async () => {
                for (let left = count; left > 0;) {
                  for (const [id, data] of await Driver.read(blocking, name, 64, 5_000)) {
                    handle(JSON.parse(data) as Message)
                    await client.xack(name, Driver.group, id)
                    left--
                  }
                }
              }),
            settled: (jobs) => Driver.settled(client, jobs)
          })
        })
    },
    {
      name: "StreamConsumer + Delivery.use",
      targets: [
        { of: "p50", than: baseline, atMost: 1.3 },
        { of: "p99", than: baseline, atMost: 1.3 }
      ],
      start: (place) =>
        Effect.gen(function*() {
          const client = yield* Driver.redis(place)
          const services = yield* Layer.build(Redis.layer({ url: Redacted.make(place.redisUrl) }))
          return idle({
            prepare: (job) => Driver.fill(client, { ...job, count: 0 }),
            send: async ({ name }, message) => void await client.xadd(name, "*", "data", JSON.stringify(message)),
            consume: ({ count, name }, handle) =>
              Effect.gen(function*() {
                const group = yield* ConsumerGroup.make({
                  stream: name,
                  group: Driver.group,
                  schema: Message,
                  startId: "0",
                  minIdle: "1 minute"
                })
                yield* StreamConsumer.stream(group, { consumer: "safesync" }).pipe(
                  Stream.take(count),
                  Stream.runForEach(Delivery.use((message) => Effect.sync(() => handle(message))))
                )
              }).pipe(Effect.provide(services)),
            settled: (jobs) => Driver.settled(client, jobs)
          })
        })
    },
    {
      name: "BullMQ",
      notQuick: true,
      start: (place) =>
        Effect.gen(function*() {
          let arrive = (_: Message): void => {}
          const workers = yield* Bull.workers(place, 1, async (message) => arrive(message))
          const queues = new Map<string, Effect.Effect.Success<ReturnType<typeof Bull.queue>>>()
          const scope = yield* Effect.scope
          return idle({
            prepare: (job) =>
              Effect.flatMap(Scope.extend(Bull.queue(place, job), scope), (queue) => {
                queues.set(job.name, queue)
                return workers.connect(job)
              }),
            send: async ({ name }, message) => void await queues.get(name)!.add("message", message),
            consume: (job, handle) => {
              arrive = handle
              return workers.work(job)
            },
            settled: (jobs) => Bull.settled(place, jobs)
          })
        })
    }
  ] satisfies ReadonlyArray<Contender>
}]

// internal

interface Way {
  readonly prepare: (job: Job) => Effect.Effect<unknown, unknown>
  readonly send: (job: Job, message: Message) => Promise<void>
  /** Returns when all of the job has been acked. */
  readonly consume: (job: Job, handle: (message: Message) => void) => Effect.Effect<void, unknown>
  readonly settled: Running["verify"]
}

const pause = 2

const idle = ({ consume, prepare, send, settled }: Way): Running => {
  const tallies: Array<Driver.Tally> = []
  return {
    prepare: (job) => Effect.asVoid(prepare(job)),
    run: (job) =>
      Effect.gen(function*() {
        const tally = Driver.tally(job)
        tallies.push(tally)
        const millis: Array<number> = []
        let sent = 0
        let arrived = () => {}
        const consuming = yield* Effect.fork(consume(job, ({ number }) => {
          millis.push(performance.now() - sent)
          tally.mark(number)
          arrived()
        }))
        const sending = Driver.promise(async () => {
          for (let number = 0; number < job.count; number++) {
            // Long enough for the reader to be waiting again.
            await setTimeout(pause)
            const handled = new Promise<void>((resolve) => {
              arrived = resolve
            })
            sent = performance.now()
            await send(job, make(number))
            await handled
          }
        })
        yield* Effect.raceFirst(Fiber.join(consuming), Effect.zipRight(sending, Effect.never))
        return millis
      }),
    verify: (jobs) =>
      Effect.map(settled(jobs), (problems) => [...problems, ...tallies.flatMap((tally) => tally.problems())])
  }
}
