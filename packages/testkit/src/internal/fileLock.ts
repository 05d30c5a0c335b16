import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { spawn } from "node:child_process"
import { mkdirSync } from "node:fs"
import { dirname } from "node:path"
import { WayFailed } from "./engine.js"

/**
 * Holds an exclusive lock on a file between processes for as long as the scope is open. The kernel's lock belongs to a
 * helper process that lives as long as our end of its stdin: it goes away with us, however we go.
 */
export const acquire = (file: string): Effect.Effect<void, WayFailed, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.try({
      try: () => {
        mkdirSync(dirname(file), { recursive: true })
        const child = spawn("flock", [file, "/bin/sh", "-c", "echo locked; while read -r _; do :; done"], {
          detached: true,
          stdio: ["pipe", "pipe", "ignore"]
        })
        child.stdin.on("error", () => {})
        const locked = new Promise<boolean>((resolve) => {
          child.stdout.once("data", () => resolve(true))
          child.once("error", () => resolve(false)).once("exit", () => resolve(false))
        })
        const ended = new Promise<void>((resolve) => child.once("error", () => resolve()).once("exit", () => resolve()))
        return { child, locked, ended }
      },
      catch: (cause) => new WayFailed({ reason: `the cache folder cannot be written (${String(cause)}).`, hint })
    }),
    ({ child, ended }) =>
      Effect.promise(() => {
        child.stdin.end()
        // when it still waits for somebody else, it would look at its stdin only after that
        if (child.pid !== undefined && child.exitCode === null) process.kill(-child.pid, "SIGTERM")
        return ended
      })
  ).pipe(
    Effect.flatMap(({ locked }) => Effect.promise(() => locked)),
    Effect.filterOrFail(
      (locked) => locked,
      () => new WayFailed({ reason: "the lock on the cache folder could not be taken (flock).", hint })
    ),
    Effect.asVoid,
    Effect.timeoutFail({
      duration: "15 minutes",
      onTimeout: () => new WayFailed({ reason: "another process has held the lock on the cache for 15 minutes.", hint })
    })
  )

const hint = "Set SAFESYNC_CACHE_DIR to a folder of yours."
