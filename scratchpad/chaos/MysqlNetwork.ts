/**
 * The network between the pool and MySQL fails under load: replies and requests are lost, connections are cut or refused, bytes
 * are held back, the server stands still. What callers were told is what is in the database, and nothing is committed later that
 * they were told was not.
 *
 * @since 0.1.0
 */
import * as CommitOracle from "@safesync/mysql/CommitOracle"
import * as Inbox from "@safesync/mysql/Inbox"
import * as MysqlServer from "@safesync/testkit/MysqlServer"
import type { ServerControl } from "@safesync/testkit/ServerControl"
import * as TcpProxy from "@safesync/testkit/TcpProxy"
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
  name: "mysql-network",
  description:
    "The network to MySQL fails under load: what callers were told is what is in the database (L2, L3, L4, L5)",
  unit: "faults of the network",
  runs: 300,
  run: (settings) => Effect.scoped(Effect.provide(run(settings), ServerState.ownServer(2)))
}

// internal

const fibers = 16
const accounts = 200

const kinds: ReadonlyArray<Kind> = [
  "plain updates",
  "rows locked in order",
  "advisory locks in the transaction",
  "versions",
  "savepoints",
  "sql.withTransaction inside",
  "statements side by side",
  "the Scope form",
  "a pause before COMMIT",
  "with options",
  "with the inbox",
  "a stream that is left early",
  "a stream that is written from",
  "read only",
  "fails"
]

/** Short, so that a reply that never comes is given up within the round. */
const controlTimeout = "500 millis"

const untilItAnswers = Schedule.intersect(Schedule.spaced("50 millis"), Schedule.recurs(300))

const run = (settings: Settings) =>
  Effect.gen(function*() {
    const { control, url } = yield* MysqlServer.MysqlServer
    yield* Bank.open(accounts)
    yield* Inbox.migration
    yield* CommitOracle.migration
    const proxy = yield* TcpProxy.make(url)
    const client = yield* ServerState.secondClient({ host: "127.0.0.1", port: proxy.port, maxConnections: fibers })
    const storm = Storm.make({ seed: settings.seed, fibers, accounts, kinds, interrupted: 0.2 })
    const all: Array<Bank.Told> = []
    const failures: Array<string> = []
    const rounds = new Map<string, number>()
    const unknown = { there: 0, absent: 0 }
    let asked = 0
    yield* proxy.observe((piece) => {
      if (question.test(Buffer.from(piece).toString("latin1"))) asked++
      return false
    })

    for (let n = 0; n < settings.runs && !storm.tally.stuck && failures.length + storm.failures.length < 20; n++) {
      const random = Seeded.make(settings.seed, "fault", n)
      const name = random.chance(0.4) ? random.pick(ofCommit) : random.pick(Object.keys(faults))
      const asks = random.chance(0.5)
      yield* ServerState.commitDelay(random.pick([0, 0, 2_000, 100_000]))
      const told = yield* storm.round((load) =>
        Effect.gen(function*() {
          const before = random.between(0, 60)
          yield* load.ended(before)
          yield* faults[name]!({ proxy, load, random, control: Option.getOrThrow(control) })
          // Whoever is left without an answer has given up by now, and the others go on.
          yield* load.ended(before + 40)
        }), { controlTimeout, ...asks ? { commitOracle: untilItAnswers } : {} }).pipe(ServerState.using(client))
      all.push(...told)
      rounds.set(name, (rounds.get(name) ?? 0) + 1)
      const audit = yield* Bank.auditTransfers(told)
      failures.push(...audit.wrong.map((wrong) => `fault ${n + 1} (${name}): ${wrong}`))
      unknown.there += audit.either.there
      unknown.absent += audit.either.absent
      for (const { as, kind, transfer } of asks ? told : []) {
        // The oracle is not asked about what has written nothing.
        if (as === "CommitOutcomeUnknown" && kind !== "read only") {
          failures.push(
            `fault ${n + 1} (${name}): transfer ${transfer} (${kind}) stayed unknown, though the oracle could be asked`
          )
        }
      }
      settings.progress.update(
        n + 1,
        `${storm.tally.transfers} transfers, ${storm.tally.ways.get("CommitOutcomeUnknown") ?? 0} unknown`
      )
    }

    const observer = yield* ServerState.secondClient()
    for (const what of yield* ServerState.leftovers(observer)) failures.push(`at the end, ${what}`)
    for (const what of yield* ServerState.using(client)(ServerState.poolIsWhole(fibers))) {
      failures.push(`at the end, ${what}`)
    }
    yield* Effect.catchAll(MysqlServer.assertClean(), (leak) => Effect.sync(() => failures.push(leak.message)))
    const late = yield* Bank.auditTransfers(all)
    failures.push(...storm.failures, ...late.wrong.map((wrong) => `at the end, ${wrong}`), ...yield* Bank.auditBalances)
    const outcome: Outcome = {
      figures: [
        ...[...rounds].map(([name, count]) => [`fault: ${name}`, count] as const),
        ...Storm.figures(storm.tally),
        ["unknown or interrupted, and committed as a whole", late.either.there],
        ["unknown or interrupted, and not there at all", late.either.absent],
        ["- of the former, committed by a COMMIT that came late", late.either.there - unknown.there],
        ["questions of the oracle that went out", asked],
        ["legs in the ledger", yield* Bank.booked]
      ],
      failures
    }
    return outcome
  })

