import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { type ChildProcess, spawn } from "node:child_process"
import { mkdtempSync, realpathSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { WayFailed } from "./engine.js"
import * as Orphans from "./orphanedFolders.js"

/**
 * The watchdog of a folder. Its stdin is a pipe whose other end we hold: it ends when we close it, and also when we are
 * killed in whatever way. Moving the folder first settles the race with a server that is just being started: the server
 * notes its pid in the folder before it becomes the server (see processEngine), so either the note is there, or writing
 * it fails and no server comes up.
 */
const watchdog = `
trap '' HUP INT QUIT TERM
# A zombie counts as dead: where nobody reaps it, as in many containers, it never goes away. But only when it is alone: the
# main thread of a server may be one while others still run, and its port is open until the last of them has ended.
alive() {
  kill -0 "$1" 2>/dev/null || return 1
  [ "$(grep -cE '^(State:[[:space:]]*Z|Threads:[[:space:]]*[01]$)' "/proc/$1/status" 2>/dev/null)" != 2 ]
}
while read -r _; do :; done
mv "$1" "$1.gone" 2>/dev/null || exit 0
pid=$(cat "$1.gone/pid" 2>/dev/null)
if [ -n "$pid" ]; then
  kill -9 "$pid" 2>/dev/null
  n=0
  while [ $n -lt 200 ] && alive "$pid"; do sleep 0.05; n=$((n+1)); done
fi
container=$(cat "$1.gone/container" 2>/dev/null)
if [ -n "$container" ]; then
  docker rm -f -v "$container"
  # a "docker create" that was under way when we were killed may have come after that
  sleep 1
  docker rm -f -v "$container"
fi
rm -rf "$1.gone" || { sleep 1; rm -rf "$1.gone"; }
`

/**
 * A private folder below the system's temporary folder. When the scope closes, or this process dies in whatever way, the
 * server whose pid the folder holds is killed and the folder is removed.
 */
export const make = (name: string): Effect.Effect<string, WayFailed, Scope.Scope> =>
  Effect.map(
    Effect.acquireRelease(
      writing(() => {
        const parent = realpathSync(tmpdir())
        for (const orphan of Orphans.find(parent)) {
          const child = watch(orphan)
          child.stdin.end()
          child.unref()
        }
        const folder = mkdtempSync(join(parent, `safesync-${name}-`))
        const child = watch(folder)
        writeFileSync(join(folder, Orphans.ownerFile), Orphans.ownerOf(process.pid))
        return { folder, child, ended: ended(child) }
      }),
      ({ child, ended }) =>
        Effect.promise(() => {
          child.stdin.end()
          return ended
        })
    ),
    ({ folder }) => folder
  )

/** Work on the files of a server's folder, which lies below the system's temporary folder. */
export const writing = <A>(work: () => A | Promise<A>): Effect.Effect<A, WayFailed> =>
  Effect.tryPromise({
    try: async () => await work(),
    catch: (cause) =>
      new WayFailed({
        reason: `its files cannot be written (${cause instanceof Error ? cause.message : String(cause)}).`,
        hint: "Set TMPDIR to a folder of yours that has space."
      })
  })

const watch = (folder: string) => {
  const child = spawn("/bin/sh", ["-c", watchdog, "safesync-watchdog", folder], {
    cwd: "/",
    detached: true,
    stdio: ["pipe", "ignore", "ignore"]
  })
  child.stdin.on("error", () => {})
  return child
}

const ended = (child: ChildProcess): Promise<void> =>
  new Promise((resolve) => child.once("exit", () => resolve()).once("error", () => resolve()))
