/**
 * BullMQ's queues.
 *
 * @since 0.1.0
 */
import { Queue, Worker } from "bullmq"
import * as Effect from "effect/Effect"
import * as Scope from "effect/Scope"
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
 * Workers that are connected before their job begins, as all other contenders are, and closed after it has been measured.
 *
 * @since 0.1.0
 * @category constructors
 */
export const workers = (
  place: Place,
  concurrency: number,
  handle: (message: Message.Message, job: Job) => Promise<void>
): Effect.Effect<Workers, never, Scope.Scope> =>
  Effect.map(Effect.scope, (scope): Workers => {
    const connected = new Map<string, Worker<Message.Message>>()
    return {
      connect: (job) =>
        Scope.extend(
          Effect.acquireRelease(
            Driver.promise(async () => {
              const connection = connect(place)
              const worker = new Worker<Message.Message>(unprefixed(job.name), ({ data }) => handle(data, job), {
                ...options(place, connection),
                autorun: false,
                concurrency,
                removeOnComplete: { count: 0 }
              })
              await worker.waitUntilReady()
              connected.set(job.name, worker)
              return { connection, worker }
            }),
            ({ connection, worker }) =>
              Effect.promise(async () => {
                await worker.close()
                connection.disconnect()
              })
          ),
          scope
        ),
      work: ({ count, name }) =>
        Driver.promise(() =>
          new Promise<void>((resolve, reject) => {
            const worker = connected.get(name)!
            let left = count
            worker.on("completed", () => {
              if (--left === 0) resolve()
            })
            worker.on("failed", (_, error) => reject(error))
            worker.on("error", reject)
            worker.run().catch(reject)
          })
        )
    }
  })

/**
 * @since 0.1.0
 * @category models
 */
export interface Workers {
  readonly connect: (job: Job) => Effect.Effect<unknown, unknown>
  /** Works the job off, and returns when the queue knows that all of it is done. */
  readonly work: (job: Job) => Effect.Effect<void, unknown>
}

/**
 * A queue to add to.
 *
 * @since 0.1.0
 * @category constructors
 */
export const queue = (place: Place, { name }: Job): Effect.Effect<Queue<Message.Message>, never, Scope.Scope> =>
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
