/** Labels that are made once, of so many streams and groups that no process can make a series for each of its tenants. */
import * as MetricLabel from "effect/MetricLabel"

type Labels = ReadonlyArray<MetricLabel.MetricLabel>

const most = 200
const streams = new Set<string>()
const byStream = new Map<string, Labels>()
const byGroup = new Map<string, Labels>()
const byAttempt = new Map<string, ReadonlyArray<Labels>>()

export const streamLabel = (stream: string): string => {
  if (!streams.has(stream)) {
    if (streams.size >= most) return "other"
    streams.add(stream)
  }
  return stream
}

export const ofStream = (stream: string, onFirst: (labels: Labels) => void): Labels => {
  const label = streamLabel(stream)
  let labels = byStream.get(label)
  if (labels === undefined) {
    labels = [MetricLabel.make("stream", label)]
    byStream.set(label, labels)
    onFirst(labels)
  }
  return labels
}

export const ofGroup = (stream: string, group: string): Labels | undefined => {
  const key = `${stream}\0${group}`
  let labels = byGroup.get(key)
  if (labels === undefined && byGroup.size < most) {
    labels = [MetricLabel.make("stream", stream), MetricLabel.make("group", group)]
    byGroup.set(key, labels)
  }
  return labels
}

export const ofAttempt = (stream: string, attempt: number): Labels => {
  const label = streamLabel(stream)
  let labels = byAttempt.get(label)
  if (labels === undefined) {
    labels = ["1", "2", "3", "4", "5", "more"].map((attempt) => [
      MetricLabel.make("stream", label),
      MetricLabel.make("attempt", attempt)
    ])
    byAttempt.set(label, labels)
  }
  return labels[Math.min(attempt, labels.length) - 1] ?? labels[0]!
}
