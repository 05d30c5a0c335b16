/** An example that is a program: run as one. */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as FiberId from "effect/FiberId"
import type { Scope } from "effect/Scope"
import { fork } from "node:child_process"
import { fileURLToPath } from "node:url"

export interface Program {
  readonly signal: (signal: NodeJS.Signals) => Effect.Effect<void>
  /** The signal that ended it, or none. */
  readonly ended: Effect.Effect<string | null>
}

/** A file of the examples with these variables and arguments, until the scope closes. */
export const start = (
  file: string,
  env: Record<string, string>,
  args: ReadonlyArray<string> = []
): Effect.Effect<Program, never, Scope> =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const program = new URL(`../../../.cache/bundle/examples/${file.replace(/ts$/, "js")}`, import.meta.url)
      const child = fork(fileURLToPath(program), args, { env: { ...process.env, ...env } })
      const ended = Deferred.unsafeMake<string | null>(FiberId.none)
      child.once("exit", (_, signal) => Deferred.unsafeDone(ended, Effect.succeed(signal)))
      return {
        signal: (signal: NodeJS.Signals) => Effect.sync(() => void child.kill(signal)),
        ended: Deferred.await(ended)
      }
    }),
    ({ signal }) => signal("SIGKILL")
  )
