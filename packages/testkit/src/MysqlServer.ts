/**
 * A real MySQL server for tests and demos: the one that is given by URL, or one of our own that goes away with its scope.
 *
 * @since 0.1.0
 */
import * as MysqlClient from "@effect/sql-mysql2/MysqlClient"
import type { SqlClient } from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import type { ConfigError } from "effect/ConfigError"
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import * as Binary from "./internal/binary.js"
import { clean } from "./internal/clean.js"
import * as ContainerEngine from "./internal/containerEngine.js"
import * as Debian from "./internal/debianPackages.js"
import { launch } from "./internal/engine.js"
import * as Find from "./internal/findServer.js"
import * as Database from "./internal/mysqlDatabase.js"
import * as Leaks from "./internal/mysqlLeaks.js"
import * as Mysqld from "./internal/mysqlServer.js"
import * as ServerFolder from "./internal/serverFolder.js"
import * as ServerUrl from "./internal/serverUrl.js"
import type { LeakFound } from "./LeakFound.js"
import type { ServerControl } from "./ServerControl.js"
import type { ServerOrigin } from "./ServerOrigin.js"
import type { ServerUnavailable } from "./ServerUnavailable.js"

/**
 * The environment variable that names a server to use: `mysql://user:password@host:port`. The user needs the right to
 * create databases and to read `performance_schema` (for the leak probes).
 *
 * @since 0.1.0
 * @category constants
 */
export const urlVariable = "SAFESYNC_MYSQL_URL"

/**
 * A MySQL server that answered when the layer was built.
 *
 * @since 0.1.0
 * @category tags
 */
export class MysqlServer extends Context.Tag("@safesync/testkit/MysqlServer")<MysqlServer, {
  /** Without a database. */
  readonly url: Redacted.Redacted<string>
  /** What `SELECT VERSION()` says. */
  readonly version: string
  /** How it was found: by URL, a `mysqld` of this machine, Docker, or Debian's packages. */
  readonly origin: ServerOrigin
  /** The hand on the server; none when it was given by URL. */
  readonly control: Option.Option<ServerControl>
}>() {}

/**
 * What a server of our own is started with.
 *
 * @since 0.1.0
 * @category models
 */
export interface OwnOptions {
  /** Arguments for mysqld, such as `--innodb-lock-wait-timeout=5`. */
  readonly args?: ReadonlyArray<string> | undefined
}

/**
 * The server named by `SAFESYNC_MYSQL_URL`; without one, a server of our own (see `layerOwn`), to which the options apply.
 *
 * A URL that is given and cannot be used (malformed, nobody there, login refused, MySQL before 8.0, MariaDB) is a failure: nothing
 * else is tried.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerWith = (options: OwnOptions): Layer.Layer<MysqlServer, ServerUnavailable> =>
  Layer.scoped(
    MysqlServer,
    Effect.flatMap(
      ServerUrl.given(urlVariable),
      Option.match({
        onNone: () => own(options),
        onSome: (url) => Find.first("MySQL", [{ name: urlVariable, find: byUrl(url) }])
      })
    )
  )

/**
 * `layerWith` without options.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<MysqlServer, ServerUnavailable> = layerWith({})

/**
 * A server of its own, which a test may kill, stop and pause. What works first is taken: a `mysqld` of this machine, a Docker
 * engine, Debian packages unpacked into the cache folder (`SAFESYNC_CACHE_DIR`, by default `~/.cache/safesync`).
 *
 * It runs with MySQL's durable defaults, listens on loopback only, lets `root` in without a password, and is gone with all
 * its data when the scope closes or this process dies.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerOwn = (options: OwnOptions = {}): Layer.Layer<MysqlServer, ServerUnavailable> =>
  Layer.scoped(MysqlServer, own(options))

/**
 * Options of a client on a fresh database: those of `MysqlClient`, except for where the server is.
 *
 * @since 0.1.0
 * @category models
 */
export interface DatabaseOptions
  extends Omit<MysqlClient.MysqlClientConfig, "url" | "host" | "port" | "database" | "username" | "password">
{}

/**
 * A client on a fresh, empty database, whose name is `client.config.database`. At the end the client's pool is closed, what is
 * still connected to the database is killed, and the database is dropped. Fails with `SqlError` where the login may not create
 * databases, or the server takes no writes.
 *
 * @since 0.1.0
 * @category layers
 */
