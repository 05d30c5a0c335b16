import { createRequire } from "node:module"
import { dirname, join } from "node:path"
import { fileURLToPath, pathToFileURL } from "node:url"

/** How a process of ours is started: its file, and what node and the loader must know. */
export interface Entry {
  readonly file: string
  readonly execArgv: ReadonlyArray<string>
  readonly env: Readonly<Record<string, string>>
}

/**
 * This file's own path. `import.meta` does not compile in the CommonJS build and `__filename` does not exist in the other
 * one; the engine knows in both.
 */
const thisFile = (): string => {
  const { prepareStackTrace } = Error
  try {
    Error.prepareStackTrace = (_, sites) => sites[0]?.getFileName()
    const file = new Error().stack as unknown as string
    return file.startsWith("file:") ? fileURLToPath(file) : file
  } finally {
    Error.prepareStackTrace = prepareStackTrace
  }
}

/** Compiled it runs as it is, and always as an ES module, which can load a strategy of either kind. As a source it needs a loader. */
export const entry = (name: string): Entry => {
  const here = thisFile()
  const source = join(dirname(here), "../..").replace(/([\\/]dist[\\/])cjs$/, "$1esm")
  if (!here.endsWith(".ts")) return { file: join(source, `bin/${name}.js`), execArgv: [], env: {} }
  return {
    file: join(source, `bin/${name}.ts`),
    execArgv: ["--import", pathToFileURL(createRequire(here).resolve("tsx")).href],
    env: { TSX_TSCONFIG_PATH: join(source, "../tsconfig.json") }
  }
}