/** How the oracle asks: by a row of its own, or by the inbox's. */
const question = /INSERT INTO safesync_commit .* ON DUPLICATE KEY|FROM safesync_inbox .* FOR SHARE NOWAIT/s

interface Hands {
  readonly proxy: TcpProxy.TcpProxy
  readonly control: ServerControl
  readonly load: Storm.Load
  readonly random: Seeded.Seeded
}

/** A packet of the text protocol in which this statement stands: at its beginning, or after others. */
const packet = (statement: RegExp) => {
  const pattern = new RegExp(`(\x03|; )(${statement.source})`)
  return (piece: Uint8Array) => pattern.test(Buffer.from(piece).toString("latin1"))
}
const commit = packet(/COMMIT(; |$)/)
const rollback = packet(/ROLLBACK(; |$)/)
const begin = packet(/START TRANSACTION/)
/** By the library, and by a nested `sql.withTransaction`. */
const backToSavepoint = packet(/ROLLBACK TO SAVEPOINT safesync/)
const backToNested = packet(/ROLLBACK TO SAVEPOINT effect/)

/** A trap into which nobody goes is left for the next round. */
const sprung = (trap: Effect.Effect<Effect.Effect<void>>) => Effect.flatMap(trap, Effect.timeoutOption("2 seconds"))

/** Up to four connections, one after the other: a packet springs all traps that it reaches. */
const several = (random: Seeded.Seeded, trap: Effect.Effect<Effect.Effect<void>>) =>
  Effect.replicateEffect(sprung(trap), random.between(1, 4))

/** For a while that is shorter or longer than the bound within which an answer must come. */
const aWhile = (random: Seeded.Seeded) => Effect.sleep(random.between(20, 1200))

/** Those that this is about. */
const ofCommit = [
  "a reply to COMMIT is lost, and its connection",
  "no reply to COMMIT ever comes",
  "COMMIT itself is lost",
  "all connections are cut"
]

const faults: Record<string, (hands: Hands) => Effect.Effect<unknown>> = {
  "a reply to COMMIT is lost, and its connection": ({ proxy, random }) =>
    several(random, proxy.loseReplies(commit, "cut")),
  "no reply to COMMIT ever comes": ({ proxy, random }) => several(random, proxy.loseReplies(commit, "hang")),
  "COMMIT itself is lost": ({ proxy, random }) => several(random, proxy.loseRequest(commit)),
  "a reply to ROLLBACK is lost": ({ proxy, random }) =>
    sprung(proxy.loseReplies(rollback, random.pick(["cut", "hang"] as const))),
  "a reply to BEGIN is lost": ({ proxy, random }) =>
    sprung(proxy.loseReplies(begin, random.pick(["cut", "hang"] as const))),
  "a reply to ROLLBACK TO SAVEPOINT is lost": ({ proxy }) =>
    Effect.all([sprung(proxy.loseReplies(backToSavepoint, "cut")), sprung(proxy.loseReplies(backToNested, "cut"))]),
  "a statement is lost": ({ proxy, random }) =>
    sprung(proxy.loseRequest(random.pick(["UPDATE account", "INSERT INTO ledger", "FOR UPDATE"]))),
  "all connections are cut": ({ load, proxy, random }) =>
    Effect.zipRight(random.chance(0.8) ? load.ending(random.between(1, 6)) : Effect.void, proxy.cut),
  "nobody listens for a while": ({ proxy, random }) =>
    Effect.all([proxy.refuse, proxy.cut, aWhile(random), proxy.accept]),
  "requests are held back": ({ load, proxy, random }) =>
    Effect.all([load.ending(random.between(0, 2)), proxy.stall("requests"), aWhile(random), proxy.resume("requests")]),
  "replies are held back": ({ load, proxy, random }) =>
    Effect.all([load.ending(random.between(0, 2)), proxy.stall("replies"), aWhile(random), proxy.resume("replies")]),
  "all is held back, and then cut": ({ proxy, random }) =>
    Effect.all([proxy.stall(), aWhile(random), proxy.cut, proxy.resume()]),
  "all is slow for a while": ({ proxy, random }) =>
    Effect.all([proxy.delay(random.between(5, 60)), aWhile(random), proxy.delay(0)]),
  "the server stands still": ({ control, load, random }) =>
    Effect.all([
      load.ending(random.between(0, 2)),
      Moments.pass(Moments.draw(random, 5)),
      control.pause,
      aWhile(random),
      control.resume
    ])
}
