/**
 * Faults of a whole server: what a test may do to a server that was started for it.
 *
 * @since 0.1.0
 */
import type * as Effect from "effect/Effect"
import type * as Option from "effect/Option"
import type { ServerUnavailable } from "./ServerUnavailable.js"

/**
 * The hand on a server's process. Every operation is idempotent (killing a dead server does nothing), the operations of
 * one server run one after the other, and none of them loses the data folder.
 *
 * @since 0.1.0
 * @category models
 */
export interface ServerControl {
  /** The process on this machine; none while it is down, and always none in a container. */
  readonly pid: Effect.Effect<Option.Option<number>>
  /** SIGKILL; returns when the process is dead. */
  readonly kill: Effect.Effect<void>
  /** SIGTERM; returns when the process has ended by itself, or after 30 seconds and a SIGKILL. */
  readonly stop: Effect.Effect<void>
  /** Starts it again on the same port with the same data; returns when it answers. */
  readonly start: Effect.Effect<void, ServerUnavailable>
  /** SIGSTOP: connections stay open and nothing answers. */
  readonly pause: Effect.Effect<void>
  /** SIGCONT. */
  readonly resume: Effect.Effect<void>
}
