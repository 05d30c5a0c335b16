import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { spawn } from "node:child_process"
import { closeSync, openSync, readFileSync, rmSync, statSync } from "node:fs"
import { join } from "node:path"
import { type Engine, WayFailed } from "./engine.js"

/**
 * Notes the pid in the folder and becomes the server. When the folder is gone the watchdog has done its work
 * and the server must not come up.
 */
const becomeServer = `echo $$ >"$1/pid" || exit 1; shift; exec "$@"`

/** What was written to a file from `offset` on, or nothing when it cannot be read. */
const readFrom = (file: string, offset: number): string => {
  try {
    return readFileSync(file).subarray(offset).toString("utf8")
  } catch {
    return ""
  }
}

/**
 * A server as a process of ours, in a session of its own: Ctrl-C in the terminal reaches us, not it. Its pid is noted in
 * `folder` for the watchdog, and what it prints goes to the file `log` in there.
 */
export const make = (folder: string, command: (port: number) => ReadonlyArray<string>): Engine => {
  const pidFile = join(folder, "pid")
  const logFile = join(folder, "log")
  let running: { readonly pid: number; readonly ended: Promise<void> } | undefined
  let logStart = 0

  const begin = (port: number): Promise<void> =>
    new Promise((started, failed) => {
      const log = openSync(logFile, "a")
      logStart = statSync(logFile).size
      const child = spawn("/bin/sh", ["-c", becomeServer, "sh", folder, ...command(port)], {
        cwd: folder,
        detached: true,
        stdio: ["ignore", log, log]
      })
      closeSync(log)
      child.once("error", failed)
      const { pid } = child
      if (pid === undefined) return
      const ended = new Promise<void>((resolve) =>
        child.once("exit", () => {
          running = undefined
          try {
            // the watchdog must not kill whoever gets this number next
            if (readFileSync(pidFile, "utf8").trim() === String(pid)) rmSync(pidFile)
          } catch {
            // the folder is gone already
          }
          resolve()
        })
      )
      running = { pid, ended }
      started()
    })

  return {
    spawn: (port) =>
      Effect.tryPromise({
        try: () => begin(port),
        catch: (cause) => new WayFailed({ reason: `it could not be run (${String(cause)}).`, hint: "" })
      }),
    ended: Effect.promise(() => running?.ended ?? Promise.resolve()),
    isRunning: Effect.sync(() => running !== undefined),
    pid: Effect.sync(() => Option.map(Option.fromNullable(running), ({ pid }) => pid)),
    signal: (signal) =>
      Effect.sync(() => {
        try {
          if (running !== undefined) process.kill(running.pid, `SIG${signal}`)
        } catch {
          // it has just ended
        }
      }),
    log: Effect.sync(() => readFrom(logFile, logStart))
  }
}
