// The demo in a process of its own, as a user would start it, in a folder that has nothing to do with it.
import { type ChildProcessByStdio, spawn } from "node:child_process"
import { createRequire } from "node:module"
import { tmpdir } from "node:os"
import type { Readable } from "node:stream"
import { fileURLToPath, pathToFileURL } from "node:url"

const loader = pathToFileURL(createRequire(import.meta.url).resolve("tsx")).href
const main = fileURLToPath(new URL("../main.ts", import.meta.url))
const tsconfig = fileURLToPath(new URL("../../tsconfig.json", import.meta.url))

export const start = (
  args: ReadonlyArray<string>,
  env: NodeJS.ProcessEnv = {}
): ChildProcessByStdio<null, Readable, Readable> =>
  spawn(process.execPath, ["--import", loader, main, ...args], {
    cwd: tmpdir(),
    env: { ...process.env, TSX_TSCONFIG_PATH: tsconfig, ...env },
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
