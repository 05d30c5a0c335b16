/**
 * Prometheus' text format, https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format
 *
 * @internal
 */
import * as Metric from "effect/Metric"
import type * as MetricLabel from "effect/MetricLabel"
import type * as MetricPair from "effect/MetricPair"
import * as MetricState from "effect/MetricState"
import * as Option from "effect/Option"

export const text = (): string => {
  const families = new Map<string, Family>()
  for (const { metricKey, metricState } of Metric.unsafeSnapshot()) {
    const name = legal(metricKey.name)
    let family = families.get(name)
    if (family === undefined) {
      family = { type: typeOf(metricState), help: Option.getOrElse(metricKey.description, () => ""), samples: [] }
      families.set(name, family)
    }
    // Two metrics of one name and different types: a second TYPE line would make the page unreadable as a whole.
    if (family.type === typeOf(metricState)) sample(family.samples, name, metricKey.tags, metricState)
  }
  let page = ""
  for (const [name, { help, samples, type }] of families) {
    if (help !== "") page += `# HELP ${name} ${help.replaceAll("\\", "\\\\").replaceAll("\n", "\\n")}\n`
    page += `# TYPE ${name} ${type}\n`
    for (const line of samples) page += line
  }
  return page
}

interface Family {
  readonly type: "counter" | "gauge" | "histogram" | "summary"
  readonly help: string
  readonly samples: Array<string>
}

type State = MetricPair.MetricPair.Untyped["metricState"]

const typeOf = (state: State): Family["type"] =>
  MetricState.isHistogramState(state)
    ? "histogram"
    : MetricState.isSummaryState(state)
    ? "summary"
    : MetricState.isGaugeState(state)
    ? "gauge"
    : "counter"

const sample = (
  lines: Array<string>,
  name: string,
  tags: ReadonlyArray<MetricLabel.MetricLabel>,
  state: State
): void => {
  const labels = tags.map(({ key, value }) => label(key, value))
  const line = (suffix: string, value: number | bigint, ...more: ReadonlyArray<string>) => {
    const all = more.length === 0 ? labels : [...labels, ...more]
    lines.push(`${name}${suffix}${all.length === 0 ? "" : `{${all.join(",")}}`} ${number(value)}\n`)
  }
  if (MetricState.isCounterState(state)) {
    line("", state.count)
  } else if (MetricState.isGaugeState(state)) {
    line("", state.value)
  } else if (MetricState.isFrequencyState(state)) {
    for (const [key, count] of state.occurrences) line("", count, label("key", key))
  } else if (MetricState.isHistogramState(state)) {
    // Their counts are cumulative already; the last one is that of all.
    for (const [boundary, count] of state.buckets) {
      if (Number.isFinite(boundary)) line("_bucket", count, label("le", number(boundary)))
    }
    line("_bucket", state.count, label("le", "+Inf"))
    line("_sum", state.sum)
    line("_count", state.count)
  } else if (MetricState.isSummaryState(state)) {
    for (const [quantile, value] of state.quantiles) {
      line("", Option.getOrElse(value, () => NaN), label("quantile", number(quantile)))
    }
    line("_sum", state.sum)
    line("_count", state.count)
  }
}

const number = (value: number | bigint): string =>
  value === Infinity ? "+Inf" : value === -Infinity ? "-Inf" : String(value)

const legal = (name: string): string => name.replace(/[^a-zA-Z0-9_:]/g, "_").replace(/^(?=\d)/, "_")

const label = (key: string, value: string): string =>
  `${legal(key).replaceAll(":", "_")}="${
    value.replaceAll("\\", "\\\\").replaceAll("\n", "\\n").replaceAll("\"", "\\\"")
  }"`
