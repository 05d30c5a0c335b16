import { expect, it } from "@effect/vitest"
import { spawn } from "node:child_process"
import { once } from "node:events"
import { existsSync, readdirSync, readFileSync } from "node:fs"
import { createRequire } from "node:module"
import { tmpdir } from "node:os"
import { createInterface } from "node:readline"
import { setTimeout } from "node:timers/promises"
import { fileURLToPath, pathToFileURL } from "node:url"

const loader = pathToFileURL(createRequire(import.meta.url).resolve("tsx")).href
const main = fileURLToPath(new URL("../main.ts", import.meta.url))
const tsconfig = fileURLToPath(new URL("../../tsconfig.json", import.meta.url))

const read = (pid: number, file: string): string => {
  try {
    return readFileSync(`/proc/${pid}/${file}`, "latin1")
  } catch {
    return ""
  }
}

/** Everything that this process has started, and what that has started. */
const descendants = (root: number): ReadonlyArray<number> => {
  const parents = new Map<number, number>()
  for (const name of readdirSync("/proc")) {
    const parent = /^\d+ \(.*\) \S (\d+)/s.exec(read(Number(name), "stat"))?.[1]
    if (parent !== undefined) parents.set(Number(name), Number(parent))
  }
  const below = (pid: number): boolean => {
    const parent = parents.get(pid)
    return parent !== undefined && (parent === root || below(parent))
  }
  return [...parents.keys()].filter(below)
}

/** Where nobody reaps the processes that lost their parent, they stay as zombies: those are gone. */
const lives = (pid: number): boolean => /^State:\s*[^Z\s]/m.test(read(pid, "status"))

it.for(["SIGINT", "SIGTERM", "SIGKILL"] as const)(
  "killed by %s it leaves no process and no folder behind",
  { timeout: 180_000 },
  async (signal) => {
    const child = spawn(
      process.execPath,
      ["--import", loader, main, "--lines", "4000", "--workers", "2", "--no-kill"],
      {
        cwd: tmpdir(),
        env: { ...process.env, SAFESYNC_MYSQL_URL: "", SAFESYNC_REDIS_URL: "", TSX_TSCONFIG_PATH: tsconfig },
        stdio: ["ignore", "ignore", "pipe"]
      }
    )
    const ended = once(child, "exit")
    for await (const line of createInterface(child.stderr)) {
      // work is under way
      if (/^[1-9]\d*\//.test(line)) break
    }
    const processes = descendants(child.pid!)
    const folders = new Set(processes.flatMap((pid) => read(pid, "cmdline").match(/\/[^\0]*\/safesync-\w+-\w+/g) ?? []))
    expect(processes.length).toBeGreaterThanOrEqual(4)
    expect(folders.size).toBeGreaterThanOrEqual(2)
    child.kill(signal)
    const [code] = await ended
    expect(code).toBe(signal === "SIGKILL" ? null : 130)
    // after SIGKILL it is others who clean up, a moment later
    while (processes.some(lives) || [...folders].some((folder) => existsSync(folder) || existsSync(`${folder}.gone`))) {
      await setTimeout(20)
    }
  }
)
