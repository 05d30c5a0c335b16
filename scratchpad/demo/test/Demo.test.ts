import { expect, it } from "@effect/vitest"
import { spawn } from "node:child_process"
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { createRequire } from "node:module"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath, pathToFileURL } from "node:url"
import type { Report } from "../Report.js"

const loader = pathToFileURL(createRequire(import.meta.url).resolve("tsx")).href
const main = fileURLToPath(new URL("../main.ts", import.meta.url))
const tsconfig = fileURLToPath(new URL("../../tsconfig.json", import.meta.url))

/** Runs the demo as a user would, in a folder that has nothing to do with it. */
const demo = (...args: ReadonlyArray<string>) =>
  new Promise<{ readonly code: number | null; readonly stdout: string; readonly stderr: string }>((resolve) => {
    const child = spawn(process.execPath, ["--import", loader, main, ...args], {
      cwd: tmpdir(),
      env: { ...process.env, TSX_TSCONFIG_PATH: tsconfig },
      stdio: ["ignore", "pipe", "pipe"]
    })
    const text = { stdout: "", stderr: "" }
    child.stdout.setEncoding("utf8").on("data", (chunk: string) => text.stdout += chunk)
    child.stderr.setEncoding("utf8").on("data", (chunk: string) => text.stderr += chunk)
    child.once("close", (code) => resolve({ code, ...text }))
  })

it("L23: every line is applied exactly once though a worker is killed", { timeout: 180_000 }, async () => {
  const { code, stderr, stdout } = await demo("--lines", "600", "--seed", "7", "--workers", "2", "--json")
  expect([code, stderr]).toEqual([0, expect.stringMatching(/got SIGKILL/)])
  const report = JSON.parse(stdout) as Report
  expect(report).toMatchObject({
    ok: true,
    lines: 600,
    // Lines 97, 194 … 582 are sent twice.
    sent: 606,
    workers: 2,
    killed: { name: expect.stringMatching(/^worker-[12]$/), pid: expect.any(Number) },
    lost: 0,
    appliedTwice: 0,
    audit: { differences: [] }
  })
  expect(report.deadLettered).toBeGreaterThan(0)
  expect(report.applied + report.deadLettered + report.duplicatesRefused).toBe(606)
})

it("says in one line what is wrong, with exit code 1", { timeout: 180_000 }, async () => {
  const folder = mkdtempSync(join(tmpdir(), "safesync-demo-"))
  try {
    writeFileSync(join(folder, "empty.csv"), "")
    const complaints = await Promise.all([
      demo("--input", join(folder, "empty.csv")),
      demo("--input", join(folder, "missing.csv")),
      demo("--mysql-url", "mysql://somebody:secret@127.0.0.1:1", "--lines", "1"),
      demo("--redis-url", "http://127.0.0.1", "--lines", "1")
    ])
    for (const { code, stderr, stdout } of complaints) {
      expect([code, stdout]).toEqual([1, ""])
      expect(stderr.trim().split("\n")).toHaveLength(1)
      expect(stderr).not.toMatch(/secret|^\s+at /m)
    }
    const [empty, missing, mysql, redis] = complaints.map(({ stderr }) => stderr)
    expect(empty).toMatch(/empty\.csv: it is empty\. Give a CSV file/)
    expect(missing).toMatch(/missing\.csv: there is no such file\. Correct the path/)
    expect(mysql).toMatch(/^MySQL is not available\. --mysql-url: nothing listens at 127\.0\.0\.1:1\. Start the server/)
    expect(redis).toMatch(/^Redis is not available\. --redis-url: .*redis:\/\//)
  } finally {
    rmSync(folder, { recursive: true })
  }
})