export const database = (
  options: DatabaseOptions = {}
): Layer.Layer<MysqlClient.MysqlClient | SqlClient, SqlError | ConfigError, MysqlServer> =>
  Layer.unwrapScoped(Effect.gen(function*() {
    const { url } = yield* MysqlServer
    return MysqlClient.layer(Database.config(url, yield* Database.fresh(url), options))
  }))

/**
 * Fails with `LeakFound` when something was left behind on a database: a transaction that is still open, or a user-level lock
 * (`GET_LOCK`), or when nothing could be seen, since the server runs with `performance_schema=OFF`. Looks only at connections whose
 * current database is this one, so that other tests may run on the same server. A connection that is just being closed may take the
 * server a moment: it is asked again until `within` is over.
 *
 * @since 0.1.0
 * @category probes
 */
export const assertClean = (options?: {
  /** By default the database of the client. */
  readonly database?: string | undefined
  /** Looks at these connections too, whatever their current database is. */
  readonly connectionIds?: ReadonlyArray<number> | undefined
  /** By default one second. */
  readonly within?: Duration.DurationInput | undefined
}): Effect.Effect<void, LeakFound, MysqlServer | MysqlClient.MysqlClient> =>
  Effect.gen(function*() {
    const { url } = yield* MysqlServer
    const { config } = yield* MysqlClient.MysqlClient
    const database = options?.database ?? config.database ?? ""
    const leaks = Leaks.found(url, database, options?.connectionIds ?? [])
    yield* clean(`database ${database}`, leaks, options?.within)
  })

// internal

const byUrl = (text: Redacted.Redacted<string>) =>
  Effect.gen(function*() {
    const parsed = yield* ServerUrl.parse(text, ["mysql:"], "mysql://user:password@127.0.0.1:3306")
    const url = ServerUrl.withoutDatabase(parsed)
    const { version } = yield* Mysqld.identify(url, ServerUrl.address(parsed, 3306))
    return { url, version: yield* Mysqld.supported(version), origin: "url" as const, control: Option.none() }
  })

const image = "mysql:8.4"

const debian: Debian.DebianServer = {
  package: "mysql-server-core",
  program: "usr/sbin/mysqld",
  keep: ["usr/share/mysql"]
}

const own = ({ args = [] }: OwnOptions): Effect.Effect<Find.Found, ServerUnavailable, Scope.Scope> => {
  const started = (origin: Find.Found["origin"]) =>
  (
    { port, control }: { readonly port: number; readonly control: ServerControl }
  ) => {
    const url = Mysqld.urlOf(port)
    return Effect.map(
      Mysqld.identify(url, `127.0.0.1:${port}`),
      ({ version }): Find.Found => ({ url, version, origin, control: Option.some(control) })
    )
  }
  return Find.first("MySQL", [
    {
      name: "mysqld on PATH",
      find: Effect.gen(function*() {
        const program = yield* Binary.onPath("mysqld")
        const version = yield* Effect.flatMap(Binary.version([program]), Mysqld.supported)
        return yield* Mysqld.start({ command: [program], usr: undefined, version }, args)
      }).pipe(Effect.flatMap(started("path")))
    },
    {
      name: "Docker",
      find: Effect.gen(function*() {
        yield* ContainerEngine.available(image)
        const folder = yield* ServerFolder.make("mysql")
        const engine = ContainerEngine.make(folder, {
          image,
          port: 3306,
          env: ["MYSQL_ALLOW_EMPTY_PASSWORD=yes", "MYSQL_ROOT_HOST=%"],
          args: ["--mysqlx=OFF", "--skip-name-resolve", "--max-connections=500", ...args]
        })
        return yield* launch("MySQL", engine, (port) => Mysqld.identify(Mysqld.urlOf(port), `127.0.0.1:${port}`))
      }).pipe(Effect.flatMap(started("docker")))
    },
    {
      name: "Debian packages",
      find: Effect.gen(function*() {
        const { command, usr } = yield* Debian.install(debian)
        return yield* Mysqld.start({ command, usr, version: yield* Binary.version(command) }, args)
      }).pipe(Effect.flatMap(started("debian")))
    }
  ], [{
    way: urlVariable,
    reason: "not set.",
    hint: "Set it to mysql://user:password@host:port to use a server of yours."
  }])
}
