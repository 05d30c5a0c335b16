// The demo in a process of its own, as a user would start it, in a folder that has nothing to do with it.
import { type ChildProcessByStdio, spawn } from "node:child_process"
import { tmpdir } from "node:os"
import type { Readable } from "node:stream"
import { fileURLToPath } from "node:url"

const main = fileURLToPath(new URL("../../../.cache/bundle/demo/main.js", import.meta.url))

export const start = (
  args: ReadonlyArray<string>,
  env: NodeJS.ProcessEnv = {}
): ChildProcessByStdio<null, Readable, Readable> =>
  spawn(process.execPath, [main, ...args], {
    cwd: tmpdir(),
    env: { ...process.env, ...env },
    stdio: ["ignore", "pipe", "pipe"]
  })

export interface Ended {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

/** How a process ends, and all that it has said. */
export const ended = (child: ChildProcessByStdio<null, Readable, Readable>): Promise<Ended> =>
  new Promise((resolve) => {
    const text = { stdout: "", stderr: "" }
    child.stdout.setEncoding("utf8").on("data", (chunk: string) => text.stdout += chunk)
    child.stderr.setEncoding("utf8").on("data", (chunk: string) => text.stderr += chunk)
    child.once("close", (code) => resolve({ code, ...text }))
  })
