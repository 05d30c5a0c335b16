/**
 * `npm run demo`: orders flow from a Redis Stream into MySQL through several worker processes, one of them is killed on the
 * way, and every penny is accounted for. `npm run demo -- --help` lists the options.
 *
 * Exit code 0: the audit holds, and what the killed worker had was taken over. 1: not so, or the demo could not run. 130, 143:
 * ended by SIGINT, SIGTERM.
 *
 * @since 0.1.0
 */
import * as Command from "@effect/cli/Command"
import * as Options from "@effect/cli/Options"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import { resolve } from "node:path"
import * as Program from "../terminal/Program.js"
import * as Demo from "./Demo.js"
import * as Report from "./Report.js"

const positive = (option: string) =>
  Schema.Int.pipe(
    Schema.positive({ message: ({ actual }) => `${option} must be a whole number above 0, not ${actual}` })
  )

const options = {
  input: Options.text("input").pipe(
    Options.withPseudoName("FILE.csv[.gz]"),
    Options.withDescription(
      "A CSV file with the columns of the Online Retail data set; without it, lines are generated"
    ),
    Options.optional
  ),
  lines: Options.integer("lines").pipe(
    Options.withSchema(positive("--lines")),
    Options.withDescription(`How many lines; all of the file, or ${Demo.generatedLines} generated ones`),
    Options.optional
  ),
  seed: Options.integer("seed").pipe(Options.withDescription("Of the generated lines"), Options.withDefault(1)),
  workers: Options.integer("workers").pipe(
    Options.withSchema(positive("--workers")),
    Options.withDescription("Worker processes"),
    Options.withDefault(4)
  ),
  kill: Options.boolean("no-kill", { ifPresent: false, negationNames: ["kill"] }).pipe(
    Options.withDescription("Whether one worker gets SIGKILL a third of the way in; --kill by default")
  ),
  metrics: Options.boolean("metrics").pipe(
    Options.withDescription(
      "Offers each worker's metrics to a Prometheus, at ports of this machine"
    )
  ),
  metricsPort: Options.integer("metrics-port").pipe(
    Options.withSchema(Schema.Int.pipe(
      Schema.between(1, 65_000, { message: () => "--metrics-port must be a port, from 1 to 65000" })
    )),
    Options.withDescription("With --metrics: the port of the first worker; the others follow"),
    Options.withDefault(Demo.firstMetricsPort)
  ),
  json: Options.boolean("json").pipe(
    Options.withDescription("The report as JSON, which is then all there is on standard output")
  ),
  mysqlUrl: Options.redacted("mysql-url").pipe(
    Options.withDescription("mysql://user:password@host:port of a server to use, instead of one that the demo starts"),
    Options.optional
  ),
  redisUrl: Options.redacted("redis-url").pipe(
    Options.withDescription("redis://user:password@host:port of a server to use, instead of one that the demo starts"),
    Options.optional
  )
}

/** npm runs scripts in the folder of the package; a path is meant from where the user is. */
const folder = process.env["npm_lifecycle_event"] === "demo" ? process.env["INIT_CWD"] ?? "." : "."

const command = Command.make("demo", options, ({ input, json, ...rest }) =>
  Effect.map(
    Demo.run({ ...rest, input: Option.map(input, (path) => resolve(folder, path)) }),
    (report) => {
      process.stdout.write(`${json ? Report.toJson(report) : Report.toTable(report)}\n`)
      if (!report.ok) process.exitCode = 1
    }
  ))

Program.run(command, "the demo")
