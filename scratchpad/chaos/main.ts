/**
 * `npm run chaos -- <scenario> --seed N --runs N [--json]`: the long proofs. `npm run chaos -- --help` lists the scenarios.
 *
 * To add one: a file next to this that exports a `Scenario`, and a line in the table below.
 *
 * Exit code 0: every expectation holds. 1: one does not, or the scenario could not run. 130: interrupted.
 *
 * @since 0.1.0
 */
import * as Command from "@effect/cli/Command"
import * as Options from "@effect/cli/Options"
import * as Effect from "effect/Effect"
import * as Logger from "effect/Logger"
import * as LogLevel from "effect/LogLevel"
import * as Schema from "effect/Schema"
import { say } from "../terminal/Bar.js"
import * as Program from "../terminal/Program.js"
import * as Interrupt from "./Interrupt.js"
import * as Interruptions from "./Interruptions.js"
import * as Invariants from "./Invariants.js"
import * as MysqlKill from "./MysqlKill.js"
import * as MysqlNetwork from "./MysqlNetwork.js"
import * as Poison from "./Poison.js"
import * as Progress from "./Progress.js"
import * as RedisBacklog from "./RedisBacklog.js"
import * as RedisFaults from "./RedisFaults.js"
import * as Report from "./Report.js"
import type { Scenario } from "./Scenario.js"
import * as WorkerCrash from "./WorkerCrash.js"

const scenarios = [
  Interrupt.scenario,
  Interruptions.scenario,
  Invariants.scenario,
  MysqlKill.scenario,
  MysqlNetwork.scenario,
  Poison.scenario,
  RedisBacklog.scenario,
  RedisFaults.scenario,
  WorkerCrash.scenario
] as const satisfies ReadonlyArray<Scenario>

const options = (scenario: Scenario) => ({
  seed: Options.integer("seed").pipe(Options.withDescription("Of all that is random"), Options.withDefault(1)),
  runs: Options.integer("runs").pipe(
    Options.withSchema(
      Schema.Int.pipe(
        Schema.positive({ message: ({ actual }) => `--runs must be a whole number above 0, not ${actual}` })
      )
    ),
    Options.withDescription(`How many ${scenario.unit}`),
    Options.withDefault(scenario.runs)
  ),
  json: Options.boolean("json").pipe(
    Options.withDescription("The report as JSON, which is then all there is on standard output")
  )
})

const subcommand = (scenario: Scenario) =>
  Command.make(scenario.name, options(scenario), ({ json, runs, seed }) =>
    Effect.gen(function*() {
      const before = Report.load()
      const start = performance.now()
      say(`${scenario.name}: ${runs.toLocaleString("en-GB")} ${scenario.unit}, seed ${seed}`)
      const outcome = yield* Effect.scoped(
        Effect.flatMap(Progress.make(runs, scenario.unit), (progress) => scenario.run({ seed, runs, progress }))
      )
      const seconds = (performance.now() - start) / 1000
      const report = Report.make(scenario, { seed, runs, seconds, load: [before, Report.load()] }, outcome)
      process.stdout.write(`${json ? Report.toJson(report) : Report.toTable(report)}\n`)
      if (report.ok) return
      process.exitCode = 1
      say(`To see it again: ${report.again}`)
    }).pipe(
      // The library warns of every ROLLBACK that failed: here they fail on purpose, and by the thousand.
      Logger.withMinimumLogLevel(LogLevel.Error)
    )).pipe(Command.withDescription(scenario.description))

const [first, ...rest] = scenarios.map(subcommand)

const command = Command.make("chaos").pipe(Command.withSubcommands([first!, ...rest]))

Program.run(command, "the long proofs")
