/**
 * One ioredis client as Effects, with what the driver leaves open: nothing is sent twice, nothing is queued while there
 * is no connection, whether a failed command was sent is known, and a server that falls silent is noticed.
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { Redis, RedisOptions } from "ioredis"
import { Cluster, Command } from "ioredis"
import * as Net from "node:net"
import {
  CommandFailed,
  ConnectFailed,
  isOfCommand,
  RedisConnectionLost,
  type RedisError,
  RedisTimeout
} from "../RedisError.js"
import { classify } from "./classify.js"
import * as duration from "./duration.js"
import { watchNode } from "./nodeWatch.js"

/**
 * What a client must be made with:
 *
 * - `autoResendUnfulfilledCommands` would send an XADD again whose reply was lost: two entries from one call.
 * - `enableOfflineQueue` would keep commands for later; refused at once, it is known that they were not sent.
 * - `maxRetriesPerRequest: 0` makes the driver reject what is in flight whenever a connection closes. With re-sending
 *   switched off and any other value, those commands are never answered at all.
 * - `lazyConnect`, so that the first connection can fail with a typed error.
 * - `reconnectOnError` may send a command again that the server has refused.
 * - `commandTimeout`, `socketTimeout` and `blockingTimeout` would give up a read that waits for an entry as it should, and lose what it
 *   brings. A silent server is noticed here.
 * - `stringNumbers`, `monitor` and `readOnly` change what the server answers.
 */
export const required = {
  autoResendUnfulfilledCommands: false,
  enableOfflineQueue: false,
  maxRetriesPerRequest: 0,
  lazyConnect: true,
  enableAutoPipelining: false,
  keyPrefix: "",
  reconnectOnError: null,
  commandTimeout: undefined,
  socketTimeout: undefined,
  blockingTimeout: undefined,
  stringNumbers: false,
  monitor: false,
  readOnly: false
} as const satisfies RedisOptions

/** Of one server, or of a cluster. */
export type Client = Redis | Cluster

export type Callback = (error: RedisError | undefined, reply: unknown) => void

export class Connection {
  private inFlight = 0
  private lastSign = 0
  private allowed = 0
  private watchdog: NodeJS.Timeout | undefined
  private stalled = false
  private left = false

  constructor(readonly client: Client, private readonly timeout: number) {
    client.on("ready", () => {
      this.stalled = false
      this.left = false
    })
    if (client instanceof Cluster) {
      client.on("+node", (node: Redis) =>
        watchNode(node, timeout, (silent) => {
          this.stalled = silent
        }))
    }
  }

  /**
   * Whether this is the connection of a server that has turned out to be a replica: after a failover its address may already lead to
   * another one. It takes no more commands, and is closed when those on their way are answered.
   */
  get isDemoted(): boolean {
    return this.left
  }

  /** The servers that are written to: this one, or the masters of the cluster. */
  get servers(): ReadonlyArray<Redis> {
    return this.client instanceof Cluster ? this.client.nodes("master") : [this.client]
  }

  /**
   * Sends one command. `callback` is called exactly once. `blocking`: milliseconds that the server may take beyond the
   * time that every command has. `bytes`: strings of the reply stay the bytes that they are.
   */
  run(
    name: string,
    args: ReadonlyArray<string>,
    callback: Callback,
    { blocking = 0, bytes = false }: { readonly blocking?: number; readonly bytes?: boolean } = {}
  ): void {
    if (this.client.status !== "ready" || this.left || this.socket?.writable === false) {
      return callback(
        new RedisConnectionLost({ command: name, detail: "there is no connection to Redis", outcome: "not-sent" }),
        undefined
      )
    }
    this.watch(this.timeout + blocking)
    const command = new Command(name, args as Array<string>, bytes ? asBytes : asText, (error, reply) => {
      this.inFlight--
      this.lastSign = performance.now()
      callback(error ? this.classify(name, error) : undefined, reply)
      if (this.left && this.inFlight === 0) {
        this.destroy()
      }
    })
    try {
      this.client.sendCommand(command)
    } catch (cause) {
      // The driver cannot write the command down, such as one that is longer than a string can be: it sends nothing then.
      this.inFlight--
      callback(new CommandFailed({ command: name, detail: String(cause), cause, code: "UNSENT" }), undefined)
    }
  }

  /** Asks one of `servers`. */
  ask(server: Redis, name: string, args: ReadonlyArray<string>): Effect.Effect<unknown, RedisError> {
    return server === this.client ? this.command(name, args) : Effect.async((resume) => {
      server.sendCommand(
        new Command(
          name,
          args as Array<string>,
          asText,
          (error, reply) => resume(error ? Effect.fail(this.classify(name, error)) : Effect.succeed(reply))
        )
      )
    })
  }

