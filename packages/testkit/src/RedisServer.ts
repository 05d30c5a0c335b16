/**
 * A real Redis server for tests and demos: the one that is given by URL, or one of our own that goes away with its scope.
 *
 * @since 0.1.0
 */
import * as Config from "effect/Config"
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import * as Binary from "./internal/binary.js"
import * as Certificate from "./internal/certificate.js"
import { clean } from "./internal/clean.js"
import * as ContainerEngine from "./internal/containerEngine.js"
import * as Debian from "./internal/debianPackages.js"
import { launch, WayFailed } from "./internal/engine.js"
import * as Find from "./internal/findServer.js"
import * as RedisConnection from "./internal/redisConnection.js"
import * as Leaks from "./internal/redisLeaks.js"
import * as Redisd from "./internal/redisServer.js"
import * as ServerFolder from "./internal/serverFolder.js"
import * as ServerUrl from "./internal/serverUrl.js"
import type { LeakFound } from "./LeakFound.js"
import type { ServerControl } from "./ServerControl.js"
import type { ServerOrigin } from "./ServerOrigin.js"
import type { ServerUnavailable } from "./ServerUnavailable.js"

/**
 * The environment variable that names a server to use: `redis://user:password@host:port`, or `rediss://` for TLS.
 *
 * @since 0.1.0
 * @category constants
 */
export const urlVariable = "SAFESYNC_REDIS_URL"

/**
 * The environment variable that names the Debian package whose server is run, in place of whatever is found first:
 * `redis-server/bookworm` (Redis 7.0), `redis-server` (the one of Debian unstable), `valkey-server`, `valkey-server/trixie`. It is
 * how the same tests are run against another server.
 *
 * @since 0.1.0
 * @category constants
 */
export const packageVariable = "SAFESYNC_REDIS_PACKAGE"

/**
 * A Redis server that answered when the layer was built.
 *
 * @since 0.1.0
 * @category tags
 */
export class RedisServer extends Context.Tag("@safesync/testkit/RedisServer")<RedisServer, {
  readonly url: Redacted.Redacted<string>
  /** What `INFO` says; of Valkey its own version, as `valkey 9.1.2`. */
  readonly version: string
  /** How it was found: by URL, a `redis-server` of this machine, Docker, or Debian's packages. */
  readonly origin: ServerOrigin
  /** The hand on the server; none when it was given by URL. */
  readonly control: Option.Option<ServerControl>
  /** The certificate (PEM) that clients of a server with `tls` must trust; none for any other server. */
  readonly ca: Option.Option<string>
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
      onNone: () => own([], false),
      onSome: (url) =>
        Effect.map(
          Find.first("Redis", [{ name: urlVariable, find: byUrl(url) }]),
          (found) => ({ ...found, ca: Option.none() })
        )
    })
  )
)

/**
 * A server of its own, which a test may kill, stop and pause. What works first is taken: a `redis-server` of this machine, a
 * Docker engine, Debian packages unpacked into the cache folder (`SAFESYNC_CACHE_DIR`, by default `~/.cache/safesync`). With
 * `SAFESYNC_REDIS_PACKAGE` it is the server of that Debian package, and nothing else is tried.
 *
 * It listens on loopback only, has no password unless `args` ask for one, and is gone with all its data when the scope closes
 * or this process dies.
 *
 * @example
 * import * as RedisServer from "@safesync/testkit/RedisServer"
 *
 * // Its URL holds the password.
 * const WithPassword = RedisServer.layerOwn({ args: ["--requirepass", "open sesame"] })
 * // Its URL begins with rediss://, and a client trusts it with `tls: { ca }`.
 * const WithTls = RedisServer.layerOwn({ tls: true })
 *
 * @since 0.1.0
 * @category layers
 */
export const layerOwn = (options?: {
  /** Arguments for redis-server, such as `["--maxmemory", "10mb"]`. The password of a `--requirepass` is put into the URL. */
  readonly args?: ReadonlyArray<string> | undefined
  /** Writes every command to the append-only file and syncs it at once, so that a kill loses nothing. By default off. */
  readonly appendonly?: boolean | undefined
  /**
   * Speaks TLS and nothing else, with a certificate for 127.0.0.1 and localhost that is made with `openssl` and good for a day.
   * Not in a container. By default off.
   */
  readonly tls?: boolean | undefined
}): Layer.Layer<RedisServer, ServerUnavailable> =>
  Layer.scoped(
    RedisServer,
    own([
      ...(options?.appendonly === true ? ["--appendonly", "yes", "--appendfsync", "always"] : []),
      ...(options?.args ?? [])
    ], options?.tls === true)
  )

/**
 * How many entries of a consumer group are delivered and not acknowledged; 0 when there is no such stream or group.
 *
 * @since 0.1.0
 * @category probes
 */
export const pending = (stream: string, group: string): Effect.Effect<number, never, RedisServer> =>
  Effect.map(
    probe((redis) => Leaks.pendingByConsumer(redis, stream, group)),
    (consumers) => consumers.reduce((sum, [, count]) => sum + count, 0)
  )

/**
 * Fails with `LeakFound` when something was left behind on a consumer group: entries that are delivered and not acknowledged,
 * or consumers of `@safesync/redis-streams` that still wait for new ones of this stream (their connections are named after it:
 * Redis itself does not tell what a client waits for). What is just being acknowledged or closed may take a moment: it is asked
 * again until `within` is over.
 *
 * @since 0.1.0
 * @category probes
 */
