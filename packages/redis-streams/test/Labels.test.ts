/** Apart from `RedisStreamsMetrics.test.ts`, since it uses up the streams that a process may name. */
import { assert, describe, it } from "@effect/vitest"
import * as Metrics from "@safesync/redis-streams/RedisStreamsMetrics"
import * as Effect from "effect/Effect"

describe("labels", () => {
  it.effect("a stream for each tenant does not become a series for each tenant", () =>
    Effect.sync(() => {
      const streams = Array.from({ length: 1_000 }, (_, n) => `tenant-${n}`)
      const values = (labels: ReadonlyArray<ReadonlyArray<{ readonly value: string }>>) =>
        new Set(labels.map((_) => _[0]!.value))
      const seen = values(streams.map(Metrics.labels))
      assert.strictEqual(seen.size, 201)
      assert.isTrue(seen.has("other"))
      assert.deepStrictEqual(values(streams.map((stream) => Metrics.attemptLabels(stream, 1))), seen)
      // the same array each time: a metric finds its state by it without hashing
      assert.strictEqual(Metrics.labels("tenant-998"), Metrics.labels("tenant-999"))
      assert.strictEqual(Metrics.labels("tenant-1"), Metrics.labels("tenant-1"))
      // gauges of two groups cannot share a series
      const groups = streams.map((stream) => Metrics.groupLabels(stream, "g"))
      assert.strictEqual(groups.filter((_) => _ !== undefined).length, 200)
      assert.strictEqual(Metrics.groupLabels("tenant-1", "g"), groups[1])
    }))
})
