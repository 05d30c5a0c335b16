/**
 * `npm run bench`: SafeSync side by side with what one would write or pick instead. `npm run bench -- --help` lists the
 * options.
 *
 * Exit code 0: every run was verified; targets that were missed are told on standard error. 1: a run was found wrong, or the
 * benchmark could not run. 130: interrupted.
 *
 * @since 0.1.0
 */
import * as Command from "@effect/cli/Command"
import * as Options from "@effect/cli/Options"
import * as ValidationError from "@effect/cli/ValidationError"
import * as NodeContext from "@effect/platform-node/NodeContext"
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as MysqlServer from "@safesync/testkit/MysqlServer"
import * as RedisServer from "@safesync/testkit/RedisServer"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Exit from "effect/Exit"
import * as Logger from "effect/Logger"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import { resolve } from "node:path"
import type { Case, Size } from "./Benchmark.js"
import { cases } from "./cases.js"
import * as Disk from "./Disk.js"
import * as Markdown from "./Markdown.js"
import * as Report from "./Report.js"
import * as Rounds from "./Rounds.js"
import * as Servers from "./Servers.js"

const options = {
  filter: Options.text("filter").pipe(
    Options.withPseudoName("REGEXP"),
    Options.withDescription("Only the cases, or \"case: contender\", that this matches; baselines always run"),
    Options.optional
  ),
  rounds: Options.integer("rounds").pipe(
    Options.withSchema(Schema.Int.pipe(Schema.positive({ message: () => "--rounds must be above 0" }))),
    Options.withDescription("How many times each contender has its turn; default 5, with --quick 2"),
    Options.optional
  ),
  quick: Options.boolean("quick").pipe(Options.withDescription("Less of everything: a look in under three minutes")),
  json: Options.boolean("json").pipe(
    Options.withDescription("The report as JSON, which is then all there is on standard output")
  ),
  profile: Options.text("profile").pipe(
    Options.withPseudoName("FOLDER"),
    Options.withDescription("Where to write a CPU profile of every run, to be opened in the inspector of a browser"),
    Options.optional
  ),
  list: Options.boolean("list").pipe(Options.withDescription("Names the cases and their contenders, and runs nothing"))
}

/** Seconds. */
const lookAtMost = 180

/** npm runs scripts in the folder of the package; a path is meant from where the user is. */
const from = process.env["npm_lifecycle_event"] === "bench" ? process.env["INIT_CWD"] ?? "." : "."

const say = (text: string): void => {
  process.stderr.write(`${text}\n`)
}

/** A filter says what is wanted: then nothing of it is left out of a look. */
const chosen = (filter: Option.Option<string>, quick: boolean): ReadonlyArray<Case> => {
  if (Option.isNone(filter)) {
    return !quick ?
      cases :
      cases.flatMap((of) =>
        of.quick ? [{ ...of, contenders: of.contenders.filter(({ notQuick }) => notQuick !== true) }] : []
      )
  }
  const pattern = new RegExp(filter.value, "i")
  return cases.flatMap((of) => {
    if (pattern.test(of.name)) return [of]
    const contenders = of.contenders.filter(({ name }) => pattern.test(`${of.name}: ${name}`))
    return contenders.length === 0 ? [] : [{
      ...of,
      contenders: of.contenders.filter((_) => _.name === of.baseline || contenders.includes(_))
    }]
  })
}

const onTurn = ({ name }: Case, { contender, result, round }: Rounds.Turn): void =>
  say(
    `${name}, round ${round}: ${contender}: ${
      Either.isRight(result)
        ? `${Math.round(result.right.count / result.right.seconds).toLocaleString("en-GB")}/s`
        : `does not count: ${result.left}`
    }`
  )

const command = Command.make(
  "bench",
  options,
  ({ filter, json, list, profile, quick, rounds: given }) =>
    Effect.gen(function*() {
      const selected = chosen(filter, quick)
      if (selected.length === 0) return yield* Effect.fail(new Error("No case has this name; --list lists them"))
      if (list) {
        for (const { contenders, name } of selected) {
          process.stdout.write(`${name}\n${contenders.map((_) => `  ${_.name}\n`).join("")}`)
        }
        return
      }
      const rounds = Option.getOrElse(given, () => quick ? 2 : 5)
      const size = quick ? "quick" : "full"
      const report = yield* Effect.provide(
        play(selected, rounds, size, Option.getOrUndefined(Option.map(profile, (folder) => resolve(from, folder)))),
        Servers.layer
      )
      process.stdout.write(`${json ? Report.toJson(report) : Markdown.of(report)}\n`)
      say(Markdown.summary(report.targets))
      for (const line of Markdown.missed(report.targets)) say(line)
      const { seconds } = report.conditions
      if (quick && Option.isNone(filter) && seconds > lookAtMost) {
        say(
          `A look is to take less than ${lookAtMost} s, and this one took ${seconds.toFixed(0)}: the machine was busy.`
        )
      }
      if (!report.ok) process.exitCode = 1
    })
)

const play = (selected: ReadonlyArray<Case>, rounds: number, size: Size, profiles: string | undefined) =>
  Effect.gen(function*() {
    const mysql = yield* MysqlServer.MysqlServer
    const redis = yield* RedisServer.RedisServer
    const durability = yield* Servers.durability
    const { mysqld } = yield* Servers.pids
    const fsyncMillis = mysqld === null ? null : Disk.fsyncMillis()
    const [start, before] = [performance.now(), Report.load()]
    const played = yield* Effect.forEach(selected, (of) => Rounds.play(of, { rounds, size, profiles, onTurn }))
    return Report.make(cases, played, {
      size,
      rounds,
      mysql: mysql.version,
      redis: redis.version,
      durability,
      fsyncMillis,
      load: [before, Report.load()],
      seconds: (performance.now() - start) / 1000
    })
  })

const program = Command.run(command, { name: "SafeSync benchmarks", version: "0.1.0" })(process.argv).pipe(
  Effect.tapErrorCause((cause) =>
    Effect.sync(() => {
      const error = Cause.failureOption(cause)
      if (Option.isNone(error)) {
        if (!Cause.isInterruptedOnly(cause)) say(`This is a bug of the benchmark: ${Cause.pretty(cause)}`)
      } else if (!ValidationError.isValidationError(error.value)) say(error.value.message)
    })
  ),
  Effect.provide(NodeContext.layer),
  Effect.provide(Logger.replace(Logger.defaultLogger, Logger.withConsoleError(Logger.logfmtLogger)))
)

NodeRuntime.runMain(program, {
  disableErrorReporting: true,
  disablePrettyLogger: true,
  // At once: left to itself, Node 20 may wait without end for a request on a connection that was reset.
  teardown: (exit) =>
    process.exit(Exit.isSuccess(exit) ? process.exitCode ?? 0 : Cause.isInterruptedOnly(exit.cause) ? 130 : 1)
})
