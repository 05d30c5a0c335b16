/**
 * Programs of this package in processes of their own: compiled, as `npm run bench` runs them; a test runs the sources, by a
 * loader.
 *
 * @since 0.1.0
 */
import { type ChildProcess, fork as nodeFork } from "node:child_process"
import { createRequire } from "node:module"
import { fileURLToPath, pathToFileURL } from "node:url"

/**
 * Starts the program `name` of `src/`, without its suffix. Its standard error is a pipe for the caller to read.
 *
 * @since 0.1.0
 * @category constructors
 */
export const fork = (
  name: string,
  options: {
    readonly env: Readonly<Record<string, string>>
    readonly execArgv?: ReadonlyArray<string> | undefined
    /** A module of `src/`, without its suffix, that is loaded first. */
    readonly preload?: string | undefined
  }
): ChildProcess =>
  nodeFork(file(name), [], {
    env: { ...process.env, ...loaderVariables, ...options.env },
    execArgv: [
      ...loader,
      ...options.preload === undefined ? [] : ["--import", pathToFileURL(file(options.preload)).href],
      ...options.execArgv ?? []
    ],
    stdio: ["ignore", "ignore", "pipe", "ipc"]
  })

// internal

const isCompiled = import.meta.url.endsWith(".js")

const file = (name: string): string => fileURLToPath(new URL(`./${name}.${isCompiled ? "js" : "ts"}`, import.meta.url))

const loader = isCompiled
  ? []
  : ["--import", pathToFileURL(createRequire(import.meta.url).resolve("tsx")).href]

const loaderVariables = isCompiled
  ? {}
  : { TSX_TSCONFIG_PATH: fileURLToPath(new URL("../../../tsconfig.json", import.meta.url)) }
