/**
 * One contender, from its connection to its verified figures.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import type { Sample } from "./Benchmark.js"
import { jobs } from "./Benchmark.js"
import { cases } from "./cases.js"
import * as Cpu from "./Cpu.js"
import type { Settings } from "./Settings.js"
import { percentile } from "./Statistics.js"

/**
 * @since 0.1.0
 * @category run
 */
export const measure = (settings: Settings): Effect.Effect<Sample, unknown> =>
  Effect.scoped(Effect.gen(function*() {
    const of = cases.find(({ name }) => name === settings.case)!
    const contender = of.contenders.find(({ name }) => name === settings.contender)!
    const [warmUp, job] = jobs(of, contender, settings.size, settings.place)
    const running = yield* contender.start(settings.place)
    yield* running.prepare(warmUp)
    yield* running.prepare(job)
    yield* running.run(warmUp)

    const { mysqld, redis } = settings.pids
    const before = [Cpu.own(), Cpu.of(mysqld), Cpu.of(redis)] as const
    const start = performance.now()
    const millis = yield* running.run(job)
    const seconds = (performance.now() - start) / 1000
    const after = [Cpu.own(), Cpu.of(mysqld), Cpu.of(redis)] as const

    const each = (at: 0 | 1 | 2): number | null => {
      const [from, to] = [before[at], after[at]]
      return from === null || to === null ? null : (to - from) / job.count
    }
    return {
      count: job.count,
      seconds,
      cpu: { node: each(0), mysqld: each(1), redis: each(2) },
      maxRssMegabytes: process.resourceUsage().maxRSS / 1024,
      latency: millis.length === 0 ? null : { p50: percentile(millis, 0.5), p99: percentile(millis, 0.99) },
      problems: yield* running.verify([warmUp, job])
    }
  }))
