/**
 * Do concurrent writers lose updates? Several processes, each with a pool of its own, do the same thing to one hot row and
 * start at the same moment; then the row is compared with what they say they did.
 *
 * It is for your own strategy as much as for the built-in ones: a module that exports an `Increment` or an `Insert`.
 *
 * ```ts
 * layer(Layer.merge(MysqlServer.layer, Invariants.layer({ processes: 5 })), { excludeTestServices: true })("stock", (it) => {
 *   it.effect("our way of writing loses no update", () =>
 *     Effect.gen(function*() {
 *       const verdict = yield* Invariants.increments({ module: new URL("./ourStrategy.ts", import.meta.url) })
 *       expect(verdict.problems).toEqual([])
 *     }))
 * })
 * ```
 *
 * @since 0.1.0
 */
import type * as MysqlClient from "@effect/sql-mysql2/MysqlClient"
import type { SqlClient } from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import { isConfigError } from "effect/ConfigError"
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import * as Crew from "./internal/invariants/crew.js"
import * as database from "./internal/invariants/database.js"
import * as finding from "./internal/invariants/finding.js"
import type * as Messages from "./internal/invariants/messages.js"
import * as strategies from "./internal/invariants/strategy.js"
import * as tally from "./internal/invariants/tally.js"
import * as MysqlServer from "./MysqlServer.js"

/**
 * The row that everybody writes: `SELECT value, version FROM {table} WHERE id = {id}`.
 *
 * @since 0.1.0
 * @category models
 */
export interface HotRow {
  readonly table: string
  readonly id: number
  /** Gives way for a few turns of the event loop, as many as the seed says: to be put between reading and writing. */
  readonly think: Effect.Effect<void>
  /**
   * Waits until every process that still has something to do is here too. It makes an interleaving certain, and is never
   * to be called with a lock in hand: the others would not come.
   */
  readonly rendezvous: Effect.Effect<void>
}

/**
 * Adds one to the value of the row, in a way of its own. It is run `operations` times by each process, one after another.
 * When it fails, nothing must have been added.
 *
 * @since 0.1.0
 * @category models
 */
export type Increment = (row: HotRow) => Effect.Effect<unknown, unknown, MysqlClient.MysqlClient | SqlClient>

/**
 * The row that everybody inserts: `name` is the primary key of the table and its only column.
 *
 * @since 0.1.0
 * @category models
 */
export interface NewRow {
  readonly table: string
  readonly key: string
  readonly think: Effect.Effect<void>
  readonly rendezvous: Effect.Effect<void>
}

/**
 * Inserts the row unless it exists, and says which. Each process does so for each of `operations` keys.
 *
 * @since 0.1.0
 * @category models
 */
export type Insert = (
  row: NewRow
) => Effect.Effect<"inserted" | "exists", unknown, MysqlClient.MysqlClient | SqlClient>

/**
 * Those of @safesync/mysql, and two that lose updates for certain: `unsynchronised` reads, computes and writes at read
 * committed without a lock, `occ-ignored` compares the version and does not look whether it has written anything.
 *
 * @since 0.1.0
 * @category models
 */
export type IncrementBuiltIn =
  | "atomic-update"
  | "row-lock"
  | "advisory-lock"
  | "row-and-advisory-lock"
  | "with-lock"
  | "occ-retry"
  | "unsynchronised"
  | "occ-ignored"

/**
 * The ways of inserting that come with the suite.
 *
 * @since 0.1.0
 * @category models
 */
export type InsertBuiltIn = "idempotent-insert"

/**
 * Something that other processes can load: a file (a path or a `file:` URL) and the name of its export, by default
 * `default`. A TypeScript file needs `tsx` next to it, or a node that runs TypeScript.
 *
 * @since 0.1.0
 * @category models
 */
export interface Module {
  readonly module: string | URL
  readonly export?: string | undefined
}

/**
 * How much each process does, and for how long.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /** How many each process does; default 10. */
  readonly operations?: number | undefined
  /** Of all that is random in the processes: how long they think, and Effect's `Random`. Default 1. */
  readonly seed?: number | undefined
  /** How long all of it may take; default two minutes. Processes that have not finished by then are replaced. */
  readonly within?: Duration.DurationInput | undefined
}

/**
 * What came of a run, and whether the invariant holds.
 *
 * @since 0.1.0
 * @category models
 */
