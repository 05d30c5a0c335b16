/**
 * The workers of the crash matrix: processes that go with their scope and are started again when they were killed, each with a
 * proxy of its own before either server.
 *
 * @since 0.1.0
 */
import * as ConsumerGroup from "@safesync/redis-streams/ConsumerGroup"
import * as TcpProxy from "@safesync/testkit/TcpProxy"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as FiberId from "effect/FiberId"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import type { Scope } from "effect/Scope"
import { type ChildProcess, fork } from "node:child_process"
import { fileURLToPath } from "node:url"

/**
 * @since 0.1.0
 * @category models
 */
export const Payment = Schema.Struct({ number: Schema.Int, account: Schema.Int, pence: Schema.Int })

/**
 * @since 0.1.0
 * @category models
 */
export type Payment = typeof Payment.Type

/**
 * @since 0.1.0
 * @category models
 */
export const consumerGroup = (stream: string) =>
  ConsumerGroup.make({ stream, group: "books", schema: Payment, startId: "0", minIdle: "600 millis" })

/**
 * @since 0.1.0
 * @category models
 */
export interface Settings {
  readonly consumer: string
  readonly stream: string
  readonly mysql: string
  readonly redis: string
}

/**
 * What the process that this is has been told.
 *
 * @since 0.1.0
 * @category settings
 */
export const readSettings = (): Settings => JSON.parse(process.env[variable] ?? "{}") as Settings

/**
 * @since 0.1.0
 * @category models
 */
export interface Hand {
  readonly mysql: TcpProxy.TcpProxy
  readonly redis: TcpProxy.TcpProxy
  /** Whether the process is there. */
  readonly alive: () => boolean
  /** SIGKILL; returns when it is dead. */
  readonly kill: Effect.Effect<void>
  /** Starts it, again if need be; returns when it reads. */
  readonly start: Effect.Effect<void>
}

/**
 * @since 0.1.0
 * @category constructors
 */
export const make = (
  consumer: string,
  stream: string,
  urls: { readonly mysql: Redacted.Redacted<string>; readonly redis: Redacted.Redacted<string> }
): Effect.Effect<Hand, never, Scope> =>
  Effect.gen(function*() {
    const mysql = yield* TcpProxy.make(urls.mysql)
    const redis = yield* TcpProxy.make(urls.redis)
    const settings = JSON.stringify({
      consumer,
      stream,
      mysql: Redacted.value(mysql.through(urls.mysql)),
      redis: Redacted.value(redis.through(urls.redis))
    })
    let child: { readonly process: ChildProcess; readonly gone: Deferred.Deferred<void> } | undefined
    const kill = Effect.suspend(() => {
      if (child === undefined) return Effect.void
      child.process.kill("SIGKILL")
      return Deferred.await(child.gone)
    })
    const start = Effect.suspend(() => {
      const ready = Deferred.unsafeMake<void>(FiberId.none)
      const gone = Deferred.unsafeMake<void>(FiberId.none)
      const started = fork(entry, [], {
        env: { ...process.env, [variable]: settings },
        stdio: ["ignore", "ignore", "inherit", "ipc"]
      })
      started.on("message", () => Deferred.unsafeDone(ready, Effect.void))
      started.once("exit", () => {
        child = undefined
        Deferred.unsafeDone(gone, Effect.void)
        Deferred.unsafeDone(ready, Effect.void)
      })
      child = { process: started, gone }
      return Deferred.await(ready)
    })
    yield* Effect.addFinalizer(() => kill)
    return { mysql, redis, alive: () => child !== undefined, kill, start: Effect.zipRight(kill, start) }
  })

// internal

const variable = "SAFESYNC_CHAOS_WORKER"

/** The bundle of it, whether this module is compiled or a source: a killed worker is back in half the time. */
const repository = import.meta.url.endsWith(".js") ? "../../../../" : "../../"
const entry = fileURLToPath(new URL(`${repository}.cache/bundle/chaos/workerCrashEntry.js`, import.meta.url))
