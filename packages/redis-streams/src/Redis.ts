/**
 * The connection to Redis: one that all share, and reserved ones for reads that block.
 *
 * The driver is ioredis, set so that nothing is sent twice and nothing is queued behind the caller's back: without a
 * connection a command fails at once with `RedisConnectionLost` and `outcome: "not-sent"`. The shared connection comes
 * back by itself; what to do with a command that failed is the caller's word.
 *
 * @since 0.1.0
 */
import * as Config from "effect/Config"
import type { ConfigError } from "effect/ConfigError"
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Redacted from "effect/Redacted"
import * as Runtime from "effect/Runtime"
import type * as Scope from "effect/Scope"
import { Redis as Client, type RedisOptions } from "ioredis"
import type { ConnectionOptions } from "node:tls"
import { type Blocking, blocking } from "./internal/blocking.js"
import { type Capabilities, capabilities } from "./internal/capabilities.js"
import * as cluster from "./internal/cluster.js"
import * as connection from "./internal/connection.js"
import { InFlight } from "./internal/inFlight.js"
import { limits } from "./internal/options.js"
import * as outages from "./internal/outage.js"
import type { Script } from "./internal/scripts.js"
import * as serverUrl from "./internal/serverUrl.js"
import { Spares } from "./internal/spares.js"
import { CommandFailed, ConnectFailed, type RedisError } from "./RedisError.js"

/**
 * A command and its arguments.
 *
 * @category models
 * @since 0.1.0
 */
export type Command = readonly [name: string, ...args: Array<string>]

/**
 * What a connection to Redis can do. Replies are those of RESP2, strings as UTF-8.
 *
 * @category models
 * @since 0.1.0
 */
export interface Service {
  /** Sends a command on the shared connection. Interruption stops waiting; what was sent may be carried out. */
  readonly command: (...command: Command) => Effect.Effect<unknown, RedisError>
  /** Sends many commands in one write. Fails with the first failure, after all have been answered. */
  readonly commands: (commands: ReadonlyArray<Command>) => Effect.Effect<ReadonlyArray<unknown>, RedisError>
  /** @internal */
  readonly script: (
    script: Script,
    keys: ReadonlyArray<string>,
    args: ReadonlyArray<string>
  ) => Effect.Effect<unknown, RedisError>
  /** @internal Like `command`, or of several like `commands`, strings of the reply as bytes. */
  readonly read: (
    ...read: Command | readonly [together: ReadonlyArray<Command>]
  ) => Effect.Effect<unknown, RedisError>
  /** @internal A script whose reply holds entries, strings as bytes. */
  readonly take: Service["script"]
  /** @internal A named connection for reads of this key that block, closed with the scope and never reopened. */
  readonly reserve: (key: string, name: string) => Effect.Effect<Blocking, RedisError, Scope.Scope>
  /** @internal The same for one wait after the other. */
  readonly spares: Spares
  /** @internal */
  readonly capabilities: Effect.Effect<Capabilities, RedisError>
  /** @internal Runs in the background for as long as the layer lives. */
  readonly fork: (effect: Effect.Effect<void>) => void
  /** @internal */
  readonly inFlight: InFlight
}

/**
 * The connection to Redis.
 *
 * @category tags
 * @since 0.1.0
 */
export class Redis extends Context.Tag("@safesync/redis-streams/Redis")<Redis, Service>() {}

/**
 * - `url`: `redis://user:password@host:port/db`, or `rediss://…` for TLS. What is not a letter or a digit in a user or password is
 *   percent-encoded. `?family=4` or `6` names the version of IP.
 * - `tls`: for a `rediss://` URL, what Node's `tls.connect` takes: the authority that signed the server's certificate (`ca`),
 *   a certificate of the client's own (`cert`, `key`), the name to expect (`servername`). By default the authorities that Node
 *   trusts, and the URL's host.
 * - `connectTimeout`: for the first connection in all, login and readiness included. Default 5 seconds.
 * - `commandTimeout`: a server that has not answered for so long is given up as stalled (a read that blocks has its
 *   block time in addition). Default 10 seconds.
 * - `ioredis`: more options of the driver, such as `sentinels`, `connectionName`. Those that this package must decide itself are
 *   refused by their names, when the layer is built. A password given here, in place of the URL, is not `Redacted`.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options extends Timeouts {
  readonly url: Redacted.Redacted<string>
  readonly tls?: ConnectionOptions | undefined
  readonly ioredis?:
    | Omit<RedisOptions, keyof typeof connection.required | "retryStrategy" | "connectTimeout" | "tls">
    | undefined
}

/**
 * How long is waited for the server.
 *
 * @category models
 * @since 0.1.0
 */
