/**
 * What a worker is doing just now, for probes of liveness and readiness.
 *
 * @since 0.1.0
 */
import type * as Cause from "effect/Cause"
import type * as DateTime from "effect/DateTime"
import type * as Duration from "effect/Duration"
import type * as Option from "effect/Option"

/**
 * What a worker is doing, for probes and operators.
 *
 * @since 0.1.0
 * @category models
 */
export interface Status {
  /** `draining`: nothing is begun any more, what runs may end. A worker whose source waits for Redis is `running`. */
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
}
