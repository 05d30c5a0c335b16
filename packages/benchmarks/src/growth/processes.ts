/**
 * `Worker.run` in several processes, which share one stream.
 *
 * @since 0.1.0
 */
import * as MysqlClient from "@effect/sql-mysql2/MysqlClient"
import * as Inbox from "@safesync/mysql/Inbox"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import type { Redis } from "ioredis"
import type { ChildProcess } from "node:child_process"
import { once } from "node:events"
import { setTimeout } from "node:timers/promises"
import type { Contender, Place } from "../Benchmark.js"
import * as Child from "../Child.js"
import * as Driver from "../Driver.js"
import * as Tables from "../transactional/Tables.js"

/**
 * The environment variable that tells a process where it works, and who it is.
 *
 * @since 0.1.0
 * @category constants
 */
export const variable = "SAFESYNC_BENCHMARK_WORKER"

/**
 * @since 0.1.0
 * @category models
 */
export interface Worker extends Place {
  readonly consumer: string
}

/**
 * What a process is told once the stream is worked off; anything else is the name of a stream.
 *
 * @since 0.1.0
 * @category constants
 */
export const stop = ""

/**
 * @since 0.1.0
 * @category contenders
 */
export const run = (processes: number): Omit<Contender, "name"> => ({
  start: (place) =>
    Effect.gen(function*() {
      const pool = yield* Driver.mysql(place, 1)
      const client = yield* Driver.redis(place)
      yield* Tables.create(pool)
      yield* Effect.provide(Inbox.migration, MysqlClient.layer({ url: Redacted.make(place.mysqlUrl) }))
      const children = yield* Effect.forEach(
        Array.from({ length: processes }, (_, at) => at),
        (at) => child(place, at),
        {
          concurrency: "unbounded"
        }
      )
      return {
        workers: children.map(({ pid }) => pid!),
        prepare: (job) => Driver.fill(client, job),
        run: ({ name }) =>
          Driver.promise(async () => {
            for (const worker of children) worker.send(name)
            await drained(client, name)
            await Promise.all(children.map((worker) => {
              worker.send(stop)
              return answer(worker)
            }))
            return []
          }),
        verify: (jobs) => Tables.verify(pool, client, jobs, "safesync_inbox")
      }
    })
})

// internal

const child = (place: Place, at: number) =>
  Effect.acquireRelease(
    Driver.promise(async () => {
      const started = Child.fork("growth/worker", {
        env: { [variable]: JSON.stringify({ ...place, consumer: `worker-${at}` } satisfies Worker) }
      })
      started.stderr!.pipe(process.stderr)
      await answer(started)
      return started
    }),
    (started) =>
      Effect.promise(async () => {
        if (started.exitCode !== null) return
        const ended = once(started, "exit")
        started.disconnect()
        await ended
      })
  )

/** Returns when the last entry has been delivered, and all are acked. */
const drained = async (client: Redis, name: string): Promise<void> => {
  const [[last]] = (await client.xrevrange(name, "+", "-", "COUNT", 1)) as [[string, unknown]]
  for (;;) {
    const [fields] = (await client.xinfo("GROUPS", name)) as [ReadonlyArray<unknown>]
    const field = (key: string) => fields[fields.indexOf(key) + 1]
    if (field("last-delivered-id") === last && field("pending") === 0) return
    await setTimeout(5)
  }
}

/** What a process sends next; an error if it ends before. */
const answer = (worker: ChildProcess): Promise<void> =>
  new Promise((resolve, reject) => {
    const onExit = (code: number | null) => reject(new Error(`a worker ended with ${code}`))
    worker.once("exit", onExit)
    worker.once("message", () => {
      worker.off("exit", onExit)
      resolve()
    })
  })
