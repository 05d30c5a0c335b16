/**
 * What a long proof is. A scenario is a file of its own that exports one of these; `main.ts` lists them in one table.
 *
 * @since 0.1.0
 */
import type * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { Progress } from "./Progress.js"

/**
 * @since 0.1.0
 * @category models
 */
export interface Settings {
  /** All that is random comes from here, through `Seeded.make`. What depends on time is not repeated by it. */
  readonly seed: number
  /** How many of the scenario's `unit`. */
  readonly runs: number
  readonly progress: Progress
}

/**
 * @since 0.1.0
 * @category models
 */
export interface Outcome {
  /** The lines of the report, in order. The names are the keys of the JSON. */
  readonly figures: ReadonlyArray<readonly [name: string, value: number | string]>
  /** What did not come out as it must: one sentence each. Empty when the proof holds. */
  readonly failures: ReadonlyArray<string>
}

/**
 * It starts the servers that it needs (`layerOwn` of the testkit, in its own scope) and leaves none behind. A failure of the
 * effect is for what kept the scenario from running; an expectation that does not hold is a line of `failures`.
 *
 * @since 0.1.0
 * @category models
 */
export interface Scenario {
  /** What is typed after `npm run chaos --`. */
  readonly name: string
  /** One sentence for `--help`. */
  readonly description: string
  /** What `--runs` counts, in the plural. */
  readonly unit: string
  /** `--runs` where nobody says. */
  readonly runs: number
  readonly run: (settings: Settings) => Effect.Effect<Outcome, Error, Scope.Scope>
}
