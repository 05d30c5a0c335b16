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
 * Waits for its `turn` before each slice, the first time as soon as it is warm.
 *
 * @since 0.1.0
 * @category run
 */
export const measure = (settings: Settings, turn: Effect.Effect<void> = Effect.void): Effect.Effect<Sample, unknown> =>
  Effect.scoped(Effect.gen(function*() {
    const of = cases.find(({ name }) => name === settings.case)!
    const contender = of.contenders.find(({ name }) => name === settings.contender)!
    const { measured, warmUp } = jobs(of, contender, settings.size, settings.place)
    const running = yield* contender.start(settings.place)
    const observer = yield* Driver.mysql(settings.place, 1)
    for (const job of [warmUp, ...measured]) yield* running.prepare(job)
    yield* running.run(warmUp)

    const { mysqld, redis } = settings.pids
    const { workers } = running
    const node = (): number | null => workers === undefined ? Cpu.own() : sum(workers.map(Cpu.of))
    const slices = yield* Effect.forEach(measured, (job) =>
      Effect.gen(function*() {
        yield* turn
        const waited = yield* Waits.sofar(observer)
        const before = [node(), Cpu.of(mysqld), Cpu.of(redis)] as const
        const start = performance.now()
        const millis = yield* running.run(job)
        const seconds = (performance.now() - start) / 1000
        const after = [node(), Cpu.of(mysqld), Cpu.of(redis)] as const
        const waits = Waits.between(waited, yield* Waits.sofar(observer))
        return { seconds, millis, waits, cpu: after.map((at, server) => minus(at, before[server]!)) }
      }))

    const count = measured.reduce((all, job) => all + job.count, 0)
    const seconds = slices.reduce((all, slice) => all + slice.seconds, 0)
    const millis = slices.flatMap((slice) => slice.millis)
    const each = (server: 0 | 1 | 2): number | null => {
      const all = sum(slices.map(({ cpu }) => cpu[server]!))
      return all === null ? null : all / count
    }
    return {
      count,
      seconds,
      cpu: { node: each(0), mysqld: each(1), redis: each(2) },
      maxRssMegabytes: Math.max(...workers?.map(Cpu.peakMegabytes) ?? [process.resourceUsage().maxRSS / 1024]),
      latency: millis.length === 0 ? null : { p50: percentile(millis, 0.5), p99: percentile(millis, 0.99) },
      waits: Waits.during(slices.map(({ waits }) => waits), seconds),
      problems: yield* running.verify([warmUp, ...measured])
    }
  }))

// internal

/** Unknown if one of them is. */
const sum = (values: ReadonlyArray<number | null>): number | null =>
  values.reduce((all, value) => all === null || value === null ? null : all + value, 0)

const minus = (to: number | null, from: number | null): number | null => to === null || from === null ? null : to - from
