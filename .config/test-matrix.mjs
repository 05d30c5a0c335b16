/**
 * `npm run test:matrix [-- ARGUMENTS FOR VITEST]`: the suites of redis-streams and worker against one server after the other.
 * `SAFESYNC_MATRIX` names others than these, by Debian package and suite, separated by spaces.
 */
import { spawnSync } from "node:child_process"
import { mkdtempSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"

const servers = process.env.SAFESYNC_MATRIX?.split(/\s+/).filter(Boolean) ?? [
  "redis-server/bullseye", // 6.0
  "redis-server/bookworm", // 7.0
  "redis-server", // 8.0
  "redis-server/experimental", // 8.6
  "valkey-server/bookworm-backports", // 8.0
  "valkey-server" // 9
]
const folder = mkdtempSync(join(tmpdir(), "safesync-matrix-"))
const rows = servers.map((server) => {
  const outputFile = join(folder, "report.json")
  rmSync(outputFile, { force: true })
  const started = Date.now()
  const { status } = spawnSync("npx", [
    ...["tsx", "packages/testkit/src/bin/withServers.ts", "vitest", "run", "--project", "redis-streams", "--project", "worker"],
    ...["--reporter=default", "--reporter=json", `--outputFile.json=${outputFile}`],
    ...process.argv.slice(2)
  ], { stdio: "inherit", env: { ...process.env, SAFESYNC_REDIS_URL: "", SAFESYNC_REDIS_PACKAGE: server } })
  const minutes = ((Date.now() - started) / 60_000).toFixed(1)
  try {
    const { numFailedTests, numPassedTests, testResults } = JSON.parse(readFileSync(outputFile, "utf8"))
    const failed = testResults.flatMap(({ assertionResults, name, status }) => [
      ...assertionResults.filter(({ status }) => status === "failed").map(({ fullName }) => fullName),
      ...(status === "failed" && assertionResults.length === 0 ? [name] : [])
    ])
    return { server, ok: status === 0, tell: `${numPassedTests} passed, ${numFailedTests} failed`, minutes, failed }
  } catch {
    return { server, ok: false, tell: `no report: it ended with ${status}`, minutes, failed: [] }
  }
})
rmSync(folder, { recursive: true })
console.log(["| server | tests | minutes |", "|---|---|---|"].join("\n"))
for (const { failed, minutes, server, tell } of rows) {
  console.log(`| ${server} | ${tell} | ${minutes} |`)
  for (const name of failed) console.error(`  failed: ${name}`)
}
process.exit(rows.every(({ ok }) => ok) ? 0 : 1)
