import { describe, expect, it } from "@effect/vitest"
import { until } from "@safesync/testkit/Eventually"
import * as PrometheusServer from "@safesync/testkit/PrometheusServer"
import * as Effect from "effect/Effect"
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"

/** Something to scrape. */
const target = Effect.acquireRelease(
  Effect.async<{ readonly port: number; readonly close: () => void }>((resume) => {
    const server = createServer((_, response) => {
      response.writeHead(200, { "content-type": "text/plain; version=0.0.4" }).end("t_up{color=\"red\"} 7\n")
    })
    server.listen(
      { host: "127.0.0.1", port: 0 },
      () => resume(Effect.succeed({ port: (server.address() as AddressInfo).port, close: () => void server.close() }))
    )
  }),
  ({ close }) => Effect.sync(close)
)

describe("PrometheusServer", () => {
  it.scopedLive(
    "it scrapes what it is told to, answers queries, and is gone with its scope",
    () =>
      Effect.gen(function*() {
        const { port } = yield* target
        const url = yield* Effect.gen(function*() {
          const prometheus = yield* PrometheusServer.PrometheusServer
          expect(prometheus.version).toMatch(/^\d+\.\d+/)
          const [sample] = yield* until(prometheus.query("t_up"), (_) => _.length > 0)
          expect(sample).toMatchObject({ metric: { __name__: "t_up", color: "red", job: "safesync" }, value: 7 })
          expect(yield* prometheus.query("1 + 1")).toEqual([{ metric: {}, value: 2 }])
          const refused = yield* Effect.flip(prometheus.query("sum("))
          expect(refused.message).toContain("parse error")
          return prometheus.url
        }).pipe(Effect.provide(PrometheusServer.layerOwn({ targets: [`127.0.0.1:${port}`] })))
        const gone = yield* Effect.exit(Effect.tryPromise(() => fetch(url)))
        expect(gone._tag).toBe("Failure")
      }),
    300_000
  )

  it.live("promtool says what is wrong", () =>
    Effect.gen(function*() {
      expect(yield* PrometheusServer.promtool("--version")).toContain("promtool")
      const failed = yield* Effect.flip(PrometheusServer.promtool("check", "rules", "/nowhere.yml"))
      expect(failed._tag === "CommandFailed" && failed.output).toContain("/nowhere.yml")
    }), 300_000)
})
