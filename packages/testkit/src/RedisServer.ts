/**
 * A real Redis server for tests and demos: the one that is given by URL, or one of our own that goes away with its scope.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import * as Binary from "./internal/binary.js"
import * as ContainerEngine from "./internal/containerEngine.js"
import * as Debian from "./internal/debianPackages.js"
import { launch } from "./internal/engine.js"
import * as Find from "./internal/findServer.js"
import * as RedisConnection from "./internal/redisConnection.js"
import * as Redisd from "./internal/redisServer.js"
import * as ServerFolder from "./internal/serverFolder.js"
import * as ServerUrl from "./internal/serverUrl.js"
import type { ServerControl } from "./ServerControl.js"
import type { ServerUnavailable } from "./ServerUnavailable.js"

/**
 * The environment variable that names a server to use: `redis://user:password@host:port`, or `rediss://` for TLS.
 *
 * @since 0.1.0
 * @category constants
 */
export const urlVariable = "SAFESYNC_REDIS_URL"

/**
 * A Redis server that answered when the layer was built.
 *
 * @since 0.1.0
 * @category tags
 */
export class RedisServer extends Context.Tag("@safesync/testkit/RedisServer")<RedisServer, {
  readonly url: Redacted.Redacted<string>
  /** What `INFO` says. */
  readonly version: string
  /** How it was found: by URL, a `redis-server` of this machine, Docker, or Debian's packages. */
  readonly origin: "url" | "path" | "docker" | "debian"
  /** The hand on the server; none when it was given by URL. */
  readonly control: Option.Option<ServerControl>
}>() {}

/**
 * The server named by `SAFESYNC_REDIS_URL`; without one, a server of our own (see `layerOwn`).
 *
 * A URL that is given and cannot be used (malformed, nobody there, login refused, Redis before 5.0) is a failure: nothing
 * else is tried.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<RedisServer, ServerUnavailable> = Layer.scoped(
  RedisServer,
  Effect.flatMap(
    ServerUrl.given(urlVariable),
    Option.match({
      onNone: () => own([]),
      onSome: (url) => Find.first("Redis", [{ name: urlVariable, find: byUrl(url) }])
    })
  )
)

/**
 * A server of its own, which a test may kill, stop and pause. What works first is taken: a `redis-server` of this machine, a
 * Docker engine, Debian packages unpacked into the cache folder (`SAFESYNC_CACHE_DIR`, by default `~/.cache/safesync`).
 *
 * It listens on loopback only, has no password, and is gone with all its data when the scope closes or this process dies.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerOwn = (options?: {
  /** Arguments for redis-server, such as `["--maxmemory", "10mb"]`. */
  readonly args?: ReadonlyArray<string> | undefined
  /** Writes every command to the append-only file and syncs it at once, so that a kill loses nothing. By default off. */
  readonly appendonly?: boolean | undefined
}): Layer.Layer<RedisServer, ServerUnavailable> =>
  Layer.scoped(
    RedisServer,
    own([
      ...(options?.appendonly === true ? ["--appendonly", "yes", "--appendfsync", "always"] : []),
      ...(options?.args ?? [])
    ])
  )

/**
 * How many entries of a consumer group are delivered and not acknowledged; 0 when there is no such stream or group.
 *
 * @since 0.1.0
 * @category probes
 */
export const pending = (stream: string, group: string): Effect.Effect<number, never, RedisServer> =>
  Effect.gen(function*() {
    const { url } = yield* RedisServer
    const redis = yield* RedisConnection.connect(url)
    const [count] = (yield* RedisConnection.call(redis, "XPENDING", stream, group)) as [number]
    return count
  }).pipe(
    Effect.scoped,
    Effect.catchIf((error) => error.message.startsWith("NOGROUP"), () => Effect.succeed(0)),
    // a failing probe is a broken test bench, not something that a test handles
    Effect.orDie
  )

// internal

const byUrl = (text: Redacted.Redacted<string>) =>
  Effect.gen(function*() {
    const parsed = yield* ServerUrl.parse(text, ["redis:", "rediss:"], "redis://user:password@127.0.0.1:6379")
    const url = Redacted.make(parsed.href)
    const { version } = yield* Redisd.identify(url, ServerUrl.address(parsed, 6379))
    return { url, version: yield* Redisd.supported(version), origin: "url" as const, control: Option.none() }
  })

const image = "redis:8"

const debian: Debian.DebianServer = {
  package: "redis-server",
  program: "usr/bin/redis-server",
  keep: ["usr/bin/redis-check-rdb"]
}

const own = (args: ReadonlyArray<string>): Effect.Effect<Find.Found, ServerUnavailable, Scope.Scope> => {
  // nothing is written to the disk unless the caller asks for it
  const all = ["--save", "", ...args]
  const started = (origin: Find.Found["origin"]) =>
  (
    { port, control }: { readonly port: number; readonly control: ServerControl }
  ) => {
    const url = Redisd.urlOf(port)
    return Effect.map(
      Redisd.identify(url, `127.0.0.1:${port}`),
      ({ version }): Find.Found => ({ url, version, origin, control: Option.some(control) })
    )
  }
  return Find.first("Redis", [
    {
      name: "redis-server on PATH",
      find: Effect.gen(function*() {
        const program = yield* Binary.onPath("redis-server")
        const version = yield* Effect.flatMap(Binary.version([program]), Redisd.supported)
        return yield* Redisd.start({ command: [program], usr: undefined, version }, all)
      }).pipe(Effect.flatMap(started("path")))
    },
    {
      name: "Docker",
      find: Effect.gen(function*() {
        yield* ContainerEngine.available(image)
        const folder = yield* ServerFolder.make("redis")
        const engine = ContainerEngine.make(folder, { image, port: 6379, env: [], args: ["redis-server", ...all] })
        return yield* launch("Redis", engine, (port) => Redisd.identify(Redisd.urlOf(port), `127.0.0.1:${port}`))
      }).pipe(Effect.flatMap(started("docker")))
    },
    {
      name: "Debian packages",
      find: Effect.gen(function*() {
        const { command, usr } = yield* Debian.install(debian)
        return yield* Redisd.start({ command, usr, version: yield* Binary.version(command) }, all)
      }).pipe(Effect.flatMap(started("debian")))
    }
  ], [{
    way: urlVariable,
    reason: "not set.",
    hint: "Set it to redis://user:password@host:port to use a server of yours."
  }])
}
