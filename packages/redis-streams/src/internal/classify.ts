/** The one table that says what an error of the server or the driver means. */
import {
  BusyGroup,
  ClusterDown,
  CommandFailed,
  ConnectFailed,
  Loading,
  LoginRefused,
  NoGroup,
  NoPermission,
  OutOfMemory,
  ReadOnlyReplica,
  RedisConnectionLost,
  type RedisError,
  ServerTooOld,
  WrongType
} from "../RedisError.js"
import { bounded } from "./described.js"

type Make = new(props: { readonly command: string; readonly detail: string; readonly cause: unknown }) => RedisError

/** The one table: the first word of the server's error reply, and what it means. */
const table: Readonly<Record<string, Make>> = {
  NOGROUP: NoGroup,
  BUSYGROUP: BusyGroup,
  WRONGTYPE: WrongType,
  OOM: OutOfMemory,
  READONLY: ReadOnlyReplica,
  LOADING: Loading,
  MASTERDOWN: Loading,
  BUSY: Loading,
  // Writes are refused: too few replicas (min-replicas-to-write), or a snapshot that could not be written.
  NOREPLICAS: Loading,
  MISCONF: Loading,
  CLUSTERDOWN: ClusterDown,
  TRYAGAIN: ClusterDown,
  MOVED: ClusterDown,
  ASK: ClusterDown,
  NOPERM: NoPermission,
  NOAUTH: LoginRefused,
  WRONGPASS: LoginRefused,
  // Protected mode: the server takes connections of its own host alone.
  DENIED: ConnectFailed
}

/** Replies that say only `ERR`, or whose first word does not tell enough: what their text means. */
const texts: ReadonlyArray<readonly [RegExp, Make]> = [
  [/^ERR unknown (sub)?command/i, ServerTooOld],
  // At `maxclients` the server answers a new connection so, whatever it was asked, and closes it.
  [/^ERR max number of clients/i, ConnectFailed],
  // A blocked read ends when its stream is deleted or replaced, and when the server becomes a replica. When an operator ends it by
  // CLIENT UNBLOCK … ERROR, it has no tag.
  [/^UNBLOCKED .*stream key/i, NoGroup],
  [/^UNBLOCKED .*(master|replica|instance state)/i, ReadOnlyReplica],
  [/^ERR invalid password/i, LoginRefused],
  [/^ERR (The )?XGROUP subcommand requires the key to exist/i, NoGroup],
  [/^ERR no such key/i, NoGroup],
  // Permission that is missing inside a script: since 7.0, and before.
  [/^ERR ACL failure in script/i, NoPermission],
  [/^(ERR )?The user executing the script can't /, NoPermission]
]

/**
 * The tag of an error reply of the server, `RedisConnectionLost` for what the driver says when a connection breaks
 * (with an outcome that is unknown: what was never sent is known before the driver is asked).
 */
export const classify = (command: string, error: unknown): RedisError => {
  const cause = withoutArguments(error)
  const detail = bounded(cause instanceof Error ? cause.message : String(cause))
  if (!(cause instanceof Error) || cause.name !== "ReplyError") {
    return new RedisConnectionLost({ command, detail, cause, outcome: "unknown" })
  }
  const reply = ofScript(detail)
  const code = /^[A-Z]{2,}/.exec(reply)?.[0] ?? "ERR"
  const Known = texts.find(([text]) => text.test(reply))?.[1] ?? table[code]
  return Known === undefined
    ? new CommandFailed({ command, detail: reply, cause, code })
    : new Known({ command, detail: reply, cause })
}

// internal

/**
 * What the command said that failed inside a script. Before 7.0 that is reported as the script's: "ERR Error running script (…):
 * @user_script:3: WRONGTYPE …"; since then "WRONGTYPE … script: <SHA-1>, on @user_script:3."
 */
const ofScript = (detail: string): string =>
  (/^ERR Error running script.*@user_script: ?\d+: -?(.+)$/s.exec(detail)?.[1] ?? detail)
    .replace(/ script: [0-9a-f]{40}, on @user_script:\d+\.$/, "")

/**
 * The driver hangs the arguments of the command, payloads among them, on the error; the server repeats those of a command
 * that it does not know. They must not get into a log.
 */
const withoutArguments = (error: unknown): unknown => {
  if (!(error instanceof Error)) {
    return error
  }
  const repeated = error.message.indexOf(", with args beginning with")
  if (repeated >= 0) {
    const clean = new Error(error.message.slice(0, repeated))
    clean.name = error.name
    return clean
  }
  delete (error as { command?: unknown }).command
  return error
}
