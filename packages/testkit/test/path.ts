// What is on PATH while a test runs.
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { accessSync, chmodSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { delimiter, join } from "node:path"
import { fileURLToPath } from "node:url"

/** Variables of this process's environment, as they are while the scope is open. */
export const environment = (variables: Record<string, string>): Effect.Effect<void, never, Scope.Scope> =>
  Effect.asVoid(Effect.acquireRelease(
    Effect.sync(() => {
      const before = Object.keys(variables).map((name) => [name, process.env[name]] as const)
      Object.assign(process.env, variables)
      return before
    }),
    (before) =>
      Effect.sync(() => {
        for (const [name, value] of before) {
          if (value === undefined) delete process.env[name]
          else process.env[name] = value
        }
      })
  ))

/** A folder that goes with the scope. */
export const temporaryFolder: Effect.Effect<string, never, Scope.Scope> = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "testkit-"))),
  (folder) => Effect.sync(() => rmSync(folder, { recursive: true }))
)

/** The folder of a `docker` that is a stand-in, with nothing pulled and no container; gives its state. */
export const dockerStandIn: Effect.Effect<string, never, Scope.Scope> = Effect.gen(function*() {
  const state = yield* temporaryFolder
  const fixtures = fileURLToPath(new URL("fixtures", import.meta.url))
  yield* environment({ DOCKER_STATE: state, PATH: [fixtures, process.env["PATH"]].join(delimiter) })
  return state
})

/** PATH holds these programs of this machine alone, and scripts under the names that they are given. */
export const pathOf = (
  programs: ReadonlyArray<string>,
  scripts: Record<string, string> = {}
): Effect.Effect<void, never, Scope.Scope> =>
  Effect.gen(function*() {
    const folder = yield* temporaryFolder
    const folders = (process.env["PATH"] ?? "").split(delimiter)
    for (const name of programs) {
      symlinkSync(folders.map((folder) => join(folder, name)).find(exists) ?? name, join(folder, name))
    }
    for (const [name, text] of Object.entries(scripts)) {
      writeFileSync(join(folder, name), `#!/bin/sh\n${text}\n`)
      chmodSync(join(folder, name), 0o755)
    }
    yield* environment({ PATH: folder })
  })

const exists = (file: string): boolean => {
  try {
    accessSync(file)
    return true
  } catch {
    return false
  }
}
