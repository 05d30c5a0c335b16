import * as Effect from "effect/Effect"
import { accessSync, constants, realpathSync } from "node:fs"
import { delimiter, join } from "node:path"
import { run } from "./command.js"
import { WayFailed } from "./engine.js"

/** A server's program on this machine. */
export interface Binary {
  /** The words before the server's own arguments; more than one when it needs a loader of its own. */
  readonly command: ReadonlyArray<string>
  /** The folder of `usr` that the program was unpacked to; undefined when it lies where it was built for. */
  readonly usr: string | undefined
  readonly version: string
}

const executable = (file: string): boolean => {
  try {
    accessSync(file, constants.X_OK)
    return true
  } catch {
    return false
  }
}

/** Looks a program up on PATH, and in the system's folders for daemons, which many users' PATH leaves out. */
export const onPath = (name: string): Effect.Effect<string, WayFailed> =>
  Effect.suspend(() => {
    const folders = [...(process.env["PATH"] ?? "").split(delimiter), "/usr/sbin", "/usr/local/sbin"]
    const found = folders.filter((folder) => folder !== "").map((folder) => join(folder, name)).find(executable)
    return found === undefined ?
      new WayFailed({ reason: "there is none.", hint: "Install it." }) :
      Effect.succeed(realpathSync(found).endsWith(name) ? realpathSync(found) : found)
  })

/** What the program says about its version. */
export const version = (command: ReadonlyArray<string>): Effect.Effect<string, WayFailed> =>
  Effect.catchAll(
    Effect.map(run(command[0]!, [...command.slice(1), "--version"], "20 seconds"), (text) => text.trim()),
    (error) => new WayFailed({ reason: `it does not run (${error.output.split("\n").at(-1)}).`, hint: "" })
  )
