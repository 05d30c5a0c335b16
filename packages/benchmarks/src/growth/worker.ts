/**
 * The process of one worker: it says that it is connected, and that it has stopped.
 *
 * @since 0.1.0
 */
import * as MysqlClient from "@effect/sql-mysql2/MysqlClient"
import * as Redis from "@safesync/redis-streams/Redis"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as ManagedRuntime from "effect/ManagedRuntime"
import * as Redacted from "effect/Redacted"
import * as safesync from "../transactional/safesync.js"
import { stop, variable, type Worker } from "./processes.js"

const { consumer, mysqlUrl, redisUrl } = JSON.parse(process.env[variable]!) as Worker
const concurrency = 8

const runtime = ManagedRuntime.make(Layer.mergeAll(
  MysqlClient.layer({ url: Redacted.make(mysqlUrl), maxConnections: concurrency }),
  Redis.layer({ url: Redacted.make(redisUrl) }),
  Logger.replace(Logger.defaultLogger, Logger.withConsoleError(Logger.logfmtLogger))
))

// Whoever gives the work is gone.
process.on("disconnect", () => process.exit())

let running: Fiber.Fiber<void, unknown> = Fiber.void

process.on("message", (stream: string) => {
  if (stream === stop) {
    void runtime.runPromise(Fiber.interrupt(running)).then(() => process.send!("stopped"))
    return
  }
  running = runtime.runFork(
    Effect.tapErrorCause(safesync.share(stream, consumer, concurrency), (cause) =>
      Effect.sync(() => {
        if (Cause.isInterruptedOnly(cause)) return
        process.stderr.write(`${Cause.pretty(cause)}\n`)
        process.exit(1)
      }))
  )
})

void runtime.runPromise(Effect.void).then(() => process.send!("ready"))
