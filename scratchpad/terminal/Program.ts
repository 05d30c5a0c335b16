/**
 * A command line as the process's own program: what it fails with is a line on standard error, and the exit code tells the rest.
 *
 * @since 0.1.0
 */
import * as Command from "@effect/cli/Command"
import * as ValidationError from "@effect/cli/ValidationError"
import * as NodeContext from "@effect/platform-node/NodeContext"
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Logger from "effect/Logger"
import * as Option from "effect/Option"
import { say } from "./Bar.js"

/**
 * Runs it with this process's arguments. Exit code 0, or what `process.exitCode` says; 1 when it failed; 130 when it was
 * interrupted, 143 by SIGTERM. `what` is how the user calls it.
 *
 * @since 0.1.0
 * @category running
 */
export const run = <Name extends string, E extends { readonly message: string }, A>(
  command: Command.Command<Name, NodeContext.NodeContext, E, A>,
  what: string
): void => {
  let interruptedCode = 130
  process.once("SIGTERM", () => {
    interruptedCode = 143
  })
  const program = Command.run(command, { name: `SafeSync, ${what}`, version: "0.1.0" })(process.argv).pipe(
    Effect.tapErrorCause((cause) =>
      Effect.sync(() => {
        const error = Cause.failureOption(cause)
        if (Option.isNone(error)) {
          if (!Cause.isInterruptedOnly(cause)) say(`This is a bug of ${what}: ${Cause.pretty(cause)}`)
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
      process.exit(
        Exit.isSuccess(exit) ? process.exitCode ?? 0 : Cause.isInterruptedOnly(exit.cause) ? interruptedCode : 1
      )
  })
}
