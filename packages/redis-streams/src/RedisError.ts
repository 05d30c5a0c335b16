/**
 * What can go wrong with Redis, one tag per failure that a caller acts on.
 *
 * No error carries a value that was sent: a command is named, its arguments are not.
 *
 * @since 0.1.0
 */
import type * as Cause from "effect/Cause"
import * as Schema from "effect/Schema"
import * as described from "./internal/described.js"

const fields = {
  /** The command that failed, without its arguments; `connect` where none was sent yet. */
  command: Schema.String,
  /** What the server, the driver or this package said about it. */
  detail: Schema.String,
  cause: Schema.optionalWith(Schema.Defect, { exact: true })
}

const say = (self: { readonly command: string; readonly detail: string }, hint?: string): string =>
  `${self.command}: ${self.detail}${hint === undefined ? "" : ` (${hint})`}`

/**
 * An option has a value that can never work, such as an empty name or a block time of zero. It is no `RedisError`: trying again
 * does not help.
 *
 * @category errors
 * @since 0.1.0
 */
export class InvalidOptions extends Schema.TaggedError<InvalidOptions>()("InvalidOptions", {
  /** The option's name. */
  option: Schema.String,
  /** What is wrong with it. */
  reason: Schema.String
}) {
  override get message(): string {
    return `${this.option} ${this.reason}`
  }
}

/**
 * No connection could be opened: wrong address, nobody listening, TLS refused, no answer within the time to connect, or the server
 * has as many clients as it takes (`maxclients`).
 *
 * @category errors
 * @since 0.1.0
 */
export class ConnectFailed extends Schema.TaggedError<ConnectFailed>()("ConnectFailed", fields) {
  override get message(): string {
    return say(
      this,
      (this.cause as Error | undefined)?.name === "ReplyError"
        ? "the server has answered, and takes no connection from here now"
        : "is the URL right, redis:// or rediss:// included, is Redis running there, and does it take more clients?"
    )
  }
}

/**
 * The server refused the login: wrong or missing password, unknown user. At the start of a layer or a stream it is a failure at once.
 * A stream that has read before takes it, as `NoPermission`, for an outage that its `reconnect` covers: credentials rotate.
 *
 * @category errors
 * @since 0.1.0
 */
export class LoginRefused extends Schema.TaggedError<LoginRefused>()("LoginRefused", fields) {
  override get message(): string {
    return say(this, "check the user and the password in the URL")
  }
}

/**
 * The server does not know a command that is needed, or an option of it: it is too old, or the command was renamed or taken away
 * (`rename-command`). Redis Streams with consumer groups need Redis 5.0, `sendIdempotent` Redis 8.6.
 *
 * @category errors
 * @since 0.1.0
 */
export class ServerTooOld extends Schema.TaggedError<ServerTooOld>()("ServerTooOld", {
  ...fields,
  /** What is needed, where that is more than consumer groups are. */
  needs: Schema.optional(Schema.String)
}) {
  override get message(): string {
    return say(
      this,
      `${this.needs ?? "Redis 5.0 or newer, or Valkey,"} is needed, with its commands under their own names`
    )
  }
}

/**
 * The connection was lost. `outcome` says what may have happened to the command: `"not-sent"` never reached the
 * server, `"unknown"` may have been carried out although its reply never came. Nothing is sent a second time.
 *
 * @category errors
 * @since 0.1.0
 */
export class RedisConnectionLost extends Schema.TaggedError<RedisConnectionLost>()("RedisConnectionLost", {
  ...fields,
  /** `"not-sent"`: it may be repeated. `"unknown"`: repeating it may do it twice. */
  outcome: Schema.Literal("not-sent", "unknown")
}) {
  override get message(): string {
    return say(this, this.outcome === "unknown" ? "the command may have been carried out" : "the command was not sent")
  }
}

/**
 * The server did not answer within `commandTimeout` (default 10 seconds). Its connection was given up, and the command may have been
 * carried out.
 *
 * @category errors
 * @since 0.1.0
 */
export class RedisTimeout extends Schema.TaggedError<RedisTimeout>()("RedisTimeout", fields) {
  override get message(): string {
    return say(this, "the command may have been carried out")
  }
}

/**
 * The stream or its consumer group does not exist (any more).
 *
 * @category errors
 * @since 0.1.0
 */
export class NoGroup extends Schema.TaggedError<NoGroup>()("NoGroup", fields) {
  override get message(): string {
    return say(this, "create it with ConsumerGroup.create")
  }
}

/**
 * The consumer group exists already.
 *
 * @category errors
 * @since 0.1.0
 */
export class BusyGroup extends Schema.TaggedError<BusyGroup>()("BusyGroup", fields) {
  override get message(): string {
    return say(this)
  }
}

/**
 * The key holds something else than a stream.
 *
 * @category errors
 * @since 0.1.0
 */
export class WrongType extends Schema.TaggedError<WrongType>()("WrongType", fields) {
  override get message(): string {
    return say(this, "the key does not hold a stream")
  }
}

/**
 * The server is above its `maxmemory` and refuses writes. Nothing was written.
 *
 * @category errors
 * @since 0.1.0
 */
export class OutOfMemory extends Schema.TaggedError<OutOfMemory>()("OutOfMemory", fields) {
  override get message(): string {
    return say(this, "trim streams or raise maxmemory")
  }
}

/**
 * The server is a replica: a failover is under way, or the URL points to the wrong server. Nothing was written. Its connection is
 * closed and opened again, since the address may lead to the new master by now.
 *
 * @category errors
 * @since 0.1.0
 */
