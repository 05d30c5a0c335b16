/**
 * MySQL is killed with SIGKILL under load and started again, two hundred times. What callers were told is what is in the database:
 * they have the commit-outcome oracle, so nobody is told that the outcome is unknown.
 *
 * @since 0.1.0
 */
import * as CommitOracle from "@safesync/mysql/CommitOracle"
import * as Inbox from "@safesync/mysql/Inbox"
import * as MysqlServer from "@safesync/testkit/MysqlServer"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Bank from "./Bank.js"
import * as Moments from "./Moments.js"
import type { Outcome, Scenario, Settings } from "./Scenario.js"
import * as Seeded from "./Seeded.js"
import * as ServerState from "./ServerState.js"
import * as Storm from "./Storm.js"
import type { Kind } from "./Transfers.js"

/**
 * @since 0.1.0
 * @category scenarios
 */
export const scenario: Scenario = {
  name: "mysql-kill",
  description: "MySQL killed at random points under load: what callers were told is what is in the database (L3)",
  unit: "kills of MySQL",
  runs: 200,
  run: (settings) => Effect.scoped(Effect.provide(run(settings), ServerState.ownServer(fibers)))
}

// internal

const fibers = 24
const accounts = 400

/**
 * How long a COMMIT waits for company before the binary log is synced, in microseconds: with it there is nearly always one on its
 * way. Those that wait are in the log already and are found there at the restart; so that others are hit too, not always.
 */
const commitDelays = [0, 3_000, 10_000, 30_000]

/** Those that spend their time in COMMIT. */
const kinds: ReadonlyArray<Kind> = [
  "plain updates",
  "rows locked in order",
  "advisory locks in the transaction",
  "versions",
  "savepoints",
  "sql.withTransaction inside",
  "the Scope form",
  "a pause before COMMIT",
  "with options",
  "with the inbox",
  "fails"
]

/** The server is back within seconds. */
const untilItAnswers = Schedule.intersect(Schedule.spaced("100 millis"), Schedule.recurs(200))

/** An answer that comes later than this after the kill was not the server's: the oracle has given it, from the next one. */
const onTheWayMillis = 300

const run = (settings: Settings) =>
  Effect.gen(function*() {
    const control = Option.getOrThrow((yield* MysqlServer.MysqlServer).control)
    yield* Bank.open(accounts)
    yield* Inbox.migration
    yield* CommitOracle.migration
    const storm = Storm.make({ seed: settings.seed, fibers, accounts, kinds })
    const failures: Array<string> = []
    const resolved = { committed: 0, not: 0, rounds: 0 }
    const down: Array<number> = []

    for (let n = 0; n < settings.runs && !storm.tally.stuck && failures.length + storm.failures.length < 20; n++) {
      const random = Seeded.make(settings.seed, "kill", n)
      const delay = random.pick(commitDelays)
      yield* onFreshConnection(ServerState.commitDelay(delay))
      let killed = 0
      const told = yield* storm.round((load) =>
        Effect.gen(function*() {
          yield* load.ended(random.between(0, 150))
          if (random.chance(0.8)) yield* load.ending(random.between(1, 8))
          yield* Moments.pass(Moments.draw(random, 5))
          yield* load.stop
          killed = performance.now()
          yield* control.kill
          yield* control.start
          yield* load.settled
        }), { commitOracle: untilItAnswers })
      down.push(performance.now() - killed)
      const audit = yield* onFreshConnection(Bank.auditTransfers(told))
      failures.push(...audit.wrong.map((wrong) => `kill ${n + 1}: ${wrong}`))
      const late = told.filter(({ at }) => at > killed + onTheWayMillis)
      const [committed, not] = ["success", "CommitFailed"].map((way) => late.filter(({ as }) => as === way).length)
      resolved.committed += committed!
      resolved.not += not!
      if (committed! + not! > 0) resolved.rounds++
      if (told.some(({ as }) => as === "CommitOutcomeUnknown")) {
        failures.push(`kill ${n + 1}: the oracle could be asked, and yet the outcome stayed unknown`)
      }
      if (n % 20 === 19) failures.push(...yield* onFreshConnection(Bank.auditBalances))
      settings.progress.update(
        n + 1,
        `${storm.tally.transfers} transfers, ${resolved.committed + resolved.not} lost COMMITs found out about`
      )
    }

    failures.push(...storm.failures, ...yield* onFreshConnection(Bank.auditBalances))
    for (const what of yield* ServerState.poolIsWhole(fibers)) failures.push(`at the end, ${what}`)
    for (const what of yield* Effect.flatMap(ServerState.secondClient(), ServerState.leftovers)) {
      failures.push(`at the end, ${what}`)
    }
    yield* Effect.catchAll(MysqlServer.assertClean(), (leak) => Effect.sync(() => failures.push(leak.message)))
    const outcome: Outcome = {
      figures: [
        ...Storm.figures(storm.tally),
        ["kills after which the oracle was asked", resolved.rounds],
        ["- found to be committed", resolved.committed],
        ["- found not to be committed", resolved.not],
        ["legs in the ledger", yield* Bank.booked],
        ["from kill to answering again, median ms", down.toSorted((a, b) => a - b)[down.length >> 1]?.toFixed(0) ?? ""]
      ],
      failures
    }
    return outcome
  })

/** The pool's connections may be those of the server that is dead. */
const onFreshConnection = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.scoped(Effect.flatMap(ServerState.secondClient(), (client) => ServerState.using(client)(effect)))
