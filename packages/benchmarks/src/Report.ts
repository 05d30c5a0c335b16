/**
 * What was measured: Markdown for people, JSON for programs.
 *
 * @since 0.1.0
 */
import * as Either from "effect/Either"
import { cpus, loadavg } from "node:os"
import type { Case, Contender, Sample, Size, Target } from "./Benchmark.js"
import type { Played, Turn } from "./Rounds.js"
import { type Spread, spread } from "./Statistics.js"

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
  /** To the baseline of the same round: of operations a second, or of the median latency. */
  readonly ratio: Spread
  /** Processor time of Node for each operation, as a ratio to the baseline's: what a busy machine does not blur. */
  readonly cpuRatio: Spread
  readonly targets: ReadonlyArray<Target & { readonly ratio: Spread; readonly met: boolean }>
  /** Medians, microseconds for each operation. */
  readonly cpu: Readonly<Record<"node" | "mysqld" | "redis", number | null>>
  readonly latency: { readonly p50: number; readonly p99: number } | null
  readonly maxRssMegabytes: number
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
  readonly cases: ReadonlyArray<{ readonly name: string; readonly about: string; readonly rows: ReadonlyArray<Row> }>
  readonly discarded: ReadonlyArray<string>
}

/**
 * @since 0.1.0
 * @category constructors
 */
