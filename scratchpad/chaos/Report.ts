/**
 * What a scenario says at its end: a table for people, or JSON for programs.
 *
 * @since 0.1.0
 */
import { loadavg } from "node:os"
import * as Table from "../terminal/Table.js"
import type { Outcome, Scenario } from "./Scenario.js"

/**
 * @since 0.1.0
 * @category models
 */
export interface Report extends Outcome {
  /** Whether every expectation held. */
  readonly ok: boolean
  readonly scenario: string
  readonly seed: number
  readonly runs: number
  readonly unit: string
  readonly seconds: number
  /** The machine's, over a minute, at the beginning and at the end: what else it had to do. */
  readonly load: readonly [number, number]
  /** What to type to see it again. */
  readonly again: string
}

/**
 * The load average of the last minute.
 *
 * @since 0.1.0
 * @category constructors
 */
export const load = (): number => loadavg()[0]!

/**
 * @since 0.1.0
 * @category constructors
 */
export const make = (
  scenario: Scenario,
  of: Pick<Report, "seed" | "runs" | "seconds" | "load">,
  outcome: Outcome
): Report => ({
  ok: outcome.failures.length === 0,
  scenario: scenario.name,
  unit: scenario.unit,
  ...of,
  ...outcome,
  again: `npm run chaos -- ${scenario.name} --seed ${of.seed} --runs ${of.runs}`
})

/**
 * @since 0.1.0
 * @category output
 */
export const toJson = ({ figures, ...report }: Report): string =>
  JSON.stringify({ ...report, figures: Object.fromEntries(figures) }, undefined, 2)

/**
 * @since 0.1.0
 * @category output
 */
export const toTable = (report: Report): string => {
  const rows: Outcome["figures"] = [
    ["seed", report.seed],
    [report.unit, report.runs],
    ...report.figures,
    ["seconds", report.seconds.toFixed(1)],
    ["load average, before and after", report.load.map((value) => value.toFixed(1)).join(" … ")]
  ]
  const { failures } = report
  const verdict = report.ok
    ? `${report.scenario}: every expectation holds.`
    : `${report.scenario} FAILS, ${failures.length} expectation${failures.length === 1 ? "" : "s"}:`
  return [
    ...Table.make(rows),
    verdict,
    ...Table.list(failures)
  ].join("\n")
}

/**
 * The names of what `spread` gives.
 *
 * @since 0.1.0
 * @category output
 */
export const spreadNames = "median, p99, max"

/**
 * Milliseconds that were measured, as one figure of a report.
 *
 * @since 0.1.0
 * @category output
 */
export const spread = (millis: ReadonlyArray<number>): string => {
  if (millis.length === 0) return "none"
  const sorted = millis.toSorted((a, b) => a - b)
  const at = (share: number) => sorted[Math.ceil(sorted.length * share) - 1]!
  return [at(0.5), at(0.99), at(1)].map((value) => value.toFixed(1)).join(", ") + " ms"
}
