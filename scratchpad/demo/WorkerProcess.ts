/**
 * A worker in a process of its own, which goes with its scope: asked to stop, and killed when it does not.
 *
 * It is the leader of its own process group, so that Ctrl-C in a terminal reaches the demo alone, which then stops its
 * workers in its own order. However the demo ends, the channel to the worker closes and the worker ends by itself.
 *
 * @since 0.1.0
 */
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Exit from "effect/Exit"
import * as FiberId from "effect/FiberId"
import * as Schema from "effect/Schema"
import type { Scope } from "effect/Scope"
import { type ChildProcess, fork } from "node:child_process"
import { fileURLToPath } from "node:url"
import { DemoError } from "./DemoError.js"
import * as Messages from "./Messages.js"

/**
 * @since 0.1.0
 * @category models
 */
export interface WorkerProcess {
  /** `worker-1` and so on: the name of the consumer too. */
  readonly name: string
  readonly pid: number
  /** The last that it has told. */
  readonly counters: () => Messages.Counters
  /** Returns when the process is gone, with how it ended. */
  readonly ended: Effect.Effect<Ended>
  /** Stands still (SIGSTOP) until the scope closes. */
  readonly frozen: Effect.Effect<void, never, Scope>
  /** SIGKILL; returns when it is dead. */
  readonly kill: Effect.Effect<void>
  /** SIGTERM; fails when it does not end cleanly within the bound. */
  readonly stop: Effect.Effect<void, DemoError>
}

/**
 * @since 0.1.0
 * @category models
 */
export interface Ended {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
  /** The last line that it has written to its standard error. */
  readonly lastWords: string
}

/**
 * How long a worker may take to finish what it has begun.
 *
 * @since 0.1.0
 * @category constants
 */
export const stopWithin = Duration.seconds(10)

/**
 * @since 0.1.0
 * @category constructors
 */
export const start = (settings: Messages.Settings): Effect.Effect<WorkerProcess, DemoError, Scope> =>
  Effect.acquireRelease(
    Effect.flatMap(
      Schema.encode(Schema.parseJson(Messages.Settings))(settings),
      (json) => Effect.try(() => spawn(settings.consumer, json))
    ).pipe(
      Effect.mapError((cause) => new DemoError({ message: `A worker process could not be started: ${cause.message}` }))
    ),
    (worker) => Effect.catchAll(worker.stop, () => worker.kill)
  )

/**
 * @since 0.1.0
 * @category accessors
 */
export const describe = ({ code, lastWords, signal }: Ended): string =>
  `${signal === null ? `ended with exit code ${code}` : `was ended by ${signal}`}${
    lastWords === "" ? "" : `: ${lastWords}`
  }`

// internal

/** Beside this one in the bundle. */
const entry = fileURLToPath(new URL("./worker.js", import.meta.url))

const decode = Schema.decodeUnknownEither(Messages.Counters)

const spawn = (name: string, settings: string): WorkerProcess => {
  const child = fork(entry, [], {
    detached: true,
    env: { ...process.env, [Messages.settingsVariable]: settings },
    stdio: ["ignore", "ignore", "pipe", "ipc"]
  })
  const ended = Deferred.unsafeMake<Ended>(FiberId.none)
  const lastWords = lastLine(child)
  let counters = Messages.total([])
  child.on("message", (received) => {
    counters = Either.getOrElse(decode(received), () => counters)
  })
  const end = (code: number | null, signal: NodeJS.Signals | null) =>
    Deferred.unsafeDone(ended, Exit.succeed({ code, signal, lastWords: lastWords() }))
  // "close" comes after "exit", when all that it had written has been read.
  child.once("close", end)
  child.on("error", () => child.pid === undefined && end(null, null))
  const send = (signal: NodeJS.Signals) => Effect.sync(() => child.kill(signal))
  return {
    name,
    pid: child.pid ?? 0,
    counters: () => counters,
    ended: Deferred.await(ended),
    frozen: Effect.asVoid(Effect.acquireRelease(send("SIGSTOP"), () => send("SIGCONT"))),
    kill: Effect.zipRight(send("SIGKILL"), Deferred.await(ended)),
    stop: Effect.zipRight(send("SIGTERM"), Deferred.await(ended)).pipe(
      // As a finalizer this runs uninterruptibly, and the bound ends the wait by interrupting it.
      Effect.interruptible,
      Effect.timeoutFail({
        duration: stopWithin,
        onTimeout: () =>
          new DemoError({ message: `${name} did not stop within ${Duration.format(stopWithin)} of SIGTERM.` })
      }),
      Effect.filterOrFail(
        (how) => how.code === 0 || how.signal !== null,
        (how) => new DemoError({ message: `${name} did not stop cleanly: it ${describe(how)}` })
      )
    )
  }
}

const lastLine = (child: ChildProcess): () => string => {
  let text = ""
  child.stderr!.setEncoding("utf8").on("data", (chunk: string) => {
    text = (text + chunk).slice(-4_000)
  })
  return () => text.trim().split("\n").at(-1) ?? ""
}
