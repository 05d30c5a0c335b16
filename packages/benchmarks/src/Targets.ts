/**
 * What was to be reached, and whether it was.
 *
 * @since 0.1.0
 */
import * as Either from "effect/Either"
import type { Case, Contender, Figure, Sample, Target } from "./Benchmark.js"
import type { Played, Turn } from "./Rounds.js"
import { type Spread, spread } from "./Statistics.js"

/**
 * `missed` is also who has not brought one run that counts; `not measured`, where it was left out or there is nothing to
 * compare it with.
 *
 * @since 0.1.0
 * @category models
 */
export interface Verdict {
  readonly case: string
  readonly contender: string
  readonly target: Target
  readonly result: "met" | "missed" | "not measured"
  /** None where no round has both. */
  readonly ratio: Spread | null
  readonly why: string
}

/**
 * Each target of all cases, whether they were played or not.
 *
 * @since 0.1.0
 * @category constructors
 */
export const verdicts = (all: ReadonlyArray<Case>, played: ReadonlyArray<Played>): ReadonlyArray<Verdict> =>
  all.flatMap((of) =>
    of.contenders.flatMap((contender) =>
      (contender.targets ?? []).map((target) => ({
        case: of.name,
        contender: contender.name,
        target,
        ...judged(contender, target, played.find(({ case: { name } }) => name === of.name))
      }))
    )
  )

/**
 * The runs of a contender that count, by their round.
 *
 * @since 0.1.0
 * @category accessors
 */
export const samples = (turns: ReadonlyArray<Turn>, contender: string): ReadonlyMap<number, Sample> =>
  new Map(
    turns.flatMap(({ contender: name, result, round }) =>
      name === contender && Either.isRight(result) ? [[round, result.right] as const] : []
    )
  )

/**
 * The ratios of those rounds in which both count; not a number if there is none.
 *
 * @since 0.1.0
 * @category accessors
 */
export const ratios = (
  own: ReadonlyMap<number, Sample>,
  other: ReadonlyMap<number, Sample>,
  figure: Figure
): Spread => {
  const values = [...own].flatMap(([round, sample]) => {
    const than = other.get(round)
    return than === undefined ? [] : [value(sample, figure) / value(than, figure)]
  })
  return spread(values.length === 0 ? [Number.NaN] : values)
}

// internal

const judged = (
  { name }: Contender,
  { atLeast = 0, atMost = Infinity, of, than }: Target,
  played: Played | undefined
): Pick<Verdict, "result" | "ratio" | "why"> => {
  const isPlayed = (contender: string) => played?.case.contenders.some((_) => _.name === contender) === true
  if (played === undefined || !isPlayed(name)) return { result: "not measured", ratio: null, why: "left out" }
  const own = samples(played.turns, name)
  if (own.size === 0) return { result: "missed", ratio: null, why: "no run of it counts" }
  if (!isPlayed(than)) return { result: "not measured", ratio: null, why: `${than} was left out` }
  const ratio = ratios(own, samples(played.turns, than), of)
  if (Number.isNaN(ratio.median)) {
    return { result: "not measured", ratio: null, why: `no run of ${than} counts in the same round` }
  }
  return { result: ratio.median >= atLeast && ratio.median <= atMost ? "met" : "missed", ratio, why: "" }
}

const value = ({ count, cpu, latency, maxRssMegabytes, seconds }: Sample, figure: Figure): number => {
  switch (figure) {
    case "throughput":
      return count / seconds
    case "time":
      return seconds / count
    case "CPU":
      return cpu.node ?? Number.NaN
    case "memory":
      return maxRssMegabytes
    case "p50":
    case "p99":
      return latency?.[figure] ?? Number.NaN
  }
}