export interface Verdict {
  readonly strategy: string
  readonly processes: number
  /** Of each process. */
  readonly operations: number
  readonly seed: number
  /** Operations that succeeded, and that failed, of all processes. */
  readonly succeeded: number
  readonly failed: number
  /** What the processes' answers add up to: increments that succeeded, rows that were inserted. */
  readonly expected: number
  /** What is in the table. */
  readonly found: number
  /** `expected - found`, where something was lost. */
  readonly lost: number
  /** How many processes were at work at the same time, at most. */
  readonly atOnce: number
  /** From the start signal to the last answer. */
  readonly millis: number
  /** What is wrong, a sentence each: updates lost, operations failed, locks or transactions left behind. Empty: it holds. */
  readonly problems: ReadonlyArray<string>
}

/**
 * The suite could not be run: a process did not start or ended, the strategy could not be loaded, time was up.
 *
 * @since 0.1.0
 * @category errors
 */
export class InvariantsFailed extends Schema.TaggedError<InvariantsFailed>("@safesync/testkit/InvariantsFailed")(
  "InvariantsFailed",
  { reason: Schema.String }
) {
  override get message(): string {
    return this.reason
  }
}

/**
 * Processes that wait for something to do. One suite runs at a time, others wait for it.
 *
 * @since 0.1.0
 * @category tags
 */
export class Invariants extends Context.Tag("@safesync/testkit/Invariants")<Invariants, {
  readonly processes: number
  /** @internal */
  readonly crew: Crew.Crew
}>() {}

/**
 * Starts the processes, 25 where nobody says, and kills them with the scope. Starting takes them most of a second of CPU
 * each, so share the layer among tests.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (
  options: { readonly processes?: number | undefined } = {}
): Layer.Layer<Invariants, InvariantsFailed> => {
  const { processes = 25 } = options
  return Layer.scoped(
    Invariants,
    Effect.mapBoth(Crew.make(processes), {
      onFailure: ({ message }) => new InvariantsFailed({ reason: message }),
      onSuccess: (crew) => ({ processes, crew })
    })
  )
}

/**
 * Every process adds one to the same row, again and again. Were updates lost? That is for `problems` of the verdict to say; it fails
 * with `InvariantsFailed` only where the suite itself could not be run.
 *
 * @since 0.1.0
 * @category suites
 */
export const increments = (
  strategy: IncrementBuiltIn | Module,
  options: Options = {}
): Effect.Effect<Verdict, InvariantsFailed | SqlError, Invariants | MysqlServer.MysqlServer> =>
  suite("increments", strategy, options, finding.ofIncrements)

/**
 * Every process inserts the same rows, in the same order. Is each there, and has exactly one process been told that it
 * inserted it? Verdict and failures are as those of `increments`.
 *
 * @since 0.1.0
 * @category suites
 */
export const inserts = (
  strategy: InsertBuiltIn | Module,
  options: Options = {}
): Effect.Effect<Verdict, InvariantsFailed | SqlError, Invariants | MysqlServer.MysqlServer> =>
  suite("inserts", strategy, options, finding.ofInserts)

// internal

const suite = (
  name: Messages.Suite,
  strategy: string | Module,
  options: Options,
  look: finding.Look
): Effect.Effect<Verdict, InvariantsFailed | SqlError, Invariants | MysqlServer.MysqlServer> =>
  Effect.gen(function*() {
    const { operations = 10, seed = 1, within = "2 minutes" } = options
    const { crew, processes } = yield* Invariants
    const { sql, url } = yield* database.prepared

    const { done, seen: leaks } = yield* crew.run(
      { suite: name, strategy: strategies.encode(strategy), url, operations, seed },
      within,
      // Asked while the processes still have their connections.
      Effect.match(MysqlServer.assertClean(), { onSuccess: () => [], onFailure: (found) => found.leaks })
    ).pipe(Effect.mapError(({ message }) => new InvariantsFailed({ reason: message })))
    const { expected, found, problems } = yield* look(sql, done, operations)
    const failed = tally.total(done, "failed")
    return {
      strategy: strategies.nameOf(strategy),
      processes,
      operations,
      seed,
      succeeded: tally.total(done, "succeeded"),
      failed,
      expected,
      found,
      lost: Math.max(0, expected - found),
      atOnce: tally.atOnce(done),
      millis: Math.max(...done.map(({ to }) => to)) - Math.min(...done.map(({ from }) => from)),
      problems: [
        ...problems,
        ...(failed === 0 ? [] : [`${failed} operations failed: ${tally.reasons(done).join("; ")}`]),
        ...leaks
      ]
    }
  }).pipe(
    Effect.provide(MysqlServer.database({ maxConnections: 2 })),
    // Nothing of it is read from the configuration.
    Effect.catchIf(isConfigError, Effect.die)
  )