export interface Timeouts {
  /** For the first connection in all, login and readiness included. Default: 5 seconds. */
  readonly connectTimeout?: Duration.DurationInput | undefined
  /** After so long without an answer the connection is given up. Default: 10 seconds. */
  readonly commandTimeout?: Duration.DurationInput | undefined
}

/**
 * Connects to one Redis server. A wrong address, a refused login or a server that is too old is a typed error, at once:
 * `ConnectFailed`, `LoginRefused`, `ServerTooOld`. Later the shared connection comes back by itself, and commands fail meanwhile.
 *
 * @example
 * import * as Redis from "@safesync/redis-streams/Redis"
 * import * as Redacted from "effect/Redacted"
 *
 * const RedisLive = Redis.layer({ url: Redacted.make("redis://127.0.0.1:6379") })
 *
 * const WithTls = (ca: string) => Redis.layer({ url: Redacted.make("rediss://redis.internal:6380"), tls: { ca } })
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options: Options): Layer.Layer<Redis, RedisError> =>
  layerFrom(
    (required) => {
      const { ioredis, tls, url } = options
      refuseDecided(ioredis, required)
      return new Client({ ...ioredis, ...serverUrl.parse(url, tls).options, ...required })
    },
    options
  )

/**
 * Like `layer`, with options from the configuration.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerConfig = (options: Config.Config.Wrap<Options>): Layer.Layer<Redis, RedisError | ConfigError> =>
  Layer.unwrapEffect(Effect.map(Config.unwrap(options), layer))

/**
 * Connects with clients that the caller makes, for whatever `layer` has no option for. `make` is called for the shared
 * connection and once for each reserved one, and must pass the given options on to ioredis.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerFrom = (
  make: (required: RedisOptions) => Client,
  timeouts: Timeouts = {}
): Layer.Layer<Redis, RedisError> =>
  Layer.scoped(
    Redis,
    Effect.gen(function*() {
      const settings = { ...yield* limits(timeouts), make: checked(make) }
      const shared = yield* connection.open({ ...settings, reconnect: true })
      return yield* service(shared, (_, name) =>
        Effect.flatMap(connection.open({ ...settings, reconnect: false }), (own) =>
          blocking(own, shared, name)))
    })
  )

/**
 * Connects to a Redis Cluster that has these nodes among its own; the login and TLS of the first URL hold for all. A
 * stream lives on one node, and so must its dead-letter stream: see `ConsumerGroup.make`.
 *
 * After a failover, and while a slot is being moved, commands fail with `RedisConnectionLost`, `ClusterDown` or
 * `ReadOnlyReplica`: give the streams a `reconnect` schedule. Replication is asynchronous: a failover may lose what was
 * written last, acks and entries alike.
 *
 * - `tls`: as for `layer`, of every node. Their certificates must be good for the addresses that the nodes announce, or all for
 *   one `servername`.
 * - `natMap`: where the addresses that the nodes announce are reachable from here.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerCluster = (
  nodes: ReadonlyArray<Redacted.Redacted<string>>,
  options: Timeouts & {
    readonly tls?: ConnectionOptions | undefined
    readonly natMap?: Readonly<Record<string, { readonly host: string; readonly port: number }>> | undefined
  } = {}
): Layer.Layer<Redis, RedisError> =>
  Layer.scoped(
    Redis,
    Effect.gen(function*() {
      const settings = yield* limits(options)
      const { natMap } = options
      const shared = yield* connection.open({
        ...settings,
        make: (required) => {
          const { nodes: known, shared } = cluster.parse(nodes, options.tls)
          return cluster.make(known, shared, required, natMap === undefined ? undefined : { ...natMap })
        },
        reconnect: true
      })
      const open = ({ host, port }: cluster.Address) =>
        connection.open({
          ...settings,
          make: (required) =>
            new Client({
              ...cluster.parse(nodes, options.tls).shared,
              ...(natMap?.[`${host}:${port}`] ?? { host, port }),
              ...required
            }),
          reconnect: false
        })
      return yield* service(shared, (key, name) =>
        Effect.gen(function*() {
          const node = yield* cluster.nodeOf(shared, key)
          // Both end with the node; the stream's schedule says when to look for the next one.
          const peer = yield* open(node)
          return yield* blocking(yield* open(node), peer, name)
        }))
    })
  )

/**
 * Sees to it that an outage is one line in the log when it begins, and one when it is over.
 *
 * @internal
 */
