/**
 * Contenders take turns, A B C A B C, so that whatever else the machine does meets all of them.
 *
 * @since 0.1.0
 */
import type * as MysqlServer from "@safesync/testkit/MysqlServer"
import type * as RedisServer from "@safesync/testkit/RedisServer"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Exit from "effect/Exit"
import * as Mailbox from "effect/Mailbox"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import type { Scope } from "effect/Scope"
import type { ChildProcess } from "node:child_process"
import type { Case, Contender, Sample, Size } from "./Benchmark.js"
import * as Child from "./Child.js"
import * as RoundTrips from "./RoundTrips.js"
import * as Servers from "./Servers.js"
import * as Settings from "./Settings.js"

/**
 * One turn. `problem`: why it does not count.
 *
 * @since 0.1.0
 * @category models
 */
export interface Turn {
  readonly round: number
  readonly contender: string
  readonly result: Result
}

/**
 * @since 0.1.0
 * @category models
 */
export interface Played {
  readonly case: Case
  readonly turns: ReadonlyArray<Turn>
  /** Of the contenders whose round trips could be counted. */
  readonly roundTrips: ReadonlyMap<string, RoundTrips.RoundTrips>
}

/**
 * @since 0.1.0
 * @category run
 */
export const play = (
  of: Case,
  options: {
    readonly rounds: number
    readonly size: Size
    /** A folder for a CPU profile of every run, which costs some of what it measures. */
    readonly profiles?: string | undefined
    readonly onTurn: (of: Case, turn: Turn) => void
  }
): Effect.Effect<Played, never, MysqlServer.MysqlServer | RedisServer.RedisServer> =>
  Effect.gen(function*() {
    const turns: Array<Turn> = []
    // Processes that take turns slice by slice are there at the same time; others come one after another.
    const groups = of.slices === undefined ? of.contenders.map((contender) => [contender]) : [of.contenders]
    for (let round = 1; round <= options.rounds; round++) {
      for (const group of groups) {
        const results = yield* contest(of, group, options.size, options.profiles)
        for (const [at, { name }] of group.entries()) {
          turns.push({ round, contender: name, result: results[at]! })
          options.onTurn(of, turns.at(-1)!)
        }
      }
    }
    const roundTrips = new Map<string, RoundTrips.RoundTrips>()
    if (of.roundTrips === true) {
      for (const contender of of.contenders) {
        const counted = yield* Effect.option(RoundTrips.count(contender))
        if (Option.isSome(counted)) roundTrips.set(contender.name, counted.value)
      }
    }
    return { case: of, turns, roundTrips }
  })

// internal

type Result = Either.Either<Sample, string>

/** All of them start, one after another; then each has its slice, until they are through. */
const contest = (
  of: Case,
  group: ReadonlyArray<Contender>,
  size: Size,
  profiles: string | undefined
): Effect.Effect<ReadonlyArray<Result>, never, MysqlServer.MysqlServer | RedisServer.RedisServer> =>
  Effect.scoped(Effect.gen(function*() {
    const processes = yield* Effect.forEach(group, (contender) => Effect.either(start(of, contender, size, profiles)))
    const results: Array<Result | undefined> = processes.map(() => undefined)
    while (results.includes(undefined)) {
      for (const [at, process] of processes.entries()) {
        results[at] ??= yield* Either.match(process, {
          onLeft: (problem) => Effect.succeed(Either.left(problem)),
          onRight: slice
        })
      }
    }
    return results as ReadonlyArray<Result>
  }))

/** Its figures, if this slice was the last one. */
const slice = (contender: Contending): Effect.Effect<Result | undefined> =>
  contender.go.pipe(
    Effect.flatMap((said) => said === Settings.waiting ? Effect.succeedNone : Effect.asSome(decode(said))),
    Effect.match({
      onFailure: (error): Result => Either.left(problem(error)),
      onSuccess: Option.match({
        onNone: () => undefined,
        onSome: (sample): Result =>
          sample.problems.length === 0 ? Either.right(sample) : Either.left(sample.problems.join("; "))
      })
    })
  )

const decode = Schema.decodeUnknown(Settings.Sample)

interface Contending {
  /** Tells it to go on, and waits for what it says then. */
  readonly go: Effect.Effect<unknown, Error>
}

/** Is warm when this returns, and gone when the scope closes. */
const start = (
  of: Case,
  contender: Contender,
  size: Size,
  profiles: string | undefined
): Effect.Effect<Contending, string, MysqlServer.MysqlServer | RedisServer.RedisServer | Scope> =>
  Effect.gen(function*() {
    const place = yield* Servers.place
    const pids = yield* Servers.pids
    const settings = new Settings.Settings({ case: of.name, contender: contender.name, size, place, pids })
    const said = yield* Mailbox.make<unknown, Error>()
    const child = yield* fork(settings, contender.preload, profiles, said)
    yield* said.take
    return { go: Effect.zipRight(Effect.sync(() => child.send("go")), said.take) }
  }).pipe(Effect.mapError(problem))

const problem = (error: unknown): string => error instanceof Error ? error.message : String(error)

/** What the process says comes to the mailbox, which is done when it has ended. */
const fork = (
  settings: Settings.Settings,
  preload: string | undefined,
  profiles: string | undefined,
  said: Mailbox.Mailbox<unknown, Error>
): Effect.Effect<ChildProcess, never, Scope> =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const child = Child.fork("contender", {
        env: { [Settings.variable]: JSON.stringify(settings) },
        preload,
        execArgv: profiles === undefined ? [] : [
          "--cpu-prof",
          `--cpu-prof-dir=${profiles}`,
          `--cpu-prof-name=${
            `${settings.case}-${settings.contender}-${Date.now()}`.replaceAll(/[^a-zA-Z0-9]+/g, "-")
          }.cpuprofile`
        ]
      })
      let lastWords = ""
      child.stderr!.setEncoding("utf8").on("data", (text: string) => {
        lastWords = (lastWords + text).slice(-2_000)
      })
      const ended = (why: string) => said.unsafeDone(Exit.fail(new Error(why)))
      child.on("message", (message) => said.unsafeOffer(message))
      child.once("error", (error) => ended(error.message))
      child.once("close", (code, signal) => ended(`its process ended with ${signal ?? code}: ${lastWords.trim()}`))
      return child
    }),
    (child, exit) =>
      Effect.async<void>((resume) => {
        const hasEnded = child.pid === undefined || child.exitCode !== null || child.signalCode !== null
        if (hasEnded) return resume(Effect.void)
        child.once("exit", () => resume(Effect.void))
        // One that has said its figures may still have a profile to write.
        if (Exit.isFailure(exit)) child.kill("SIGKILL")
        else if (child.connected) child.disconnect()
      })
  )
