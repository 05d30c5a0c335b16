/**
 * The drivers below everything, as one would use them by hand: mysql2 and ioredis, and what all contenders share.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import type { Scope } from "effect/Scope"
import { Redis } from "ioredis"
import * as Callbacks from "mysql2"
import * as Mysql from "mysql2/promise"
import type { Job, Place } from "./Benchmark.js"
import * as Message from "./Message.js"

/**
 * The group that reads every stream.
 *
 * @since 0.1.0
 * @category constants
 */
export const group = "bench"

/**
 * @since 0.1.0
 * @category constructors
 */
export const redis = ({ redisUrl }: Place): Effect.Effect<Redis, never, Scope> =>
  Effect.acquireRelease(
    Effect.sync(() => new Redis(redisUrl, { maxRetriesPerRequest: null })),
    (client) => Effect.sync(() => client.disconnect())
  )

/**
 * @since 0.1.0
 * @category constructors
 */
export const mysql = ({ mysqlUrl }: Place, connections: number): Effect.Effect<Mysql.Pool, never, Scope> =>
  Effect.acquireRelease(
    Effect.sync(() => Mysql.createPool({ ...poolOptions(connections), uri: mysqlUrl })),
    (pool) => Effect.promise(() => pool.end())
  )

/**
 * @since 0.1.0
 * @category constructors
 */
export const mysqlCallbacks = (
  { mysqlUrl }: Place,
  connections: number
): Effect.Effect<Callbacks.Pool, never, Scope> =>
  Effect.acquireRelease(
    Effect.sync(() => Callbacks.createPool({ ...poolOptions(connections), uri: mysqlUrl, multipleStatements: true })),
    (pool) => Effect.async<void>((resume) => pool.end(() => resume(Effect.void)))
  )

/**
 * Work that is written with promises.
 *
 * @since 0.1.0
 * @category constructors
 */
export const promise = <A>(work: () => Promise<A>): Effect.Effect<A, unknown> =>
  Effect.tryPromise({ try: work, catch: (error) => error })

/**
 * Runs the work so many times at once.
 *
 * @since 0.1.0
 * @category constructors
 */
export const atOnce = (concurrency: number, work: () => Promise<void>): Promise<unknown> =>
  Promise.all(Array.from({ length: concurrency }, work))

/**
 * The job's messages in a stream with a group that has read none of them.
 *
 * @since 0.1.0
 * @category steps
 */
export const fill = (client: Redis, job: Job): Effect.Effect<void, unknown> =>
  promise(async () => {
    await client.xgroup("CREATE", job.name, group, "0", "MKSTREAM")
    await append(client, job)
  })

/**
 * The job's messages at the end of a stream.
 *
 * @since 0.1.0
 * @category steps
 */
export const append = async (client: Redis, { count, name }: Job): Promise<void> => {
  for (let number = 0; number < count;) {
    const pipeline = client.pipeline()
    for (const end = Math.min(count, number + 1_000); number < end; number++) {
      pipeline.xadd(name, "*", "data", JSON.stringify(Message.make(number)))
    }
    await pipeline.exec()
  }
}

/**
 * What is wrong with the streams: all must be read, and nothing pending.
 *
 * @since 0.1.0
 * @category steps
 */
export const settled = (client: Redis, jobs: ReadonlyArray<Job>): Effect.Effect<ReadonlyArray<string>, unknown> =>
  promise(async () => {
    const problems: Array<string> = []
    for (const { count, name } of jobs) {
      const [pending] = (await client.xpending(name, group)) as [number]
      if (pending > 0) problems.push(`${pending} messages of ${name} are pending`)
      const length = await client.xlen(name)
      if (length !== count) problems.push(`${name} has ${length} entries in place of ${count}`)
      const unread = await client.xreadgroup("GROUP", group, "audit", "COUNT", 1, "STREAMS", name, ">")
      if (unread !== null) problems.push(`not all of ${name} was read`)
    }
    return problems
  })

/**
 * The new entries of a stream for a consumer of one's own, as [id, data]; none after so many milliseconds without any.
 *
 * @since 0.1.0
 * @category steps
 */
export const read = async (
  client: Redis,
  stream: string,
  count: number,
  block: number
): Promise<Array<readonly [id: string, data: string]>> => {
  const reply = (await client.xreadgroup(
    "GROUP",
    group,
    "hand-written",
    "COUNT",
    count,
    "BLOCK",
    block,
    "STREAMS",
    stream,
    ">"
  )) as ReadonlyArray<readonly [string, ReadonlyArray<readonly [string, ReadonlyArray<string>]>]> | null
  return reply === null ? [] : reply[0]![1].map(([id, fields]) => [id, fields[1]!] as const)
}

/**
 * One reader for many takers: the next of `count` new entries, whoever asks for it; undefined once all have been taken.
 *
 * @since 0.1.0
 * @category steps
 */
export const reader = (
  client: Redis,
  stream: string,
  count: number
): () => Promise<readonly [id: string, data: string] | undefined> => {
  let fetched: Array<readonly [id: string, data: string]> = []
  let at = 0
  let left = count
  let reading: Promise<void> | undefined
  return async () => {
    while (at === fetched.length) {
      if (left === 0) return undefined
      await (reading ??= read(client, stream, batchSize, 5_000).then((entries) => {
        fetched = entries
        at = 0
        left -= entries.length
        reading = undefined
      }))
    }
    return fetched[at++]
  }
}

/**
 * Numbers that must each come once.
 *
 * @since 0.1.0
 * @category models
 */
export interface Tally {
  readonly mark: (number: number) => void
  readonly problems: () => ReadonlyArray<string>
}

/**
 * @since 0.1.0
 * @category constructors
 */
export const tally = ({ count, name }: Job): Tally => {
  const seen = new Uint8Array(count)
  return {
    mark: (number) => {
      seen[number]!++
    },
    problems: () => {
      const missing = seen.reduce((sum, times) => times === 0 ? sum + 1 : sum, 0)
      const twice = seen.reduce((sum, times) => times > 1 ? sum + 1 : sum, 0)
      return [
        ...(missing === 0 ? [] : [`${missing} messages of ${name} were not handled`]),
        ...(twice === 0 ? [] : [`${twice} messages of ${name} were handled more than once`])
      ]
    }
  }
}

// internal

/** As many as `StreamConsumer` fetches by default. */
const batchSize = 64

const poolOptions = (connections: number) => ({
  connectionLimit: connections,
  maxIdle: connections,
  waitForConnections: true
})
