import { expect, it } from "@effect/vitest"
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import type { Report } from "../Report.js"
import { ended, start } from "./process.js"

const demo = (...args: ReadonlyArray<string>) => ended(start(args))

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
    kill: true,
    killed: { name: expect.stringMatching(/^worker-[12]$/), pid: expect.any(Number) },
    lost: 0,
    appliedTwice: 0,
    audit: { differences: [] }
  })
  expect(report.killed!.pending).toBeGreaterThan(0)
  expect(report.killed!.takenOver).toBe(report.killed!.pending)
  expect(report.deadLettered).toBeGreaterThan(0)
})

it(
  "an input too short to kill anybody at work is not enough, and the report says so",
  { timeout: 180_000 },
  async () => {
    const { code, stdout } = await demo("--lines", "1", "--workers", "2")
    expect([code, stdout]).toEqual([1, expect.stringMatching(/^The audit holds.*\nBut the input was too short/m)])
  }
)

it("says in one line what is wrong, with exit code 1", { timeout: 180_000 }, async () => {
  const folder = mkdtempSync(join(tmpdir(), "safesync-demo-"))
  try {
    writeFileSync(join(folder, "empty.csv"), "")
    const complaints = await Promise.all([
      demo("--input", join(folder, "empty.csv")),
      demo("--input", join(folder, "missing.csv")),
      demo("--mysql-url", "mysql://somebody:secret@127.0.0.1:1", "--lines", "1"),
      demo("--redis-url", "http://127.0.0.1", "--lines", "1"),
      demo("--redis-url", "redis://:secret100%@127.0.0.1", "--lines", "1"),
      demo("--mysql-url", "", "--lines", "1")
    ])
    for (const { code, stderr, stdout } of complaints) {
      expect([code, stdout]).toEqual([1, ""])
      expect(stderr.trim().split("\n")).toHaveLength(1)
      expect(stderr).not.toMatch(/secret|^\s+at /m)
    }
    const [empty, missing, mysql, redis, percent, nothing] = complaints.map(({ stderr }) => stderr)
    expect(empty).toMatch(/empty\.csv: it is empty\. Give a CSV file/)
    expect(missing).toMatch(/missing\.csv: there is no such file\. Correct the path/)
    expect(mysql).toMatch(/^MySQL is not available\. --mysql-url: nothing listens at 127\.0\.0\.1:1\. Start the server/)
    expect(redis).toMatch(/^Redis is not available\. --redis-url: .*redis:\/\//)
    expect(percent).toMatch(/^Redis is not available\. --redis-url: a % in user, password or path .* Write %25/)
    expect(nothing).toMatch(/^--mysql-url is empty\. Give the server's URL, or leave it out/)
  } finally {
    rmSync(folder, { recursive: true })
  }
})
