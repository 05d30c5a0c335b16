/**
 * What was measured, as rows and verdicts; `Markdown` is for people, JSON for programs.
 *
 * @since 0.1.0
 */
import * as Either from "effect/Either"
import { cpus, loadavg } from "node:os"
import type { Case, Contender, Figure, Sample, Size } from "./Benchmark.js"
import * as Limit from "./Limit.js"
import type { Played, Turn } from "./Rounds.js"
import type { RoundTrips } from "./RoundTrips.js"
import { type Spread, spread } from "./Statistics.js"
import * as Targets from "./Targets.js"

/**
 * Under what the figures came about.
 *
 * @since 0.1.0
 * @category models
 */
export interface Conditions {
  readonly size: Size
  readonly rounds: number
  readonly node: string
  readonly mysql: string
  readonly redis: string
  /** What the servers are told of when a write is on disk: the same for all contenders. */
  readonly durability: string
  /** Milliseconds until a block is on disk, where servers of our own keep their files; null where they are somebody else's. */
  readonly fsyncMillis: number | null
  readonly cpus: number
  /** Of the last minute, at the beginning and at the end: what else the machine had to do. */
  readonly load: readonly [number, number]
  readonly seconds: number
}

/**
 * @since 0.1.0
 * @category models
 */
export interface Row {
  readonly contender: string
  readonly runs: number
  /** Operations a second. */
  readonly throughput: Spread
  /** To the baseline of the same round: of what the case compares. */
  readonly ratio: Spread
  /** Processor time of Node for each operation, as a ratio to the baseline's: what a busy machine does not blur. */
  readonly cpuRatio: Spread
  /** Medians, microseconds for each operation. */
  readonly cpu: Readonly<Record<"node" | "mysqld" | "redis", number | null>>
  readonly latency: { readonly p50: Spread; readonly p99: Spread } | null
  /** The latency at 99 %, as a ratio to the baseline's. */
  readonly p99Ratio: Spread
  readonly maxRssMegabytes: number
  /** For each operation, counted at a proxy; null where that was not done. */
  readonly roundTrips: RoundTrips | null
  readonly limit: string
}

/**
 * @since 0.1.0
 * @category models
 */
export interface Report {
  /** Whether every run was verified. */
  readonly ok: boolean
  readonly conditions: Conditions
  readonly targets: ReadonlyArray<Targets.Verdict>
  readonly cases: ReadonlyArray<{
    readonly name: string
    readonly about: string
    readonly compares: Case["compares"]
    readonly rows: ReadonlyArray<Row>
  }>
  readonly discarded: ReadonlyArray<string>
  /** Cases, and contenders of cases, that were not run. */
  readonly leftOut: ReadonlyArray<string>
}

/**
 * @since 0.1.0
 * @category constructors
 */
export const make = (
  all: ReadonlyArray<Case>,
  played: ReadonlyArray<Played>,
  conditions: Omit<Conditions, "node" | "cpus">
): Report => {
  const discarded = played.flatMap(({ case: { name }, turns }) =>
    turns.flatMap(({ contender, result, round }) =>
      Either.isLeft(result) ? [`${name}: ${contender}, round ${round}: ${result.left}`] : []
    )
  )
  return {
    ok: discarded.length === 0,
    conditions: { ...conditions, node: process.version, cpus: cpus().length },
    targets: Targets.verdicts(all, played),
    cases: played.map(({ case: of, roundTrips, turns }) => ({
      name: of.name,
      about: of.about,
      compares: of.compares,
      rows: of.contenders.flatMap((contender) => row(of, contender, turns, roundTrips.get(contender.name) ?? null))
    })),
    discarded,
    leftOut: all.flatMap((of) => {
      const ran = played.find(({ case: { name } }) => name === of.name)
      return ran === undefined
        ? [of.name]
        : of.contenders.flatMap(({ name }) =>
          ran.case.contenders.some((_) => _.name === name) ? [] : [`${of.name}: ${name}`]
        )
    })
  }
}

/**
 * @since 0.1.0
 * @category constructors
 */
export const load = (): number => loadavg()[0]!

/**
 * @since 0.1.0
 * @category output
 */
export const toJson = (report: Report): string => JSON.stringify(report, undefined, 2)

// internal

const row = (
  of: Case,
  { name }: Contender,
  turns: ReadonlyArray<Turn>,
  roundTrips: RoundTrips | null
): ReadonlyArray<Row> => {
  const own = Targets.samples(turns, name)
  if (own.size === 0) return []
  const all = [...own.values()]
  const baseline = Targets.samples(turns, of.baseline)
  const ratio = (figure: Figure): Spread => Targets.ratios(own, baseline, figure)
  const median = (value: (sample: Sample) => number | null): number | null => {
    const values = all.flatMap((sample) => value(sample) ?? [])
    return values.length === 0 ? null : spread(values).median
  }
  const millis = (which: "p50" | "p99"): Spread => spread(all.map(({ latency }) => latency?.[which] ?? Number.NaN))
  return [{
    contender: name,
    runs: own.size,
    throughput: spread(all.map(({ count, seconds }) => count / seconds)),
    ratio: ratio(of.compares),
    cpuRatio: ratio("CPU"),
    cpu: {
      node: median(({ cpu }) => cpu.node),
      mysqld: median(({ cpu }) => cpu.mysqld),
      redis: median(({ cpu }) => cpu.redis)
    },
    latency: all[0]!.latency === null ? null : { p50: millis("p50"), p99: millis("p99") },
    p99Ratio: ratio("p99"),
    maxRssMegabytes: median(({ maxRssMegabytes }) => maxRssMegabytes)!,
    roundTrips,
    limit: Limit.of(all)
  }]
}
