// Other processes, as tests of crashes need them.
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import { spawn } from "node:child_process"
import { once } from "node:events"
import { readFileSync } from "node:fs"
import * as Net from "node:net"
import { createInterface } from "node:readline"
import { fileURLToPath } from "node:url"

const repository = fileURLToPath(new URL("../../..", import.meta.url))

/** A TypeScript program of ours in a process that the scope kills. */
export const start = (file: string, args: ReadonlyArray<string> = [], env: NodeJS.ProcessEnv = {}) =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const path = fileURLToPath(new URL(file, import.meta.url))
      // without tsx's command in between, so that signals reach the program itself
      const child = spawn(process.execPath, ["--import", "tsx", path, ...args], {
        cwd: repository,
        env: { ...process.env, ...env },
        stdio: ["ignore", "pipe", "pipe"]
      })
      const lines = createInterface(child.stdout)
      let stderr = ""
      child.stderr.setEncoding("utf8").on("data", (text: string) => {
        stderr += text
      })
      const ended = once(child, "close").then(([code, signal]) => ({ code, signal, stderr }))
      return {
        child,
        firstLine: Effect.promise(() =>
          Promise.race([
            once(lines, "line").then(([line]) => String(line)),
            ended.then(() => Promise.reject(new Error(stderr)))
          ])
        ),
        ended: Effect.promise(() => ended)
      }
    }),
    ({ child }) => Effect.sync(() => child.kill("SIGKILL"))
  )

/** Whether there is such a process; one that only waits to be reaped is none. */
export const isAlive = (pid: number): boolean => {
  try {
    process.kill(pid, 0)
    return process.platform !== "linux" || !/^State:\s*Z/m.test(readFileSync(`/proc/${pid}/status`, "utf8"))
  } catch {
    return false
  }
}

/** Whether a process was stopped by a signal. */
export const isStopped = (pid: number): boolean => /^State:\s*T/m.test(readFileSync(`/proc/${pid}/status`, "utf8"))

/** Waits until something holds, for at most 15 seconds. */
export const eventually = (what: string, holds: () => boolean) =>
  Effect.sync(holds).pipe(
    Effect.repeat({ until: (yes) => yes, schedule: Schedule.spaced("20 millis") }),
    Effect.timeoutFail({ duration: "15 seconds", onTimeout: () => new Error(`Not within 15 seconds: ${what}`) })
  )

/** A port at which somebody else listens. */
export const occupiedPort = Effect.acquireRelease(
  Effect.promise(async () => {
    const server = Net.createServer()
    await once(server.listen(0, "127.0.0.1"), "listening")
    return server
  }),
  (server) => Effect.sync(() => server.close())
).pipe(Effect.map((server) => (server.address() as Net.AddressInfo).port))

/** Whether somebody listens at a port, and the system's words if not. */
export const connects = (port: number) =>
  Effect.async<void, { readonly reason: string }>((resume) => {
    const socket = Net.connect(port, "127.0.0.1", () => resume(Effect.void))
    socket.on("error", ({ message }) => resume(Effect.fail({ reason: message })))
    return Effect.sync(() => socket.destroy())
  })
