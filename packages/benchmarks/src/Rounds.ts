/**
 * Contenders take turns, A B C A B C, so that whatever else the machine does meets all of them.
 *
 * @since 0.1.0
 */
import type * as MysqlServer from "@safesync/testkit/MysqlServer"
import type * as RedisServer from "@safesync/testkit/RedisServer"
import * as Effect from "effect/Effect"
import type * as Either from "effect/Either"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
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
  readonly result: Either.Either<Sample, string>
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
    for (let round = 1; round <= options.rounds; round++) {
      for (const contender of of.contenders) {
        const result = yield* turn(of, contender, options.size, options.profiles)
        turns.push({ round, contender: contender.name, result })
        options.onTurn(of, turns.at(-1)!)
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

const turn = (
  of: Case,
  contender: Contender,
  size: Size,
  profiles: string | undefined
): Effect.Effect<Either.Either<Sample, string>, never, MysqlServer.MysqlServer | RedisServer.RedisServer> =>
  Effect.scoped(Effect.gen(function*() {
    const place = yield* Servers.place
    const pids = yield* Servers.pids
    const sample = yield* inProcess(
      new Settings.Settings({ case: of.name, contender: contender.name, size, place, pids }),
      contender.preload,
      profiles
    )
    return yield* sample.problems.length === 0 ? Effect.succeed(sample) : Effect.fail(sample.problems.join("; "))
  })).pipe(
    Effect.mapError((error) => error instanceof Error ? error.message : String(error)),
    Effect.either
  )

const inProcess = (
  settings: Settings.Settings,
  preload: string | undefined,
  profiles: string | undefined
): Effect.Effect<Sample, unknown> =>
  Effect.async<unknown, Error>((resume) => {
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
    child.once("message", (message) => resume(Effect.succeed(message)))
    child.once("error", (error) => resume(Effect.fail(error)))
    child.once(
      "close",
      (code, signal) => resume(Effect.fail(new Error(`its process ended with ${signal ?? code}: ${lastWords.trim()}`)))
    )
    return Effect.sync(() => child.kill("SIGKILL"))
  }).pipe(Effect.flatMap(Schema.decodeUnknown(Settings.Sample)))
