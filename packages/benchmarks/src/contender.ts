/**
 * The process of one contender: told what to do by its environment, it says that it waits before each slice and goes on when it
 * is told to; the message that it ends with has its figures.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Logger from "effect/Logger"
import * as Schema from "effect/Schema"
import { measure } from "./measure.js"
import { Settings, variable, waiting } from "./Settings.js"

// Whoever wants the figures is gone.
process.on("disconnect", () => process.exit(1))

const turn = Effect.async<void>((resume) => {
  process.once("message", () => resume(Effect.void))
  process.send!(waiting)
})

const program = Effect.flatMap(
  Schema.decodeUnknown(Schema.parseJson(Settings))(process.env[variable]),
  (settings) => measure(settings, turn)
)

Effect.runPromiseExit(
  Effect.provide(program, Logger.replace(Logger.defaultLogger, Logger.withConsoleError(Logger.logfmtLogger)))
).then((exit) => {
  if (Exit.isSuccess(exit)) {
    process.send!(exit.value, () => process.exit(0))
  } else {
    process.stderr.write(`${Cause.pretty(exit.cause)}\n`)
    process.exit(1)
  }
})
