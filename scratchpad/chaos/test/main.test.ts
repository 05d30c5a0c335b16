import { expect, it } from "@effect/vitest"
import { type ChildProcess, spawn } from "node:child_process"
import { once } from "node:events"
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs"
import { createRequire } from "node:module"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath, pathToFileURL } from "node:url"

const loader = pathToFileURL(createRequire(import.meta.url).resolve("tsx")).href
const main = fileURLToPath(new URL("../main.ts", import.meta.url))
const tsconfig = fileURLToPath(new URL("../../tsconfig.json", import.meta.url))

/** Runs a scenario as a user would, with a folder for temporary files that nobody else uses. */
const chaos = async (
  args: ReadonlyArray<string>,
  meanwhile: (child: ChildProcess, folder: string, said: () => string) => Promise<void> = async () => {}
) => {
  const folder = mkdtempSync(join(tmpdir(), "safesync-chaos-"))
  try {
    const child = spawn(process.execPath, ["--import", loader, main, ...args], {
      cwd: tmpdir(),
      env: { ...process.env, TSX_TSCONFIG_PATH: tsconfig, TMPDIR: folder },
      stdio: ["ignore", "pipe", "pipe"]
    })
    const text = { stdout: "", stderr: "" }
    child.stdout.setEncoding("utf8").on("data", (chunk: string) => text.stdout += chunk)
    child.stderr.setEncoding("utf8").on("data", (chunk: string) => text.stderr += chunk)
    const closed = once(child, "close")
    await meanwhile(child, folder, () => text.stderr)
    const [code] = await closed
    return { code: code as number | null, ...text, left: servers(folder) }
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

/** The folders of servers. */
const servers = (folder: string) => readdirSync(folder).filter((name) => name.startsWith("safesync-mysql"))

/** One that only waits to be reaped is none. */
const isAlive = (pid: number) => {
  try {
    process.kill(pid, 0)
    return process.platform !== "linux" || !/^State:\s*Z/m.test(readFileSync(`/proc/${pid}/status`, "utf8"))
  } catch {
    return false
  }
}

it("prints the report as JSON, and leaves no server behind", { timeout: 120_000 }, async () => {
  const { code, left, stderr, stdout } = await chaos(["mysql-network", "--seed", "9", "--runs", "1", "--json"])
  const report = JSON.parse(stdout)
  expect([code, left], stderr).toEqual([0, []])
  expect(report).toMatchObject({
    ok: true,
    scenario: "mysql-network",
    seed: 9,
    runs: 1,
    failures: [],
    again: "npm run chaos -- mysql-network --seed 9 --runs 1"
  })
  expect(report.figures["told: success"]).toBeGreaterThan(0)
})

it("is ended by SIGINT with exit code 130, and its server with it", { timeout: 120_000 }, async () => {
  let pid = 0
  const { code, left, stdout } = await chaos(["mysql-kill", "--runs", "1000"], async (child, folder, said) => {
    // a scenario that is under way has said how far it is
    while (!/\d+\/1000 kills/.test(said())) await once(child.stderr!, "data")
    while (!isAlive(pid)) {
      await new Promise(setImmediate)
      try {
        pid = Number(readFileSync(join(folder, servers(folder)[0]!, "pid"), "utf8")) || 0
      } catch {
        // it is just down
      }
    }
    child.kill("SIGINT")
  })
  expect([code, stdout, left]).toEqual([130, "", []])
  expect(isAlive(pid)).toBe(false)
})

it("says in one line what is wrong, with exit code 1", { timeout: 120_000 }, async () => {
  const [runs, scenario] = await Promise.all([chaos(["interrupt", "--runs", "0"]), chaos(["nothing"])])
  expect([runs.code, runs.stdout]).toEqual([1, ""])
  expect(runs.stderr).toMatch(/--runs must be a whole number above 0, not 0/)
  expect(scenario.code).toBe(1)
  expect(scenario.stderr).toMatch(/use one of 'interrupt', 'interruptions'/)
})
