/**
 * A real Prometheus for tests of metrics: it scrapes what it is told to, and answers queries. It goes away with its scope.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import { mkdirSync, writeFileSync } from "node:fs"
import { dirname, join } from "node:path"
import * as Binary from "./internal/binary.js"
import { type CommandFailed, run } from "./internal/command.js"
import * as Debian from "./internal/debianPackages.js"
import { launch, type Ready, type WayFailed } from "./internal/engine.js"
import * as ProcessEngine from "./internal/processEngine.js"
import * as ServerFolder from "./internal/serverFolder.js"
import { type Attempt, ServerUnavailable } from "./ServerUnavailable.js"

/**
 * One series of an answer, with its value at the time of the question.
 *
 * @since 0.1.0
 * @category models
 */
export interface Sample {
  /** The labels, `__name__` among them where the series has a name. */
  readonly metric: Readonly<Record<string, string>>
  readonly value: number
}

/**
 * Prometheus refused a query, or did not answer.
 *
 * @since 0.1.0
 * @category errors
 */
export class QueryFailed extends Data.TaggedError("QueryFailed")<{
  readonly query: string
  readonly reason: string
}> {
  override get message(): string {
    return `${this.query}: ${this.reason}`
  }
}

/**
 * A Prometheus that was ready when the layer was built.
 *
 * @since 0.1.0
 * @category tags
 */
export class PrometheusServer extends Context.Tag("@safesync/testkit/PrometheusServer")<PrometheusServer, {
  readonly url: string
  /** What `prometheus --version` says. */
  readonly version: string
  /** An instant query; series in no particular order. */
  readonly query: (promql: string) => Effect.Effect<ReadonlyArray<Sample>, QueryFailed>
}>() {}

/**
 * A server of its own that scrapes these targets every 200 milliseconds: a `prometheus` of this machine, or else Debian's package,
 * unpacked into the cache folder. It listens on loopback, and keeps its data in a folder that goes with it.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerOwn = (options: {
  /** `host:port` of what is scraped at `/metrics`. */
  readonly targets: ReadonlyArray<string>
  /** Paths of rule files. */
  readonly rules?: ReadonlyArray<string> | undefined
}): Layer.Layer<PrometheusServer, ServerUnavailable> =>
  Layer.scoped(
    PrometheusServer,
    Effect.flatMap(located, (binary) =>
      Effect.matchEffect(start(binary, options), {
        onFailure: ({ hint, reason }) => unavailable([{ way: "starting it", reason, hint }]),
        onSuccess: (url) =>
          Effect.succeed({ url, version: binary.version, query: (promql: string) => query(url, promql) })
      }))
  )

/**
 * Runs `promtool` to its end and gives what it printed; `CommandFailed` says what it complained about.
 *
 * @since 0.1.0
 * @category commands
 */
export const promtool = (...args: ReadonlyArray<string>): Effect.Effect<string, CommandFailed | ServerUnavailable> =>
  Effect.flatMap(located, ({ command }) => {
    // In the same folder, and started in the same way.
    const program = join(dirname(command.at(-1)!), "promtool")
    const [first, ...rest] = [...command.slice(0, -1), program, ...args]
    return run(first!, rest, "1 minute")
  })

// internal

const debian: Debian.DebianServer = {
  package: "prometheus",
  program: "usr/bin/prometheus",
  keep: ["usr/bin/promtool"]
}

const onPath: Effect.Effect<Binary.Binary, WayFailed> = Effect.gen(function*() {
  const program = yield* Binary.onPath("prometheus")
  return { command: [program], usr: undefined, version: yield* version([program]) }
})

const fromDebian: Effect.Effect<Binary.Binary, WayFailed> = Effect.gen(function*() {
  const { command, usr } = yield* Debian.install(debian)
  return { command, usr, version: yield* version(command) }
})

const located: Effect.Effect<Binary.Binary, ServerUnavailable> = Effect.catchAll(
  onPath,
  (path) =>
    Effect.catchAll(fromDebian, (packages) =>
      unavailable([
        { way: "prometheus on PATH", reason: path.reason, hint: path.hint },
        { way: "Debian packages", reason: packages.reason, hint: packages.hint }
      ]))
)

const unavailable = (attempts: ReadonlyArray<Attempt>): Effect.Effect<never, ServerUnavailable> =>
  new ServerUnavailable({ server: "Prometheus", attempts })

const version = (command: ReadonlyArray<string>): Effect.Effect<string, WayFailed> =>
  Effect.map(Binary.version(command), (text) => /version (\S+)/.exec(text)?.[1] ?? text)

const start = (
  binary: Binary.Binary,
  options: Parameters<typeof layerOwn>[0]
): Effect.Effect<string, WayFailed, Scope.Scope> =>
  Effect.gen(function*() {
    const folder = yield* ServerFolder.make("prometheus")
    const data = join(folder, "data")
    yield* ServerFolder.writing(() => mkdirSync(data))
    const every = "200ms"
    // JSON is YAML
    const configuration = {
      global: { scrape_interval: every, scrape_timeout: every, evaluation_interval: every },
      rule_files: options.rules ?? [],
      scrape_configs: [{ job_name: "safesync", static_configs: [{ targets: options.targets }] }]
    }
    yield* ServerFolder.writing(() => writeFileSync(join(folder, "prometheus.yml"), JSON.stringify(configuration)))
    const engine = ProcessEngine.make(folder, (port) => [
      ...binary.command,
      `--config.file=${join(folder, "prometheus.yml")}`,
      `--storage.tsdb.path=${data}`,
      `--web.listen-address=127.0.0.1:${port}`,
      "--log.level=warn"
    ])
    const ready: Ready = (port) =>
      Effect.tryPromise({
        try: async () => {
          const base = `http://127.0.0.1:${port}`
          if ((await fetch(`${base}/-/ready`)).status !== 200) throw new Error("it is not ready")
          const flags = await (await fetch(`${base}/api/v1/status/flags`)).json() as { data: Record<string, string> }
          if (flags.data["storage.tsdb.path"] !== data) throw new Error("another server answers at its port")
        },
        catch: (cause) => ({ reason: String(cause) })
      })
    const { port } = yield* launch("Prometheus", engine, ready)
    return `http://127.0.0.1:${port}`
  })

const query = (url: string, promql: string): Effect.Effect<ReadonlyArray<Sample>, QueryFailed> =>
  Effect.tryPromise({
    try: async (): Promise<ReadonlyArray<Sample>> => {
      const response = await fetch(`${url}/api/v1/query?${new URLSearchParams({ query: promql }).toString()}`)
      const answer = await response.json() as Answer
      if (answer.status !== "success") throw new Error(answer.error)
      return answer.data.resultType === "vector"
        ? answer.data.result.map(({ metric, value: [, value] }) => ({ metric, value: Number(value) }))
        : [{ metric: {}, value: Number(answer.data.result[1]) }]
    },
    catch: (cause) => new QueryFailed({ query: promql, reason: cause instanceof Error ? cause.message : String(cause) })
  })

type Answer =
  | { readonly status: "error"; readonly error: string }
  | { readonly status: "success"; readonly data: Vector | Scalar }

interface Vector {
  readonly resultType: "vector"
  readonly result: ReadonlyArray<{ readonly metric: Record<string, string>; readonly value: readonly [number, string] }>
}

interface Scalar {
  readonly resultType: "scalar"
  readonly result: readonly [number, string]
}
