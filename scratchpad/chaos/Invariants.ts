/**
 * Many processes write one hot row, in every way that the library offers: no update is lost. Without synchronisation they
 * are, and this is seen too.
 *
 * @since 0.1.0
 */
import * as Invariants from "@safesync/testkit/Invariants"
import * as MysqlServer from "@safesync/testkit/MysqlServer"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type { Outcome, Scenario } from "./Scenario.js"

const processes = 25

const safe: ReadonlyArray<Invariants.IncrementBuiltIn> = [
  "atomic-update",
  "row-lock",
  "advisory-lock",
  "row-and-advisory-lock",
  "with-lock",
  "occ-retry"
]

const unsafe: ReadonlyArray<Invariants.IncrementBuiltIn> = ["unsynchronised", "occ-ignored"]

/**
 * @since 0.1.0
 * @category scenarios
 */
export const scenario: Scenario = {
  name: "invariants",
  description:
    `${processes} processes write one hot row by every strategy; no update is lost, except where it must be.`,
  unit: "operations of each process",
  runs: 10,
  run: ({ progress, runs, seed }) => run(processes, runs, seed, progress.say)
}

/**
 * The same with any number of processes.
 *
 * @since 0.1.0
 * @category scenarios
 */
export const run = (
  processes: number,
  operations: number,
  seed: number,
  say: (text: string) => void
): Effect.Effect<Outcome, Error> =>
  Effect.gen(function*() {
    const verdicts = yield* Effect.forEach([...safe, ...unsafe], (strategy) =>
      Effect.tap(
        Invariants.increments(strategy, { operations, seed, within: "10 minutes" }),
        (verdict) => Effect.sync(() => say(`${strategy}: ${describe(verdict)}`))
      ))
    const inserts = yield* Invariants.inserts("idempotent-insert", { operations, seed, within: "10 minutes" })
    const all = [...verdicts, inserts]
    const figures: Outcome["figures"] = all.map((verdict) => [verdict.strategy, describe(verdict)])
    const outcome: Outcome = {
      figures: [["processes", processes], ...figures],
      failures: all.flatMap((verdict) => failures(verdict).map((failure) => `${verdict.strategy}: ${failure}`))
    }
    return outcome
  }).pipe(Effect.provide(Layer.merge(MysqlServer.layerOwn(), Invariants.layer({ processes }))))

// internal

const failures = ({ atOnce, lost, operations, problems, processes, strategy }: Invariants.Verdict) => {
  const certain = (processes - 1) * operations
  return [
    ...((unsafe as ReadonlyArray<string>).includes(strategy)
      ? lost === certain ? [] : [`${lost} updates were lost, and it must lose all of a round but one, ${certain}`]
      : problems),
    ...(atOnce > 1 ? [] : ["no two processes were at work at the same time: this proves nothing. Raise --runs"])
  ]
}

const describe = ({ atOnce, expected, found, lost, millis }: Invariants.Verdict): string =>
  `${found} of ${expected}, ${lost} lost, ${atOnce} at once, ${Math.round(millis)} ms`
