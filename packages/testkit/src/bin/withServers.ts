#!/usr/bin/env node
/**
 * `with-servers COMMAND ARGUMENT…`: runs a command with one MySQL and one Redis server, whose URLs it finds in
 * SAFESYNC_MYSQL_URL and SAFESYNC_REDIS_URL. A server whose variable is set already is used as it is. Ends with the command's
 * exit code and leaves nothing behind.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Redacted from "effect/Redacted"
import { type ChildProcess, spawn } from "node:child_process"
import { constants } from "node:os"
import * as MysqlServer from "../MysqlServer.js"
import * as RedisServer from "../RedisServer.js"
import * as ServerOrigin from "../ServerOrigin.js"

const say = (line: string): void => {
  process.stderr.write(`${line}\n`)
}

const announce = (
  name: string,
  took: Duration.Duration,
  server: {
    readonly version: string
    readonly origin: ServerOrigin.ServerOrigin
    readonly url: Redacted.Redacted<string>
  }
): void => {
  const { host } = new URL(Redacted.value(server.url))
  say(
    `${name} ${server.version} at ${host}, ${ServerOrigin.describe(server.origin)} (${
      (Duration.toSeconds(took)).toFixed(1)
    } s)`
  )
}

let running: ChildProcess | undefined

/** Ends the command when we are killed: it would go on without its servers. */
const guardOf = (child: ChildProcess) => {
  const script = `trap '' HUP INT QUIT TERM; read -r _ || kill "$1"`
  const guard = spawn("/bin/sh", ["-c", script, "safesync-guard", String(child.pid)], {
    detached: true,
    stdio: ["pipe", "ignore", "ignore"]
  })
  guard.stdin.on("error", () => {})
  return guard
}

/** The command's exit code, or 128 and the signal that ended it, as a shell would say it. */
const runCommand = (command: string, args: ReadonlyArray<string>, env: Record<string, string>) =>
  Effect.uninterruptible(
    Effect.async<number, Error>((resume) => {
      const child = running = spawn(command, args, { stdio: "inherit", env: { ...process.env, ...env } })
      child.once(
        "error",
        (cause) => resume(Effect.fail(new Error(`The command "${command}" cannot be run: ${cause.message}`)))
      )
      if (child.pid === undefined) return
      const guard = guardOf(child)
      child.once("exit", (code, signal) => {
        guard.stdin.end("done\n")
        running = undefined
        resume(Effect.succeed(code ?? 128 + (signal === null ? 0 : constants.signals[signal])))
      })
    })
  )

const program = Effect.gen(function*() {
  const [command, ...args] = process.argv.slice(2)
  if (command === undefined || command.startsWith("-")) {
    return yield* Effect.fail(new Error("Usage: with-servers COMMAND [ARGUMENT…]"))
  }
  const [[mysqlTook, mysql], [redisTook, redis]] = yield* Effect.all([
    Effect.timed(Effect.map(Layer.build(MysqlServer.layer), Context.get(MysqlServer.MysqlServer))),
    Effect.timed(Effect.map(Layer.build(RedisServer.layer), Context.get(RedisServer.RedisServer)))
  ], { concurrency: 2 })
  announce("MySQL", mysqlTook, mysql)
  announce("Redis", redisTook, redis)
  return yield* runCommand(command, args, {
    [MysqlServer.urlVariable]: Redacted.value(mysql.url),
    [RedisServer.urlVariable]: Redacted.value(redis.url)
  })
}).pipe(
  Effect.scoped,
  Effect.provide(Logger.replace(Logger.defaultLogger, Logger.make(({ message }) => say(String(message)))))
)

const fiber = Effect.runFork(program)

let interruptedBy: NodeJS.Signals | undefined
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
  process.on(signal, () => {
    if (running === undefined) {
      interruptedBy = signal
      fiber.unsafeInterruptAsFork(fiber.id())
    } else if (signal !== "SIGINT" || !process.stdin.isTTY) {
      // Ctrl-C in a terminal has reached the command already, and a second one may mean something else to it
      running.kill(signal)
    }
  })
}

fiber.addObserver((exit) => {
  if (Exit.isSuccess(exit)) {
    process.exitCode = exit.value
  } else if (interruptedBy !== undefined) {
    process.exitCode = 128 + constants.signals[interruptedBy]
  } else {
    for (const error of Cause.prettyErrors(exit.cause)) say(error.message)
    process.exitCode = 1
  }
  process.exit()
})