export const make = (
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
    cases: played.map(({ case: of, turns }) => ({
      name: of.name,
      about: of.about,
      rows: of.contenders.flatMap((contender) => row(of, contender, turns))
    })),
    discarded
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

/**
 * @since 0.1.0
 * @category output
 */
export const toMarkdown = ({ cases, conditions, discarded }: Report): string =>
  [
    "# Side by side",
    "",
    `${conditions.rounds} round${conditions.rounds === 1 ? "" : "s"} (${conditions.size}), in turns, each run in a ` +
    `process of its own and verified. Node ${conditions.node}, MySQL ${conditions.mysql}, Redis ${conditions.redis}, ` +
    `${conditions.cpus} cores, load ${conditions.load.map((_) => _.toFixed(1)).join(" … ")}, ` +
    `${conditions.seconds.toFixed(0)} s.`,
    "",
    "A figure is a median, with the lowest and the highest in brackets. Ratios are taken within a round, to the first " +
    "contender of the table. `CPU` is the processor time of Node for each operation, as a ratio; µs are processor time " +
    "for each operation.",
    ...cases.flatMap(({ about, name, rows }) => [
      "",
      `## ${name}`,
      "",
      about,
      "",
      ...table(
        [
          "contender",
          "a second",
          "ratio",
          "CPU",
          "target",
          "Node µs",
          "mysqld µs",
          "Redis µs",
          "p50 ms",
          "p99 ms",
          "MB",
          "limited by"
        ],
        rows.map((row) => [
          row.contender,
          within(row.throughput, whole),
          within(row.ratio, hundredths),
          hundredths(row.cpuRatio.median),
          row.targets.map(told).join("; "),
          orUnknown(row.cpu.node),
          orUnknown(row.cpu.mysqld),
          orUnknown(row.cpu.redis),
          row.latency === null ? "" : row.latency.p50.toFixed(2),
          row.latency === null ? "" : row.latency.p99.toFixed(2),
          row.maxRssMegabytes.toFixed(0),
          row.limit
        ])
      )
    ]),
    ...(discarded.length === 0 ? [] : [
      "",
      "## Runs that do not count",
      "",
      ...discarded.map((problem) => `- ${problem}`)
    ])
  ].join("\n")

// internal

const figure = (of: Case, { count, latency, seconds }: Sample): number =>
  of.latency ? latency?.p50 ?? Number.NaN : count / seconds

const samples = (turns: ReadonlyArray<Turn>, contender: string): ReadonlyMap<number, Sample> =>
  new Map(
    turns.flatMap(({ contender: name, result, round }) =>
      name === contender && Either.isRight(result) ? [[round, result.right] as const] : []
    )
  )

/** Of those rounds in which both count. */
const ratios = (
  own: ReadonlyMap<number, Sample>,
  other: ReadonlyMap<number, Sample>,
  of: (sample: Sample) => number
): Spread => {
  const values = [...own].flatMap(([round, sample]) => {
    const than = other.get(round)
    return than === undefined ? [] : [of(sample) / of(than)]
  })
  return spread(values.length === 0 ? [Number.NaN] : values)
}

const row = (of: Case, { name, targets = [] }: Contender, turns: ReadonlyArray<Turn>): ReadonlyArray<Row> => {
  const own = samples(turns, name)
  if (own.size === 0) return []
  const all = [...own.values()]
  const baseline = samples(turns, of.baseline)
  const median = (value: (sample: Sample) => number | null): number | null => {
    const values = all.flatMap((sample) => value(sample) ?? [])
    return values.length === 0 ? null : spread(values).median
  }
  return [{
    contender: name,
    runs: own.size,
    throughput: spread(all.map(({ count, seconds }) => count / seconds)),
    ratio: ratios(own, baseline, (_) => figure(of, _)),
    cpuRatio: ratios(own, baseline, ({ cpu }) => cpu.node ?? Number.NaN),
    targets: targets.flatMap((target) => {
      const ratio = ratios(own, samples(turns, target.than), (_) => figure(of, _))
      // Left out by a filter, or no run of it counts.
      if (Number.isNaN(ratio.median)) return []
      const met = ratio.median >= (target.atLeast ?? 0) && ratio.median <= (target.atMost ?? Infinity)
      return { ...target, ratio, met }
    }),
    cpu: {
      node: median(({ cpu }) => cpu.node),
      mysqld: median(({ cpu }) => cpu.mysqld),
      redis: median(({ cpu }) => cpu.redis)
    },
    latency: all[0]!.latency === null ? null : {
      p50: median(({ latency }) => latency?.p50 ?? null)!,
      p99: median(({ latency }) => latency?.p99 ?? null)!
    },
    maxRssMegabytes: median(({ maxRssMegabytes }) => maxRssMegabytes)!,
    limit: limit(all)
  }]
}

/** How much of a core each had: who is near 100 % is what the others wait for. */
const limit = (all: ReadonlyArray<Sample>): string => {
  const shares = (["node", "mysqld", "redis"] as const).flatMap((who) => {
    const values = all.flatMap(({ count, cpu, seconds }) => {
      const each = cpu[who]
      return each === null ? [] : [each * count / seconds / 10_000]
    })
    return values.length === 0 ? [] : [[who === "node" ? "Node" : who, spread(values).median] as const]
  })
  const told = shares.map(([who, share]) => `${who} ${share.toFixed(0)} %`).join(", ")
  const [first] = shares.toSorted(([, a], [, b]) => b - a)
  return first !== undefined && first[1] >= 80 ? `${first[0]} (${told})` : `waiting (${told})`
}

const told = ({ atLeast, atMost, met, ratio, than }: Row["targets"][number]): string =>
  `${met ? "✓" : "✗"} ${hundredths(ratio.median)} of ${than}, ${atLeast === undefined ? "≤" : "≥"} ${
    String(atLeast ?? atMost)
  }`

const whole = (value: number): string => Math.round(value).toLocaleString("en-GB")
const hundredths = (value: number): string => value.toFixed(2)
const orUnknown = (value: number | null): string => value === null ? "?" : value.toFixed(0)

const within = ({ max, median, min }: Spread, write: (value: number) => string): string =>
  min === max ? write(median) : `${write(median)} (${write(min)} … ${write(max)})`

const table = (head: ReadonlyArray<string>, rows: ReadonlyArray<ReadonlyArray<string>>): ReadonlyArray<string> => [
  `| ${head.join(" | ")} |`,
  `|${head.map((_, at) => at === 0 || at === 4 || at === 11 ? "---" : "--:").join("|")}|`,
  ...rows.map((row) => `| ${row.join(" | ")} |`)
]
