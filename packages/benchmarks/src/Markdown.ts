/**
 * The report for people.
 *
 * @since 0.1.0
 */
import type { Conditions, Report, Row } from "./Report.js"
import type { Spread } from "./Statistics.js"
import type { Verdict } from "./Targets.js"

/**
 * @since 0.1.0
 * @category output
 */
export const of = ({ cases, conditions, discarded, leftOut, targets }: Report): string =>
  [
    "# Side by side",
    "",
    under(conditions),
    "",
    "A figure is a median, with the lowest and the highest in brackets. Ratios are taken within a round, to the first " +
    "contender of the table. `CPU` is the processor time of Node for each operation, as a ratio; µs are processor time " +
    "for each operation; `trips` are round trips for each operation, counted at a proxy.",
    "",
    "## Targets",
    "",
    summary(targets),
    "",
    ...table(["", "case", "contender", "target", "ratio"], targets.map(verdict)),
    ...cases.flatMap(({ about, compares, name, rows }) => [
      "",
      `## ${name}`,
      "",
      about,
      "",
      ...(compares === "p50" ? latency(rows) : compares === "time" ? growth(rows) : throughput(rows))
    ]),
    ...list("Left out of this run", leftOut),
    ...list("Runs that do not count", discarded)
  ].join("\n")

/**
 * One sentence, and the targets that were missed.
 *
 * @since 0.1.0
 * @category output
 */
export const summary = (targets: ReadonlyArray<Verdict>): string => {
  const count = (result: Verdict["result"]) => targets.filter((_) => _.result === result).length
  return `${count("met")} targets are met, ${count("missed")} missed, ${count("not measured")} were not measured.`
}

/**
 * @since 0.1.0
 * @category output
 */
export const missed = (targets: ReadonlyArray<Verdict>): ReadonlyArray<string> =>
  targets.filter(({ result }) => result === "missed").map((_) => verdict(_).join(" | "))

// internal

const under = (
  { cpus, durability, fsyncMillis, load, mysql, node, redis, rounds, seconds, size }: Conditions
): string =>
  `${rounds} round${rounds === 1 ? "" : "s"} (${size}), in turns, each run in a process of its own that is warm and ` +
  `connected, and verified. Node ${node}, MySQL ${mysql}, Redis ${redis}, ${cpus} cores, load ${
    load.map((_) => _.toFixed(1)).join(" … ")
  }, ${seconds.toFixed(0)} s. The same for all contenders: ${durability}${
    fsyncMillis === null ? "" : `; an fsync takes ${hundredths(fsyncMillis)} ms at first`
  }.`

const verdict = ({ case: name, contender, ratio, result, target, why }: Verdict): ReadonlyArray<string> => [
  result === "met" ? "✓" : result === "missed" ? "✗" : "–",
  name,
  contender,
  `${target.of} ${target.atLeast === undefined ? "≤" : "≥"} ${
    String(target.atLeast ?? target.atMost)
  } × ${target.than}`,
  ratio === null ? why : within(ratio, hundredths)
]

/** The same columns under the names that a case gives to what it compares. */
const rates = (compared: string, ratio: string, cpu: string) => (rows: ReadonlyArray<Row>): ReadonlyArray<string> =>
  table(
    [compared, "a second", ratio, cpu, ...costs, "limited by"],
    rows.map((row) => [
      row.contender,
      within(row.throughput, whole),
      within(row.ratio, hundredths),
      within(row.cpuRatio, hundredths),
      ...costsOf(row),
      row.limit
    ])
  )

const throughput = rates("contender", "ratio", "CPU")

const growth = rates("size", "time of each, ratio", "CPU of each, ratio")

const latency = (rows: ReadonlyArray<Row>): ReadonlyArray<string> =>
  table(
    ["contender", "p50 ms", "p50 ratio", "p99 ms", "p99 ratio", ...costs],
    rows.map((row) => [
      row.contender,
      row.latency === null ? "" : within(row.latency.p50, hundredths),
      within(row.ratio, hundredths),
      row.latency === null ? "" : within(row.latency.p99, hundredths),
      within(row.p99Ratio, hundredths),
      ...costsOf(row)
    ])
  )

const costs = ["Node µs", "mysqld µs", "Redis µs", "MySQL trips", "Redis trips", "peak MB"]

const costsOf = ({ cpu, maxRssMegabytes, roundTrips }: Row): ReadonlyArray<string> => [
  orUnknown(cpu.node),
  orUnknown(cpu.mysqld),
  orUnknown(cpu.redis),
  roundTrips === null ? "" : hundredths(roundTrips.mysql),
  roundTrips === null ? "" : hundredths(roundTrips.redis),
  maxRssMegabytes.toFixed(0)
]

const whole = (value: number): string => Math.round(value).toLocaleString("en-GB")
const hundredths = (value: number): string => value.toFixed(2)
const orUnknown = (value: number | null): string => value === null ? "?" : value.toFixed(0)

const within = ({ max, median, min }: Spread, write: (value: number) => string): string =>
  Number.isNaN(median) ? "?" : min === max ? write(median) : `${write(median)} (${write(min)} … ${write(max)})`

const table = (head: ReadonlyArray<string>, rows: ReadonlyArray<ReadonlyArray<string>>): ReadonlyArray<string> => [
  `| ${head.join(" | ")} |`,
  `|${head.map(() => "---").join("|")}|`,
  ...rows.map((row) => `| ${row.join(" | ")} |`)
]

const list = (title: string, items: ReadonlyArray<string>): ReadonlyArray<string> =>
  items.length === 0 ? [] : ["", `## ${title}`, "", ...items.map((item) => `- ${item}`)]
