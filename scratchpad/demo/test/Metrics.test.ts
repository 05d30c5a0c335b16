import { expect, it } from "@effect/vitest"
import { spawn } from "node:child_process"
import { createRequire } from "node:module"
import { tmpdir } from "node:os"
import { fileURLToPath, pathToFileURL } from "node:url"

const loader = pathToFileURL(createRequire(import.meta.url).resolve("tsx")).href
const main = fileURLToPath(new URL("../main.ts", import.meta.url))
const tsconfig = fileURLToPath(new URL("../../tsconfig.json", import.meta.url))

/** The page at a port once it tells of a committed write; asked for until the demo has ended. */
const page = async (port: number, ended: () => boolean): Promise<string> => {
  while (!ended()) {
    try {
      const text = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text()
      if (/^coti_safesync_db_write_total\{.*status="success"\} [1-9]/m.test(text)) return text
    } catch {
      // not yet
    }
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
  return ""
}

it("--metrics: each worker offers its metrics", { timeout: 180_000 }, async () => {
  const child = spawn(
    process.execPath,
    ["--import", loader, main, "--metrics", "--no-kill", "--lines", "1200", "--workers", "2", "--json"],
    { cwd: tmpdir(), env: { ...process.env, TSX_TSCONFIG_PATH: tsconfig }, stdio: ["ignore", "ignore", "pipe"] }
  )
  let stderr = ""
  child.stderr.setEncoding("utf8").on("data", (text: string) => stderr += text)
  let ended = false
  const code = new Promise((resolve) => child.once("close", resolve)).finally(() => ended = true)
  const pages = await Promise.all([9_464, 9_465].map((port) => page(port, () => ended)))
  expect([await code, stderr]).toEqual([0, expect.stringContaining("http://127.0.0.1:9464/metrics")])
  for (const text of pages) {
    expect(text).toContain("coti_safesync_queue_messages_read_total{stream=")
    expect(text).toContain("coti_safesync_queue_lag{stream=")
  }
})