export class ReadOnlyReplica extends Schema.TaggedError<ReadOnlyReplica>()("ReadOnlyReplica", fields) {
  override get message(): string {
    return say(this)
  }
}

/**
 * The server cannot serve yet or just now: it is loading its data, has lost its master, runs a long script, has too few replicas
 * (`min-replicas-to-write`), or takes no writes since a snapshot failed (`stop-writes-on-bgsave-error`). Nothing was written.
 *
 * @category errors
 * @since 0.1.0
 */
export class Loading extends Schema.TaggedError<Loading>()("Loading", fields) {
  override get message(): string {
    return say(this, "the server is not ready to serve")
  }
}

/**
 * The cluster cannot serve this key now: a slot is not covered, or is being moved.
 *
 * @category errors
 * @since 0.1.0
 */
export class ClusterDown extends Schema.TaggedError<ClusterDown>()("ClusterDown", fields) {
  override get message(): string {
    return say(this)
  }
}

/**
 * The user may not run this command or touch this key (ACL). When it is a failure at once, and when an outage, is said at `LoginRefused`.
 *
 * @category errors
 * @since 0.1.0
 */
export class NoPermission extends Schema.TaggedError<NoPermission>()("NoPermission", fields) {
  override get message(): string {
    return say(this, "grant the command and the key to this user (ACL SETUSER)")
  }
}

/**
 * The server refused the command for a reason that has no tag of its own. `code` is the first word of its answer, or `UNSENT` where
 * the driver could not write the command down, such as one of more than 512 MB: nothing was sent then.
 *
 * @category errors
 * @since 0.1.0
 */
export class CommandFailed extends Schema.TaggedError<CommandFailed>()("CommandFailed", {
  ...fields,
  code: Schema.String
}) {
  override get message(): string {
    return say(this, this.code === "CROSSSLOT" ? "give the keys a common {hash tag}" : undefined)
  }
}

/**
 * An entry cannot be decoded with the group's schema. It is still pending. Only with `malformed: "fail"`.
 *
 * @category errors
 * @since 0.1.0
 */
export class MalformedEntry extends Schema.TaggedError<MalformedEntry>()("MalformedEntry", {
  ...fields,
  stream: Schema.String,
  id: Schema.String
}) {
  override get message(): string {
    return say(this, `entry ${this.id} of ${this.stream}`)
  }
}

/**
 * The delivery is no longer this consumer's: it was idle for longer than the group's `minIdle` and somebody else took
 * it, or it was acked or deleted behind our back. Its handler was not begun, or was interrupted.
 *
 * @category errors
 * @since 0.1.0
 */
export class LeaseLost extends Schema.TaggedError<LeaseLost>()("LeaseLost", {
  ...fields,
  stream: Schema.String,
  id: Schema.String
}) {
  override get message(): string {
    return say(this, `entry ${this.id} of ${this.stream}`)
  }
}

/**
 * Everything that an operation of this package can fail with, apart from `InvalidOptions` where an option can never work and
 * `ParseError` where a value does not fit its schema.
 *
 * @category models
 * @since 0.1.0
 */
export type RedisError =
  | ConnectFailed
  | LoginRefused
  | ServerTooOld
  | RedisConnectionLost
  | RedisTimeout
  | NoGroup
  | BusyGroup
  | WrongType
  | OutOfMemory
  | ReadOnlyReplica
  | Loading
  | ClusterDown
  | NoPermission
  | CommandFailed
  | MalformedEntry
  | LeaseLost

/**
 * Whether the failure is about the connection or the server's state rather than about what was asked: the same
 * command may succeed later. Whether it may be *repeated* is another question, see `RedisConnectionLost.outcome`. True for
 * `ConnectFailed`, `RedisConnectionLost`, `RedisTimeout`, `ReadOnlyReplica`, `Loading`, `ClusterDown` and `OutOfMemory`, by their
 * tag, and for nothing else: it may be asked of whatever an effect fails with.
 *
 * @category classification
 * @since 0.1.0
 */
export const isTransient = (error: unknown): boolean => transient.has(described.property(error, "_tag"))

/**
 * Whether the failure is that of no command in particular: it is transient, or the server refuses the login or a right, which
 * it did not before. Credentials rotate, so what has worked once waits for them as for a server that is away.
 *
 * @internal
 */
export const isOutage = (error: unknown): boolean => isTransient(error) || isRefusal(error)

/**
 * Whether the server refuses the login or a right.
 *
 * @internal
 */
export const isRefusal = (error: unknown): boolean => refusals.has(described.property(error, "_tag"))

/**
 * Whether the server has answered and it is this one command that it does not carry out, for whatever reason: no right, another name,
 * a proxy that does not pass it on. What the command would only make better goes without.
 *
 * @internal
 */
export const isOfCommand = (error: RedisError): boolean => !isTransient(error) && error._tag !== "LoginRefused"

const refusals: ReadonlySet<unknown> = new Set<RedisError["_tag"]>(["LoginRefused", "NoPermission"])

/**
 * The cause as a logger can be given it: itself, or its description where a logger could not print it.
 *
 * @internal
 */
export const loggable = <E>(cause: Cause.Cause<E>): Cause.Cause<E | string> => described.loggable(cause)

const transient: ReadonlySet<unknown> = new Set<RedisError["_tag"]>([
  ...["ConnectFailed", "RedisConnectionLost", "RedisTimeout", "ReadOnlyReplica"] as const,
  ...["Loading", "ClusterDown", "OutOfMemory"] as const
])