  command(name: string, args: ReadonlyArray<string>, bytes = false): Effect.Effect<unknown, RedisError> {
    return Effect.async((resume) =>
      this.run(name, args, (error, reply) => resume(error ? Effect.fail(error) : Effect.succeed(reply)), { bytes })
    )
  }

  /** Sends all in one write, and answers when all are answered. Fails with the first failure. */
  commands(
    commands: ReadonlyArray<readonly [string, ...Array<string>]>,
    bytes = false
  ): Effect.Effect<Array<unknown>, RedisError> {
    return Effect.async((resume) => {
      const replies = new Array<unknown>(commands.length)
      let open = commands.length
      let failed: { readonly at: number; readonly error: RedisError } | undefined
      if (open === 0) {
        return resume(Effect.succeed(replies))
      }
      this.together(() =>
        commands.forEach(([name, ...args], at) =>
          this.run(name, args, (error, reply) => {
            replies[at] = reply
            if (error && (failed === undefined || at < failed.at)) {
              failed = { at, error }
            }
            if (--open === 0) {
              resume(failed === undefined ? Effect.succeed(replies) : Effect.fail(failed.error))
            }
          }, { bytes })
        )
      )
    })
  }

  /** Commands that are sent meanwhile are held back until all is written: they leave in one packet instead of one each. */
  together(send: () => void): void {
    const { socket } = this
    socket?.cork()
    send()
    socket?.uncork()
  }

  /** Gives the connection up at once; what is in flight fails. */
  destroy(): void {
    if (this.client instanceof Cluster) {
      this.client.disconnect(true)
    } else {
      this.socket?.destroy()
    }
  }

  /** A cluster has one per node. */
  private get socket(): Redis["stream"] | undefined {
    return this.client instanceof Cluster ? undefined : this.client.stream
  }

  private classify(name: string, error: Error): RedisError {
    const classified = classify(name, error)
    if (classified._tag === "ReadOnlyReplica" && this.client.status === "ready") {
      // A cluster finds the new master by itself.
      this.left = !(this.client instanceof Cluster)
    }
    return this.stalled && classified._tag === "RedisConnectionLost"
      ? new RedisTimeout({ command: name, detail: "the server did not answer in time" })
      : classified
  }

  /** One timer per connection rather than one per command: it looks for the last sign of life when it goes off. */
  private watch(allowed: number): void {
    const busy = this.inFlight++
    if (this.client instanceof Cluster) {
      // One silent node must not hide behind the others: each has a watchdog of its own.
      return
    }
    if (busy === 0) {
      this.lastSign = performance.now()
      this.allowed = allowed
    } else if (allowed > this.allowed) {
      this.allowed = allowed
    }
    if (this.watchdog === undefined) {
      this.armWatchdog(this.allowed)
    }
  }

  private armWatchdog(millis: number): void {
    const look = () => {
      this.watchdog = undefined
      if (this.inFlight === 0) {
        return
      }
      const left = this.lastSign + this.allowed - performance.now()
      if (left > 0) {
        return this.armWatchdog(Math.ceil(left))
      }
      this.stalled = true
      this.destroy()
    }
    // Timers come before what sockets bring, and this after it: when the process was asleep, the answer is there.
    this.watchdog = duration.later(() => setImmediate(look), millis)
    this.watchdog.unref()
  }
}

/**
 * Opens a client that fails quickly and typed on its first connection, and is closed with the scope.
 *
 * `reconnect`: whether it connects again when that first connection is lost later.
 */
