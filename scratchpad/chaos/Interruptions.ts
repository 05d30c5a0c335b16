/**
 * Ten thousand interruptions at random moments, under load: transactions of every kind on a pool that is too small for them.
 * Afterwards the books are right to the penny, and nothing is left on the server or in the pool.
 *
 * @since 0.1.0
 */
import * as Inbox from "@safesync/mysql/Inbox"
import * as MysqlMetrics from "@safesync/mysql/MysqlMetrics"
import * as MysqlServer from "@safesync/testkit/MysqlServer"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import * as Bank from "./Bank.js"
import * as Fate from "./Fate.js"
import * as Moments from "./Moments.js"
import * as Report from "./Report.js"
import type { Outcome, Scenario, Settings } from "./Scenario.js"
import * as Seeded from "./Seeded.js"
import * as ServerState from "./ServerState.js"
import * as TransferError from "./TransferError.js"
import * as Transfers from "./Transfers.js"

/**
 * @since 0.1.0
 * @category scenarios
 */
export const scenario: Scenario = {
  name: "interruptions",
  description:
    "Random interruptions under load: books right, no connection, lock or transaction left (L1, L4, L5, L8, L10)",
  unit: "interruptions",
  runs: 10_000,
  run: (settings) => Effect.scoped(Effect.provide(run(settings), ServerState.ownServer(poolSize)))
}

// internal

const poolSize = 8
const fibers = 24
const accounts = 8
/** An interruption that is not over by then never will be. */
const stuckAfter = "20 seconds"

/** What may come of each transaction here, besides success and interruption. Everything else is a bug. */
const expected = new Set([
  "Refused",
  "Deadlock",
  "LockWaitTimeout",
  "LockNotAvailable",
  "VersionConflict",
  "AdvisoryLockTimeout",
  "TransactionAborted: deadlock",
  `defect: ${TransferError.defect}`
])

/** Kinds whose bodies end a statement before its time and go on. */
const givesUp = new Set<Transfers.Kind>(["statements given up", "a stream that is left early"])

const run = (settings: Settings) =>
  Effect.gen(function*() {
    const observer = yield* ServerState.secondClient()
    yield* Bank.open(accounts)
    yield* Inbox.migration
    const discarded = yield* thrownAway
    const failures: Array<string> = []
    const told: Array<Bank.Told> = []
    const hits: Record<"begin" | "body" | "end", Array<number>> = { begin: [], body: [], end: [] }
    const ways = new Map<string, number>()
    let interrupted = 0
    let begun = 0
    // Two at a time: each needs a second connection while it holds one, and more of them could take the whole pool.
    const around = yield* Effect.makeSemaphore(2)

    const one = Effect.gen(function*() {
      const number = ++begun
      const random = Seeded.make(settings.seed, "transfer", number)
      const marks = { body: yield* Deferred.make<void>(), end: yield* Deferred.make<void>() }
      const transfer = Transfers.draw({
        random,
        number,
        kinds: Transfers.allKinds(),
        accounts,
        reached: (at) => Deferred.unsafeDone(marks[at], Effect.void)
      })
      const fiber = yield* Effect.fork(
        transfer.kind === "an advisory lock around" ? around.withPermits(1)(transfer.run) : transfer.run
      )
      let exit: Exit.Exit<void, unknown>
      if (random.chance(0.15)) exit = yield* Fiber.await(fiber)
      else {
        // Most of its time a transfer waits for a connection: left to chance, hardly any would be hit later on.
        const from = random.pick(["begin", "body", "body", "body", "end"] as const)
        if (from !== "begin") yield* Effect.raceFirst(Deferred.await(marks[from]), Fiber.await(fiber))
        yield* Moments.pass(Moments.draw(random, from === "end" ? 5 : random.pick([3, 20, 80])))
        const { at } = transfer.trace
        const running = Option.isNone(yield* Fiber.poll(fiber))
        const start = performance.now()
        const ended = yield* Effect.timeoutOption(Fiber.interrupt(fiber), stuckAfter)
        if (Option.isNone(ended)) {
          failures.push(`transfer ${number} (${transfer.kind}) was interrupted in its ${at} and does not end`)
          return
        }
        exit = ended.value
        if (running) {
          interrupted++
          hits[at].push(performance.now() - start)
          settings.progress.update(interrupted, `${begun} transactions`)
        }
      }
      const fate = Fate.of(exit)
      ways.set(fate.as, (ways.get(fate.as) ?? 0) + 1)
      // Where a machine is too busy to cancel within 200 ms what a body has given up, the body finds its connection thrown away.
      const givenUp = givesUp.has(transfer.kind) && fate.as === "TransactionAborted: connection-lost"
      if (fate.as !== "success" && fate.as !== "interrupted" && !expected.has(fate.as) && !givenUp) {
        failures.push(`transfer ${number} (${transfer.kind}) ended with ${fate.as}: ${fate.detail}`)
      }
      told.push({
        transfer: number,
        kind: transfer.kind,
        legs: transfer.legs,
        afterCommit: transfer.trace.afterCommit,
        ...fate
      })
    })
    yield* Effect.all(
      Array.from({ length: fibers }, () =>
        Effect.whileLoop({
          while: () => interrupted < settings.runs && failures.length < 100,
          body: () => one,
          step: () => {}
        })),
      { concurrency: "unbounded", discard: true }
    )

    for (const what of yield* ServerState.leftovers(observer)) {
      failures.push(`at the end, ${what}`)
    }
    for (const what of yield* ServerState.poolIsWhole(poolSize)) failures.push(`at the end, ${what}`)
    yield* Effect.catchAll(MysqlServer.assertClean(), (leak) => Effect.sync(() => failures.push(leak.message)))
    const books = Effect.all([Bank.auditTransfers(told), Bank.auditBalances]).pipe(ServerState.using(observer))
    const [{ either, wrong }, wrongBalances] = yield* books
    failures.push(...wrong, ...wrongBalances)

    const outcome: Outcome = {
      figures: [
        ["transactions", begun],
        ["interrupted before their body (waiting for a connection)", hits.begin.length],
        ["interrupted in their body", hits.body.length],
        ["interrupted after their body (COMMIT, ROLLBACK)", hits.end.length],
        ...[...ways].sort((a, b) => b[1] - a[1]).map(([way, count]) => [`ended with ${way}`, count] as const),
        ["interrupted and yet committed, as a whole", either.there],
        ["legs in the ledger", yield* Bank.booked],
        ["connections thrown away", (yield* thrownAway) - discarded],
        [`until it had ended, interrupted before its body: ${Report.spreadNames}`, Report.spread(hits.begin)],
        [`until it had ended, interrupted in its body: ${Report.spreadNames}`, Report.spread(hits.body)],
        [`until it had ended, interrupted after its body: ${Report.spreadNames}`, Report.spread(hits.end)]
      ],
      failures
    }
    return outcome
  })

const thrownAway = Effect.map(Metric.value(MysqlMetrics.connectionsDiscarded), ({ count }) => count)
