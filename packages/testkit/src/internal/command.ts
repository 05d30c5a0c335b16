import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { spawn } from "node:child_process"

/** A command that could not be run or did not end with code 0. `output` is the end of what it printed. */
export class CommandFailed extends Data.TaggedError("CommandFailed")<{
  readonly command: string
  readonly reason: "not-found" | "timeout" | "exit"
  readonly output: string
}> {}

/** Credentials that a tool may print as part of a URL do not reach a message. */
export const withoutCredentials = (text: string): string => text.replace(/\/\/[^/@\s']*@/g, "//")

/**
 * Runs a command to its end and gives what it printed on stdout. It has a process group of its own, which is killed as a
 * whole when the fiber is interrupted or the time is over.
 */
export const run = (
  command: string,
  args: ReadonlyArray<string>,
  timeout: Duration.DurationInput
): Effect.Effect<string, CommandFailed> =>
  Effect.async<string, CommandFailed>((resume) => {
    const child = spawn(command, args, {
      detached: true,
      stdio: ["ignore", "pipe", "pipe"],
      env: { ...process.env, LC_ALL: "C", DEBIAN_FRONTEND: "noninteractive" }
    })
    let stdout = ""
    let all = ""
    child.stdout.setEncoding("utf8").on("data", (chunk: string) => {
      stdout += chunk
      all += chunk
    })
    child.stderr.setEncoding("utf8").on("data", (chunk: string) => {
      all += chunk
    })
    const fail = (reason: CommandFailed["reason"]) =>
      resume(Effect.fail(
        new CommandFailed({ command, reason, output: withoutCredentials(all).trim().split("\n").slice(-12).join("\n") })
      ))
    child.on("error", () => fail("not-found"))
    child.on("close", (code) => code === 0 ? resume(Effect.succeed(stdout)) : fail("exit"))
    return Effect.sync(() => {
      try {
        if (child.pid !== undefined) process.kill(-child.pid, "SIGKILL")
      } catch {
        // it has just ended
      }
    })
  }).pipe(
    Effect.timeoutFail({
      duration: timeout,
      onTimeout: () =>
        new CommandFailed({
          command,
          reason: "timeout",
          output: `no end after ${Duration.format(Duration.decode(timeout))}`
        })
    })
  )
