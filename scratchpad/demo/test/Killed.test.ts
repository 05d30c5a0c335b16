import { expect, it } from "@effect/vitest"
import { spawn } from "node:child_process"
import { once } from "node:events"
import { existsSync, readdirSync, readFileSync } from "node:fs"
import { createInterface } from "node:readline"
import { setTimeout } from "node:timers/promises"
import { fileURLToPath } from "node:url"
import { ended, start } from "./process.js"

const repository = fileURLToPath(new URL("../../..", import.meta.url))

/** Servers of its own, whatever the environment of the tests is. */
const own = { SAFESYNC_MYSQL_URL: "", SAFESYNC_REDIS_URL: "" }

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
    const child = start(["--lines", "4000", "--workers", "2", "--no-kill"], own)
    const exit = once(child, "exit")
    for await (const line of createInterface(child.stderr)) {
      // work is under way
      if (/^[1-9]\d*\//.test(line)) break
    }
    const processes = descendants(child.pid!)
    const folders = new Set(processes.flatMap((pid) => read(pid, "cmdline").match(/\/[^\0]*\/safesync-\w+-\w+/g) ?? []))
    expect(processes.length).toBeGreaterThanOrEqual(4)
    expect(folders.size).toBeGreaterThanOrEqual(2)
    child.kill(signal)
    const [code] = await exit
    expect(code).toBe({ SIGINT: 130, SIGTERM: 143, SIGKILL: null }[signal])
    // after SIGKILL it is others who clean up, a moment later
    while (processes.some(lives) || [...folders].some((folder) => existsSync(folder) || existsSync(`${folder}.gone`))) {
      await setTimeout(20)
    }
  }
)

it("after that it runs as ever, by the README's command", { timeout: 180_000 }, async () => {
  const args = ["run", "--silent", "demo", "--", "--lines", "100", "--workers", "1", "--json"]
  const { code, stderr, stdout } = await ended(
    spawn("npm", args, { cwd: repository, env: { ...process.env, ...own }, stdio: ["ignore", "pipe", "pipe"] })
  )
  expect([code, stderr]).toEqual([0, expect.stringContaining("(started ")])
  expect(JSON.parse(stdout)).toMatchObject({ ok: true, lines: 100, lost: 0, appliedTwice: 0 })
})
