/**
 * What a worker is doing just now, for probes of liveness and readiness.
 *
 * @since 0.1.0
 */
import type * as Cause from "effect/Cause"
import * as DateTime from "effect/DateTime"
import type * as Duration from "effect/Duration"
import * as Option from "effect/Option"

/**
 * How it stands with a server: by what the worker's own work has come to, and by a question every five seconds, or every second while it does
 * not answer.
 *
 * @since 0.1.0
 * @category models
 */
export interface Server {
  /** Whether it serves: it answers within two seconds and, if it is MySQL, takes writes. */
  readonly connected: boolean
  /** Since when that is so: since the worker's start, if nothing has changed. */
  readonly since: DateTime.Utc
  /** Its last failure; none if it never has failed. */
  readonly lastError: Option.Option<{ readonly at: DateTime.Utc; readonly error: string }>
}

/**
 * What a worker is doing, for probes and operators.
 *
 * @since 0.1.0
 * @category models
 */
export interface Status {
  /** `draining`: nothing is begun any more, what runs may end. Whether the servers are there say `mysql` and `redis`. */
  readonly state: "running" | "draining" | "stopped"
  /** Messages whose handlers run, or that are being settled. */
  readonly inFlight: number
  /** Messages that were read and wait here for others of their key, or for a retry. */
  readonly waiting: number
  /** When a message was last acked; none if there has been none. */
  readonly lastSuccess: Option.Option<DateTime.Utc>
  /** When a handler or its transaction last failed, and with what; none if it never has. */
  readonly lastFailure: Option.Option<{ readonly at: DateTime.Utc; readonly cause: Cause.Cause<unknown> }>
  /**
   * How long the oldest message in flight has been in its stream, by the clocks of Redis and of this process; none while nothing is.
   * How many are behind it `ConsumerGroup.info` tells.
   */
  readonly lag: Option.Option<Duration.Duration>
  readonly mysql: Server
  readonly redis: Server
}

/**
 * The state of this process's relay: `OutboxRelay.status`.
 *
 * @since 0.1.0
 * @category models
 */
export interface RelayStatus {
  /**
   * - `relaying`: it has a partition of the outbox.
   * - `waiting`: other processes have all partitions.
   * - `failed`: it has ended with a failure, and was not run again yet.
   * - `stopped`: it does not run.
   */
  readonly state: "relaying" | "waiting" | "failed" | "stopped"
  /** How many partitions it has. */
  readonly partitions: number
  /** Messages that cannot be sent, and hold up their key. */
  readonly held: number
  /** When it has last gone through the outbox; none if it never has. */
  readonly lastSuccess: Option.Option<DateTime.Utc>
  /** Since when it cannot publish, and why; none while it can. */
  readonly outage: Option.Option<{ readonly since: DateTime.Utc; readonly error: string }>
}

/**
 * The answer to a platform's probes.
 *
 * @since 0.1.0
 * @category models
 */
export interface Health {
  /** Whether the process is to be left alone. No outage makes it `false`: a process that is started anew does not mend a server. */
  readonly live: boolean
  /** Whether it does its work. */
  readonly ready: boolean
  /** Why it is not ready, a sentence for each; empty where it is. They hold no value of a message. */
  readonly reasons: ReadonlyArray<string>
}

/**
 * The answer for one process: of all its workers, and of its relay if it has one.
 *
 * @example
 * import type * as Worker from "@safesync/worker/Worker"
 * import * as OutboxRelay from "@safesync/worker/OutboxRelay"
 * import * as WorkerStatus from "@safesync/worker/WorkerStatus"
 * import * as Effect from "effect/Effect"
 *
 * const health = (worker: Worker.Worker<unknown>) =>
 *   Effect.zipWith(worker.status, OutboxRelay.status(), (worker, relay) => WorkerStatus.health(worker, relay))
 *
 * @since 0.1.0
 * @category probes
 */
export const health = (...parts: ReadonlyArray<Status | RelayStatus>): Health => {
  const reasons = parts.flatMap((part) => "mysql" in part ? ofWorker(part) : ofRelay(part))
  return {
    live: parts.every((part) => !("mysql" in part) || part.state !== "stopped"),
    ready: reasons.length === 0,
    reasons: [...new Set(reasons)]
  }
}

// internal

const ofWorker = ({ mysql, redis, state }: Status): ReadonlyArray<string> => [
  ...(state === "draining" ? ["The worker drains"] : state === "stopped" ? ["The worker has stopped"] : []),
  ...ofServer("MySQL", mysql),
  ...ofServer("Redis", redis)
]

const ofServer = (name: string, { connected, lastError, since }: Server): ReadonlyArray<string> =>
  connected ? [] : [
    `${name} does not serve since ${DateTime.formatIso(since)}${
      Option.match(lastError, { onNone: () => "", onSome: ({ error }) => `: ${error}` })
    }`
  ]

const ofRelay = ({ outage, state }: RelayStatus): ReadonlyArray<string> =>
  Option.isSome(outage)
    ? [`The relay cannot publish since ${DateTime.formatIso(outage.value.since)}: ${outage.value.error}`]
    : state === "stopped" || state === "failed"
    ? ["The relay does not run"]
    : []
