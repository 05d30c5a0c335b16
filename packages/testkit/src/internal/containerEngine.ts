import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { randomUUID } from "node:crypto"
import { writeFileSync } from "node:fs"
import { join } from "node:path"
import { type CommandFailed, run } from "./command.js"
import { type Engine, WayFailed } from "./engine.js"
import * as ServerFolder from "./serverFolder.js"

/** Whether there is a Docker engine behind the `docker` command; the image is pulled if it is not there. */
export const available = (image: string): Effect.Effect<void, WayFailed> =>
  Effect.gen(function*() {
    yield* Effect.catchAll(run("docker", ["version", "--format", "{{.Server.Version}}"], "10 seconds"), (error) =>
      new WayFailed(
        error.reason === "not-found" ?
          { reason: "there is no docker command.", hint: "Install Docker." } :
          {
            reason: `the docker command finds no engine (${error.output.split("\n").at(-1)}).`,
            hint: "Start the engine, or allow this user to reach it."
          }
      ))
    const present = yield* Effect.option(run("docker", ["image", "inspect", image], "10 seconds"))
    if (Option.isNone(present)) {
      yield* Effect.logInfo(`Pulling the image ${image}, once`)
      yield* Effect.catchAll(run("docker", ["pull", "--quiet", image], "10 minutes"), (error) =>
        new WayFailed({
          reason: `the image ${image} could not be pulled (${error.output.split("\n").at(-1)}).`,
          hint: "Pull it yourself, or look at the engine's network and proxy."
        }))
    }
  })

/**
 * A server as a container. It is not run with `--rm`: that would remove a killed server's data before it can be started
 * again. The watchdog of the folder, which reads the container's name there, removes it instead.
 */
export const make = (
  folder: string,
  options: {
    readonly image: string
    readonly port: number
    readonly env: ReadonlyArray<string>
    readonly args: ReadonlyArray<string>
  }
): Engine => {
  const name = `safesync-${randomUUID()}`
  let createdFor: number | undefined
  let startFailure = ""
  const docker = (...args: ReadonlyArray<string>) => run("docker", args, "60 seconds")
  const failed = (error: CommandFailed) =>
    new WayFailed({ reason: "the container could not be started.", hint: error.output })

  const create = (port: number) =>
    Effect.gen(function*() {
      yield* ServerFolder.writing(() => writeFileSync(join(folder, "container"), name))
      if (createdFor !== undefined) yield* docker("rm", "-f", "-v", name)
      createdFor = port
      yield* docker(
        "create",
        "--name",
        name,
        "--label",
        "safesync-testkit",
        "--publish",
        `127.0.0.1:${port}:${options.port}`,
        ...options.env.flatMap((variable) => ["--env", variable]),
        options.image,
        ...options.args
      )
    })
  const isRunning = docker("inspect", "--format", "{{.State.Running}}", name).pipe(
    Effect.map((state) => state.trim() === "true"),
    Effect.orElseSucceed(() => false)
  )
  const verb = { KILL: ["kill"], TERM: ["kill", "--signal=TERM"], STOP: ["pause"], CONT: ["unpause"] }

  return {
    spawn: (port) =>
      Effect.suspend(() => {
        startFailure = ""
        return Effect.unless(create(port), () => createdFor === port)
      }).pipe(
        // a port that somebody else has is found out here; the server then counts as ended, with Docker's words as its log
        Effect.zipRight(docker("start", name)),
        Effect.catchTag("CommandFailed", (error) =>
          /port/i.test(error.output) ?
            Effect.sync(() => {
              startFailure = error.output
            }) :
            failed(error))
      ),
    ended: Effect.asVoid(Effect.option(run("docker", ["wait", name], "1 days"))),
    isRunning,
    pid: Effect.succeedNone,
    signal: (signal) =>
      // a frozen container takes no signal before it goes on
      Effect.when(Effect.option(docker("unpause", name)), () => signal === "KILL").pipe(
        Effect.zipRight(Effect.option(docker(...verb[signal], name))),
        Effect.asVoid
      ),
    log: run("/bin/sh", ["-c", `docker logs --tail 100 ${name} 2>&1`], "10 seconds").pipe(
      Effect.orElseSucceed(() => ""),
      Effect.map((text) =>
        `${text}
${startFailure}`
      )
    )
  }
}