export const open = (settings: {
  readonly make: (options: RedisOptions) => Client
  readonly reconnect: boolean
  readonly connectTimeout: number
  readonly commandTimeout: number
}): Effect.Effect<Connection, RedisError, Scope.Scope> =>
  Effect.suspend(() => {
    let established = false
    let lastError: Error | undefined
    /** Where it was connected to, if a server can say there in plain text why it closes the connection. */
    let peer: { readonly host: string; readonly port: number } | undefined
    const acquire = Effect.try({
      try: () => {
        const client = settings.make({
          ...required,
          connectTimeout: settings.connectTimeout,
          retryStrategy: (times) =>
            established && settings.reconnect ? Math.min(25 * 2 ** Math.min(times, 6), 1000) : null
        })
        client.on("error", (error) => {
          lastError = error
        })
        const meet = (node: Redis) => {
          const { host, path, port, sentinels, tls } = node.options
          peer = tls || path || sentinels || host === undefined || port === undefined ? undefined : { host, port }
        }
        if (client instanceof Cluster) {
          client.on("+node", meet)
        } else {
          client.on("connect", () => meet(client))
          boundHandshake(client, settings.connectTimeout)
          goWithoutInfo(client)
        }
        return new Connection(client, settings.commandTimeout)
      },
      catch: (cause) => connectFailed(cause)
    })
    const connect = (connection: Connection) =>
      Effect.async<void, RedisError>((resume) => {
        connection.client.connect().then(
          // The driver reports a failed SELECT as an event and goes on with another database than the one asked for.
          () => resume(lastError === undefined ? Effect.void : Effect.fail(connectFailed(lastError))),
          (error) => resume(Effect.fail(connectFailed(lastError ?? error)))
        )
      })
    const told = (error: RedisError) =>
      error._tag === "ConnectFailed" && peer !== undefined && !isReply(error.cause)
        ? Effect.flatMap(reasonOf(peer), (reason) => Effect.fail(reason === undefined ? error : connectFailed(reason)))
        : Effect.fail(error)
    return Effect.acquireRelease(acquire, close).pipe(
      Effect.tap((connection) =>
        Effect.timeoutFail(Effect.catchAll(connect(connection), told), {
          duration: settings.connectTimeout,
          onTimeout: () => connectFailed(lastError ?? new Error(`no answer within ${settings.connectTimeout} ms`))
        })
      ),
      Effect.tap(() =>
        Effect.sync(() => {
          established = true
        })
      )
    )
  })

// internal

const asBytes = { replyEncoding: null }
const asText = { replyEncoding: "utf8" } as const

const connectFailed = (error: unknown): RedisError => {
  // Of a cluster, what its last node said tells more than that none could be asked.
  const cause = (error as { readonly lastNodeError?: Error }).lastNodeError ?? error
  const classified = classify("connect", cause)
  return classified._tag === "RedisConnectionLost"
    ? new ConnectFailed({ command: "connect", detail: classified.detail, cause })
    : classified
}

const isReply = (cause: unknown): boolean => cause instanceof Error && cause.name === "ReplyError"

/**
 * Why a server closes a connection without being asked, as one does that has as many clients as it takes (`maxclients`). The driver
 * writes as soon as it is connected, and a write to a closed connection loses what was there to be read; this one only reads.
 */
const reasonOf = (peer: { readonly host: string; readonly port: number }): Effect.Effect<Error | undefined> =>
  Effect.async<Error | undefined>((resume) => {
    let text = ""
    const socket = Net.connect(peer)
      .on("data", (data) => {
        text += data.toString("latin1")
      })
      .on("error", () => {})
      .on("close", () => {
        const [, reply] = /^-([^\r]*)\r\n/.exec(text) ?? []
        resume(
          Effect.succeed(reply === undefined ? undefined : Object.assign(new Error(reply), { name: "ReplyError" }))
        )
      })
    socket.setTimeout(1000, () => socket.destroy())
    return Effect.sync(() => socket.destroy())
  })

/**
 * The driver asks for INFO to know whether the server has loaded its data. A server that does not carry it out, for a reason that is no
 * state of its own, is taken to have: INFO renamed, or not this user's, for which the driver has a warning of its own on the console.
 */
const goWithoutInfo = (client: Redis): void => {
  const driver = client as unknown as {
    info: (callback: (error: Error | null, reply?: unknown) => void) => Promise<unknown>
  }
  const info = driver.info.bind(client)
  driver.info = (callback) =>
    info((error, reply) => error && isOfCommand(classify("INFO", error)) ? callback(null, "") : callback(error, reply))
}

/** The driver bounds the time to connect, but not the time until a server that accepts has also answered. */
const boundHandshake = (client: Redis, millis: number): void => {
  let timer: NodeJS.Timeout | undefined
  client.on("connect", () => {
    clearTimeout(timer)
    timer = duration.later(() => client.stream?.destroy(), millis)
    timer.unref()
  })
  for (const over of ["ready", "close", "end"]) {
    client.on(over, () => clearTimeout(timer))
  }
}

const close = (connection: Connection): Effect.Effect<void> =>
  Effect.sync(() => {
    connection.client.disconnect()
    if (!(connection.client instanceof Cluster)) {
      // `disconnect` waits up to two seconds for the other side to close. Nobody waits for an answer any more.
      connection.destroy()
    }
  })
