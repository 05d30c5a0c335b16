import { describe, expect, it, vi } from "@effect/vitest"
import * as Prometheus from "@safesync/opentelemetry/Prometheus"
import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"
import * as MetricBoundaries from "effect/MetricBoundaries"
import { Server } from "node:net"

const lines = (page: string, name: string) => page.split("\n").filter((line) => line.includes(name))

describe("Prometheus", () => {
  it.effect("names and labels come out as they are, with nothing added", () =>
    Effect.gen(function*() {
      yield* Metric.increment(Metric.counter("p_count_total", { description: "a\\b\nc" }))
      yield* Metric.increment(Metric.counter("p_count"))
      const gauge = Metric.gauge("p_gauge_seconds", { description: "seconds" })
      yield* Metric.set(Metric.tagged(gauge, "stream", "a\"b\\c\nd"), -1.5)
      const page = yield* Prometheus.text
      expect(lines(page, "p_count")).toEqual([
        "# HELP p_count_total a\\\\b\\nc",
        "# TYPE p_count_total counter",
        "p_count_total 1",
        "# TYPE p_count counter",
        "p_count 1"
      ])
      expect(lines(page, "p_gauge")).toEqual([
        "# HELP p_gauge_seconds seconds",
        "# TYPE p_gauge_seconds gauge",
        `p_gauge_seconds{stream="a\\"b\\\\c\\nd"} -1.5`
      ])
    }))

  it.effect("the buckets of a histogram are cumulative and end with all", () =>
    Effect.gen(function*() {
      const histogram = Metric.tagged(
        Metric.histogram("p_latency_seconds", MetricBoundaries.fromIterable([0.1, 1])),
        "op",
        "x"
      )
      yield* Metric.update(histogram, 0.05)
      yield* Metric.update(histogram, 0.5)
      yield* Metric.update(histogram, 0.1)
      yield* Metric.update(histogram, 7)
      const page = yield* Prometheus.text
      expect(lines(page, "p_latency")).toEqual([
        "# TYPE p_latency_seconds histogram",
        `p_latency_seconds_bucket{op="x",le="0.1"} 2`,
        `p_latency_seconds_bucket{op="x",le="1"} 3`,
        `p_latency_seconds_bucket{op="x",le="+Inf"} 4`,
        `p_latency_seconds_sum{op="x"} 7.65`,
        `p_latency_seconds_count{op="x"} 4`
      ])
    }))

  it.effect("series of one metric stand together, whatever order they were made in", () =>
    Effect.gen(function*() {
      const a = Metric.counter("p_grouped_total")
      yield* Metric.increment(Metric.tagged(a, "x", "1"))
      yield* Metric.increment(Metric.counter("p_other_total"))
      yield* Metric.increment(Metric.tagged(a, "x", "2"))
      const page = yield* Prometheus.text
      const at = page.indexOf("# TYPE p_grouped_total")
      expect(page.slice(at).split("\n").slice(0, 3)).toEqual([
        "# TYPE p_grouped_total counter",
        `p_grouped_total{x="1"} 1`,
        `p_grouped_total{x="2"} 1`
      ])
    }))

  it.scoped("the endpoint answers at its path, and is gone with its scope", () =>
    Effect.gen(function*() {
      yield* Metric.increment(Metric.counter("p_http_total"))
      const port = yield* Effect.scoped(Effect.gen(function*() {
        const { port } = yield* Prometheus.listen({ port: 0 })
        const page = yield* Effect.promise(() => fetch(`http://127.0.0.1:${port}/metrics`))
        expect(page.headers.get("content-type")).toBe(Prometheus.contentType)
        expect(yield* Effect.promise(() => page.text())).toContain("p_http_total 1\n")
        const [missing, posted] = yield* Effect.promise(() =>
          Promise.all([
            fetch(`http://127.0.0.1:${port}/`),
            fetch(`http://127.0.0.1:${port}/metrics`, { method: "POST" })
          ])
        )
        expect([missing.status, posted.status]).toEqual([404, 405])
        return port
      }))
      const gone = yield* Effect.exit(Effect.tryPromise(() => fetch(`http://127.0.0.1:${port}/metrics`)))
      expect(gone._tag).toBe("Failure")
    }))

  it.scoped("connections that cannot be accepted do not end the process", () =>
    Effect.gen(function*() {
      const listen = vi.spyOn(Server.prototype, "listen")
      const { port } = yield* Prometheus.listen({ port: 0 })
      const server = listen.mock.contexts[0] as Server
      listen.mockRestore()
      for (const code of ["EMFILE", "EMFILE"]) server.emit("error", new Error(`accept ${code}`))
      const page = yield* Effect.promise(() => fetch(`http://127.0.0.1:${port}/metrics`))
      expect(page.status).toBe(200)
    }))

  it.scoped("a port that is taken is a typed error", () =>
    Effect.gen(function*() {
      const { port } = yield* Prometheus.listen({ port: 0 })
      const error = yield* Effect.flip(Prometheus.listen({ port }))
      expect(error._tag).toBe("EndpointUnavailable")
      expect(error.message).toContain(`127.0.0.1:${port}`)
    }))
})
