/**
 * Load with a fault in it: fibers run transfers one after the other, something breaks, everybody is told something, and it is
 * compared with what is in the database.
 *
 * @since 0.1.0
 */
import type { MysqlClient } from "@effect/sql-mysql2/MysqlClient"
import type { SqlClient } from "@effect/sql/SqlClient"
import type * as Transaction from "@safesync/mysql/Transaction"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import type * as Bank from "./Bank.js"
import * as Fate from "./Fate.js"
import * as Moments from "./Moments.js"
import * as Seeded from "./Seeded.js"
import * as Transfers from "./Transfers.js"

/**
 * @since 0.1.0
 * @category models
 */
export interface Storm {
  /**
   * Runs the load, and a fault in it, until the fault's effect has ended and every fiber has too. Gives what was told in this
   * round.
   */
  readonly round: <E, R>(
    fault: (load: Load) => Effect.Effect<void, E, R>,
    transaction?: Transaction.Options | undefined
  ) => Effect.Effect<ReadonlyArray<Told>, E, R | MysqlClient | SqlClient>
  readonly tally: Tally
  /** What was told that nobody should ever be told. */
  readonly failures: Array<string>
}

/**
 * @since 0.1.0
 * @category models
 */
export interface Told extends Bank.Told {
  /** `performance.now()` when it was told. */
  readonly at: number
}

/**
 * What a fault sees of the load, and does to it.
 *
 * @since 0.1.0
 * @category models
 */
export interface Load {
  /** Waits until so many transfers of this round have ended, or for three seconds. */
  readonly ended: (count: number) => Effect.Effect<void>
  /** Waits until so many transactions are in COMMIT or ROLLBACK at a time, or for three seconds. */
  readonly ending: (count: number) => Effect.Effect<void>
  /** Nobody begins another transfer. */
  readonly stop: Effect.Effect<void>
  /** Waits until what runs has ended; when it does not within 30 seconds, that is a failure. */
  readonly settled: Effect.Effect<void>
}

/**
 * Over all rounds.
 *
 * @since 0.1.0
 * @category models
 */
export interface Tally {
  transfers: number
  /** Some of them have not ended: there is no use in going on. */
  stuck: boolean
  readonly ways: Map<string, number>
}

/**
 * @since 0.1.0
 * @category constructors
 */
export const make = (options: {
  readonly seed: number
  readonly fibers: number
  readonly accounts: number
  readonly kinds: ReadonlyArray<Transfers.Kind>
  /** The share of transfers that are interrupted at some moment. By default 0. */
  readonly interrupted?: number | undefined
}): Storm => {
  const tally: Tally = { transfers: 0, stuck: false, ways: new Map() }
  const failures: Array<string> = []

  const round: Storm["round"] = (fault, transaction) =>
    Effect.gen(function*() {
      const told: Array<Told> = []
      const running = new Set<Transfers.Transfer>()
      let stopped = false

      const one = Effect.gen(function*() {
        const number = ++tally.transfers
        const random = Seeded.make(options.seed, "transfer", number)
        const transfer = Transfers.draw({ ...options, random, number, transaction })
        running.add(transfer)
        const fate = Fate.of(
          random.chance(options.interrupted ?? 0)
            ? yield* interruptedAt(Moments.draw(random, random.pick([5, 50, 500])), transfer)
            : yield* Effect.exit(transfer.run)
        )
        running.delete(transfer)
        const as = fate.as === "interrupted" && transfer.trace.commitLost ? `${Fate.unknown}, interrupted` : fate.as
        tally.ways.set(as, (tally.ways.get(as) ?? 0) + 1)
        if (!expected.has(fate.as)) {
          failures.push(`transfer ${number} (${transfer.kind}) ended with ${fate.as}: ${fate.detail}`)
        }
        told.push({
          transfer: number,
          kind: transfer.kind,
          legs: transfer.legs,
          afterCommit: transfer.trace.afterCommit,
          at: performance.now(),
          fate: fate.fate,
          as
        })
        // Without a server they fail by the thousand.
        if (fate.as === "BeginFailed") yield* Effect.sleep("10 millis")
      })
      const fibers = yield* Effect.forEach(
        Array.from({ length: options.fibers }),
        () => Effect.fork(Effect.whileLoop({ while: () => !stopped, body: () => one, step: () => {} }))
      )
      const until = (condition: () => boolean) =>
        Effect.suspend(() => {
          const end = performance.now() + 3_000
          return Effect.whileLoop({
            while: () => !condition() && performance.now() < end,
            body: () => Moments.turn,
            step: () => {}
          })
        })
      const settled = Effect.timeoutOption(Fiber.awaitAll(fibers), "30 seconds").pipe(
        Effect.map((all) => {
          if (Option.isSome(all)) return
          tally.stuck = true
          for (const { kind, number, trace } of running) {
            failures.push(`transfer ${number} (${kind}) has not ended 30 seconds after the fault, in its ${trace.at}`)
          }
        }),
        Effect.unless(() => tally.stuck),
        Effect.asVoid
      )
      const stop = Effect.sync(() => {
        stopped = true
      })
      yield* fault({
        ended: (count) => until(() => told.length >= count),
        ending: (count) => until(() => [...running].filter(({ trace }) => trace.at === "end").length >= count),
        stop,
        settled
      })
      yield* stop
      yield* settled
      if (tally.stuck) yield* Effect.forkDaemon(Fiber.interruptAll(fibers))
      return told
    })
  return { round, tally, failures }
}

/**
 * The tally as lines of a report.
 *
 * @since 0.1.0
 * @category output
 */
export const figures = ({ transfers, ways }: Tally): ReadonlyArray<readonly [string, number]> => [
  ["transfers", transfers],
  ...[...ways].sort((a, b) => b[1] - a[1]).map(([way, count]) => [`told: ${way}`, count] as const)
]

// internal

const interruptedAt = (moment: Moments.Moment, transfer: Transfers.Transfer) =>
  Effect.flatMap(
    Effect.fork(transfer.run),
    (fiber) => Effect.zipRight(Moments.pass(moment), Fiber.interrupt(fiber))
  )

/** What may come of a transfer while the server or the network fails. */
const expected = new Set([
  "success",
  "interrupted",
  "CommitOutcomeUnknown, interrupted",
  "Refused",
  "Deadlock",
  "LockWaitTimeout",
  "LockNotAvailable",
  "VersionConflict",
  "AdvisoryLockTimeout",
  "BeginFailed",
  "ConnectionLost",
  "CommitFailed",
  "CommitOutcomeUnknown",
  "TransactionAborted: connection-lost",
  "TransactionAborted: deadlock"
])
