import * as Data from "effect/Data"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as FiberId from "effect/FiberId"
import * as Queue from "effect/Queue"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import { fork } from "node:child_process"
import { entry } from "./entry.js"
import * as Messages from "./messages.js"

export class ProcessFailed extends Data.TaggedError("ProcessFailed")<{ readonly message: string }> {}

export interface ChildProcess {
  readonly name: string
  readonly send: (message: Messages.ToProcess) => Effect.Effect<void>
  /** The next that it says; fails when it has ended. */
  readonly receive: Effect.Effect<Messages.FromProcess, ProcessFailed>
}

const decode = Schema.decodeUnknownEither(Messages.FromProcess)

/**
 * A process that waits for something to do, and is killed with the scope. It is the leader of a group of its own, so that
 * Ctrl-C in a terminal reaches the test alone; however the test ends, the channel closes and the process ends by itself.
 */
export const start = (name: string): Effect.Effect<ChildProcess, ProcessFailed, Scope.Scope> =>
  Effect.gen(function*() {
    const said = yield* Queue.unbounded<Messages.FromProcess>()
    const ended = Deferred.unsafeMake<never, ProcessFailed>(FiberId.none)
    const child = yield* Effect.acquireRelease(
      Effect.sync(() => {
        const { env, execArgv, file } = entry("invariantProcess")
        const child = fork(file, [], {
          detached: true,
          env: { ...process.env, ...env },
          execArgv: [...execArgv],
          stdio: ["ignore", "ignore", "pipe", "ipc"]
        })
        let stderr = ""
        child.stderr!.setEncoding("utf8").on("data", (text: string) => {
          stderr = (stderr + text).slice(-4_000)
        })
        const fail = (message: string) => Deferred.unsafeDone(ended, new ProcessFailed({ message }))
        child.on("message", (message) => {
          const decoded = decode(message)
          if (Either.isRight(decoded)) Queue.unsafeOffer(said, decoded.right)
        })
        child.on("error", (cause) => fail(`${name}: ${cause.message}`))
        child.once("close", (code, signal) =>
          fail(`${name} ended ${signal === null ? `with exit code ${code}` : `by ${signal}`}. ${stderr.trim()}`))
        return child
      }),
      (child) =>
        Effect.sync(() =>
          child.kill("SIGKILL")
        )
    )
    return {
      name,
      send: (message) => Effect.sync(() => child.connected && child.send(message)),
      receive: Effect.raceFirst(Queue.take(said), Deferred.await(ended))
    }
  })
