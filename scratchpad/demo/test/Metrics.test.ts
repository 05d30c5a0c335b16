import { expect, it } from "@effect/vitest"
import { once } from "node:events"
import { createServer } from "node:net"
import { setTimeout } from "node:timers/promises"
import type { Report } from "../Report.js"
import { ended, start } from "./process.js"

/** The page at a port once it tells of a committed write; asked for until the demo has ended. */
const page = async (port: number, over: () => boolean): Promise<string> => {
  while (!over()) {
    try {
      const text = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text()
      if (/^coti_safesync_db_write_total\{.*status="success"\} [1-9]/m.test(text)) return text
    } catch {
      // not yet
    }
    await setTimeout(20)
  }
  return ""
}

/**
 * A port that is free, and the one after it too. Below those that Linux gives to outgoing connections, of which other tests open
 * thousands before the demo listens.
 */
const freePair = async (): Promise<number> => {
  const port = 10_000 + Math.floor(Math.random() * 20_000)
  const servers = [createServer(), createServer()] as const
  try {
    for (const [n, server] of servers.entries()) await once(server.listen(port + n, "127.0.0.1"), "listening")
    return port
  } catch {
    return freePair()
  } finally {
    for (const server of servers) server.close()
  }
}

it("--metrics: each worker offers its metrics", { timeout: 180_000 }, async () => {
  const port = await freePair()
  const child = start(
    ["--metrics", "--metrics-port", String(port), "--no-kill", "--lines", "1200", "--workers", "2", "--json"]
  )
  let over = false
  const end = ended(child).finally(() => over = true)
  const pages = await Promise.all([port, port + 1].map((port) => page(port, () => over)))
  const { code, stderr, stdout } = await end
  expect([code, stderr], stdout).toEqual([0, expect.stringContaining(`http://127.0.0.1:${port}/metrics`)])
  for (const text of pages) {
    expect(text).toContain("coti_safesync_queue_messages_read_total{stream=")
    expect(text).toContain("coti_safesync_queue_lag{stream=")
  }
  // Where nobody is killed, what the workers counted is all there is.
  const report = JSON.parse(stdout) as Report
  expect(report.duplicatesRefused).toBeGreaterThan(0)
  expect(report.applied + report.deadLettered + report.duplicatesRefused).toBe(report.sent)
})