export interface Outage {
  readonly failed: (why: Readonly<Record<string, unknown>>, begins?: string) => void
  readonly succeeded: () => void
}

/**
 * An outage for the scope, with the words for its beginning and its end.
 *
 * @internal
 */
export const outage: (begins: string, ends: string) => Effect.Effect<Outage, never, Scope.Scope> = outages.make

// internal

/** An option of the driver that is decided here is refused by its name. It would be overruled without a word otherwise. */
const refuseDecided = (options: RedisOptions | undefined, required: RedisOptions): void => {
  for (const [name, value] of Object.entries(options ?? {})) {
    const decided = name === "tls" || name in required
    if (decided && value !== undefined && value !== required[name as keyof RedisOptions]) {
      const beside = ["tls", "connectTimeout", "commandTimeout"].includes(name)
      throw new Error(`ioredis.${name} is decided by this package${beside ? `: give ${name} beside the URL` : ""}`)
    }
  }
}

const checked = (make: (required: RedisOptions) => Client) => (required: RedisOptions): Client => {
  const client = make(required)
  const ignored = Object.entries(connection.required)
    .find(([name, value]) => client.options[name as keyof RedisOptions] !== value)
  if (ignored !== undefined) {
    client.disconnect()
    throw new Error(`the client was made without the required option ${ignored[0]}: ${ignored[1]}`)
  }
  const { db } = client.options
  if (db !== undefined && !(Number.isSafeInteger(db) && db >= 0)) {
    client.disconnect()
    // The driver would end the process over it, when it is connected.
    throw new Error("the database must be a whole number from 0")
  }
  return client
}

const service = (
  shared: connection.Connection,
  reserve: Service["reserve"]
): Effect.Effect<Service, RedisError, Scope.Scope> =>
  Effect.gen(function*() {
    const able = yield* capabilities(shared)
    yield* Effect.catchTag(able, "RedisConnectionLost", (error) => Effect.fail(new ConnectFailed(error)))
    yield* logReconnects(shared)
    const scope = yield* Effect.scope
    const run = Runtime.runFork(yield* Effect.runtime<never>())
    const fork = (effect: Effect.Effect<void>) => {
      run(effect, { scope })
    }
    const spares = yield* Effect.acquireRelease(Effect.sync(() => new Spares(fork)), (spares) => spares.close)
    return {
      command: (name, ...args) => shared.command(name, args),
      commands: (commands) => shared.commands(commands),
      read: (...read) =>
        isOne(read) ? shared.command(read[0], read.slice(1) as Array<string>, true) : shared.commands(read[0], true),
      script: runScript(shared, false),
      take: runScript(shared, true),
      reserve,
      spares,
      capabilities: able,
      fork,
      inFlight: new InFlight((name, args, callback) => shared.run(name, args, callback))
    }
  })

const isOne = (read: Command | readonly [ReadonlyArray<Command>]): read is Command => typeof read[0] === "string"

const runScript = (shared: connection.Connection, bytes: boolean): Service["script"] => (script, keys, args) => {
  const rest = [String(keys.length), ...keys, ...args]
  return Effect.catchIf(
    shared.command("EVALSHA", [script.sha, ...rest], bytes),
    // Nothing was run, so sending the whole script is no second execution.
    (error) => error instanceof CommandFailed && error.code === "NOSCRIPT",
    () => shared.command("EVAL", [script.lua, ...rest], bytes)
  )
}

const logReconnects = (shared: connection.Connection): Effect.Effect<void, never, Scope.Scope> =>
  Effect.gen(function*() {
    const outage = yield* outages.make(
      "The connection to Redis is lost; connecting again",
      "The connection to Redis is back"
    )
    const onClose = () => {
      if (shared.isDemoted) outage.failed({}, "The server is a replica now; connecting again")
      else outage.failed({})
    }
    const onReady = () => outage.succeeded()
    shared.client.on("close", onClose).on("ready", onReady)
    yield* Effect.addFinalizer(() =>
      Effect.sync(() => {
        shared.client.off("close", onClose).off("ready", onReady)
      })
    )
  })