export const assertClean = (stream: string, group: string, options?: {
  /** By default one second. */
  readonly within?: Duration.DurationInput | undefined
}): Effect.Effect<void, LeakFound, RedisServer> => {
  const leaks = probe((redis) =>
    Effect.gen(function*() {
      const consumers = yield* Leaks.pendingByConsumer(redis, stream, group)
      const clients = yield* Leaks.blockedClients(redis, `safesync:${stream}:`)
      return [
        ...consumers.map(([name, count]) => `${count} ${count === 1 ? "entry is" : "entries are"} pending for ${name}`),
        ...clients.map((id) => `client ${id} waits for new entries`)
      ]
    })
  )
  return clean(`group ${group} of ${stream}`, leaks, options?.within)
}

// internal

/** A failing probe is a broken test bench, not something that a test handles. */
const probe = <A>(ask: (redis: RedisConnection.Redis) => Effect.Effect<A, RedisConnection.RedisRefused>) =>
  Effect.gen(function*() {
    const { ca, url } = yield* RedisServer
    return yield* ask(yield* RedisConnection.connect(url, Option.getOrUndefined(ca)))
  }).pipe(Effect.scoped, Effect.orDie)

const byUrl = (text: Redacted.Redacted<string>) =>
  Effect.gen(function*() {
    const parsed = yield* ServerUrl.parse(text, ["redis:", "rediss:"], "redis://user:password@127.0.0.1:6379")
    const url = Redacted.make(parsed.href)
    const { version } = yield* Redisd.identify(url, ServerUrl.address(parsed, 6379))
    return { url, version: yield* Redisd.supported(version), origin: "url" as const, control: Option.none() }
  })

const image = "redis:8"

/** `package` or `package/suite`. */
const debian = (wanted: string): Debian.DebianServer => {
  const [name, suite] = wanted.split("/") as [string, ...Array<string>]
  return {
    package: name,
    suite,
    program: `usr/bin/${name}`,
    keep: [`usr/bin/${name.replace(/-server$/, "-check-rdb")}`]
  }
}

const own = (
  args: ReadonlyArray<string>,
  tls: boolean
): Effect.Effect<Context.Tag.Service<RedisServer>, ServerUnavailable, Scope.Scope> =>
  Effect.gen(function*() {
    // Each way that needs it then says why there is none.
    const certificate = tls
      ? yield* Effect.either(Effect.flatMap(ServerFolder.make("redis-tls"), Certificate.make))
      : undefined
    const setup = Effect.map(
      certificate ?? Effect.succeed(undefined),
      // nothing is written to the disk unless the caller asks for it
      (certificate) => ({ args: ["--save", "", ...args], certificate })
    )
    const wanted = Option.getOrUndefined(yield* Effect.orDie(Config.option(Config.nonEmptyString(packageVariable))))
    const found = yield* Find.first("Redis", ownWays(setup, wanted), [{
      way: urlVariable,
      reason: "not set.",
      hint: "Set it to redis://user:password@host:port to use a server of yours."
    }])
    const ca = certificate === undefined ? Option.none() : Option.map(Either.getRight(certificate), ({ pem }) => pem)
    return { ...found, ca }
  })

const ownWays = (
  setup: Effect.Effect<Redisd.Setup, WayFailed>,
  wanted: string | undefined
): ReadonlyArray<Find.Way> => {
  const way = (
    name: string,
    origin: Find.Found["origin"],
    start: (setup: Redisd.Setup) => Effect.Effect<Launched, WayFailed, Scope.Scope>
  ): Find.Way => ({
    name,
    find: Effect.gen(function*() {
      const how = yield* setup
      const { control, port } = yield* start(how)
      const { version } = yield* Redisd.identifyOwn(how, port)
      return { url: Redisd.urlOf(how, port), version, origin, control: Option.some(control) }
    })
  })
  const fromDebian = way(
    wanted === undefined ? "Debian packages" : `Debian package ${wanted}`,
    "debian",
    (setup) =>
      Effect.gen(function*() {
        const { command, usr } = yield* Debian.install(debian(wanted ?? "redis-server"))
        return yield* Redisd.start({ command, usr, version: yield* Binary.version(command) }, setup)
      })
  )
  return wanted !== undefined ? [fromDebian] : [
    way("redis-server on PATH", "path", (setup) =>
      Effect.gen(function*() {
        const program = yield* Binary.onPath("redis-server")
        const version = yield* Effect.flatMap(Binary.version([program]), Redisd.supported)
        return yield* Redisd.start({ command: [program], usr: undefined, version }, setup)
      })),
    way("Docker", "docker", (setup) =>
      Effect.gen(function*() {
        if (setup.certificate !== undefined) {
          return yield* new WayFailed({ reason: "the certificate does not reach a container.", hint: "" })
        }
        yield* ContainerEngine.available(image)
        const folder = yield* ServerFolder.make("redis")
        const args = ["redis-server", ...setup.args]
        const engine = ContainerEngine.make(folder, { image, port: 6379, env: [], args })
        return yield* launch("Redis", engine, (port) => Redisd.identifyOwn(setup, port))
      })),
    fromDebian
  ]
}

interface Launched {
  readonly port: number
  readonly control: ServerControl
}
