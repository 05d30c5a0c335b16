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
import * as Driver from "./Driver.js"
import type { Settings } from "./Settings.js"
import { percentile } from "./Statistics.js"
import * as Waits from "./Waits.js"

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
    const { workers } = running
    const observer = yield* Driver.mysql(settings.place, 1)
    const node = (): number | null =>
      workers === undefined ? Cpu.own() : workers.reduce<number | null>((sum, pid) => {
        const more = Cpu.of(pid)
        return sum === null || more === null ? null : sum + more
      }, 0)
    const waited = yield* Waits.sofar(observer)
    const before = [node(), Cpu.of(mysqld), Cpu.of(redis)] as const
    const start = performance.now()
    const millis = yield* running.run(job)
    const seconds = (performance.now() - start) / 1000
    const after = [node(), Cpu.of(mysqld), Cpu.of(redis)] as const
    const waits = Waits.during(waited, yield* Waits.sofar(observer), seconds)

    const each = (at: 0 | 1 | 2): number | null => {
      const [from, to] = [before[at], after[at]]
      return from === null || to === null ? null : (to - from) / job.count
    }
    return {
      count: job.count,
      seconds,
      cpu: { node: each(0), mysqld: each(1), redis: each(2) },
      maxRssMegabytes: Math.max(...workers?.map(Cpu.peakMegabytes) ?? [process.resourceUsage().maxRSS / 1024]),
      latency: millis.length === 0 ? null : { p50: percentile(millis, 0.5), p99: percentile(millis, 0.99) },
      waits,
      problems: yield* running.verify([warmUp, job])
    }
  }))
