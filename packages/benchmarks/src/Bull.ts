/**
 * BullMQ's queues.
 *
 * @since 0.1.0
 */
import { Queue, Worker } from "bullmq"
import * as Effect from "effect/Effect"
import type { Scope } from "effect/Scope"
import { Redis } from "ioredis"
import type { Job, Place } from "./Benchmark.js"
import * as Driver from "./Driver.js"
import * as Message from "./Message.js"

/**
 * Puts the job's messages into its queue.
 *
 * @since 0.1.0
 * @category steps
 */
export const fill = (place: Place, job: Job): Effect.Effect<void, unknown> =>
  Effect.scoped(Effect.flatMap(queue(place, job), (queue) =>
    Driver.promise(async () => {
      for (let number = 0; number < job.count;) {
        const jobs: Array<{ readonly name: string; readonly data: Message.Message }> = []
        for (const end = Math.min(job.count, number + 1_000); number < end; number++) {
          jobs.push({ name: "message", data: Message.make(number) })
        }
        await queue.addBulk(jobs)
      }
    })))

/**
 * Works so many messages off, and returns when the queue knows that they are done.
 *
 * @since 0.1.0
 * @category steps
 */
export const work = (
  place: Place,
  { count, name }: Job,
  concurrency: number,
  handle: (message: Message.Message) => Promise<void>
): Effect.Effect<void, unknown> =>
  Driver.promise(async () => {
    const connection = connect(place)
    let left = count
    let finish: (error?: unknown) => void
    const finished = new Promise<void>((resolve, reject) => {
      finish = (error) => error === undefined ? resolve() : reject(error)
    })
    const worker = new Worker<Message.Message>(unprefixed(name), ({ data }) => handle(data), {
      ...options(place, connection),
      concurrency,
      removeOnComplete: { count: 0 }
    })
    worker.on("completed", () => {
      if (--left === 0) finish()
    })
    worker.on("failed", (_, error) => finish(error))
    worker.on("error", (error) => finish(error))
    await finished
    await worker.close()
    connection.disconnect()
  })

/**
 * A queue to add to.
 *
 * @since 0.1.0
 * @category constructors
 */
export const queue = (place: Place, { name }: Job): Effect.Effect<Queue<Message.Message>, never, Scope> =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const connection = connect(place)
      return {
        connection,
        queue: new Queue<Message.Message>(unprefixed(name), {
          ...options(place, connection),
          defaultJobOptions: { removeOnComplete: true }
        })
      }
    }),
    ({ connection, queue }) =>
      Effect.promise(async () => {
        await queue.close()
        connection.disconnect()
      })
  ).pipe(Effect.map(({ queue }) => queue))

/**
 * What is wrong with the queues: all must be done, none failed.
 *
 * @since 0.1.0
 * @category steps
 */
export const settled = (place: Place, jobs: ReadonlyArray<Job>): Effect.Effect<ReadonlyArray<string>, unknown> =>
  Effect.map(
    Effect.forEach(
      jobs,
      (job) =>
        Effect.scoped(Effect.flatMap(queue(place, job), (queue) =>
          Driver.promise(async () => {
            const counts = await queue.getJobCounts("waiting", "active", "delayed", "failed")
            return Object.entries(counts).flatMap(([state, jobs]) =>
              jobs === 0 ? [] : [`${jobs} jobs of ${job.name} are ${state}`]
            )
          })))
    ),
    (_) => _.flat()
  )

// internal

const connect = ({ redisUrl }: Place): Redis => new Redis(redisUrl, { maxRetriesPerRequest: null })

const options = ({ prefix }: Place, connection: Redis) => ({ connection, prefix })

/** Names of queues have no colon. */
const unprefixed = (name: string): string => name.slice(name.lastIndexOf(":") + 1)
