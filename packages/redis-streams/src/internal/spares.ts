/**
 * Connections for reads that block, between one `StreamConsumer.next` and the next. One that has waited to its end is kept for a
 * third of a second: whoever asks in a loop opens one and not one for each wait, and whoever does something else meanwhile can open another.
 *
 * the wait                        | the connection
 * --------------------------------|-----------------------------------------------------------------
 * ends, none is kept for its name | is kept, until the next wait of that name, the time or the layer
 * ends, one is kept already       | is closed
 * fails or is interrupted         | is closed
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import type { RedisError } from "../RedisError.js"
import type { Blocking } from "./blocking.js"
import * as duration from "./duration.js"

export class Spares {
  private readonly kept = new Map<string, Spare>()
  private closed = false

  /** `fork` runs in the background. */
  constructor(private readonly fork: (effect: Effect.Effect<void>) => void) {}

  use<A>(
    name: string,
    open: Effect.Effect<Blocking, RedisError, Scope.Scope>,
    wait: (blocking: Blocking) => Effect.Effect<A, RedisError>
  ): Effect.Effect<A, RedisError> {
    return Effect.uninterruptibleMask((restore) =>
      Effect.flatMap(
        Effect.suspend(() => this.take(name) ?? opened((scope) => restore(Scope.extend(open, scope)))),
        (spare) =>
          Effect.onExit(
            restore(wait(spare.blocking)),
            (exit) => Exit.isSuccess(exit) ? this.keep(name, spare) : spare.close
          )
      )
    )
  }

  /** Nothing is kept any more. */
  readonly close: Effect.Effect<void> = Effect.suspend(() => {
    this.closed = true
    return Effect.forEach([...this.kept.values()], (spare) => spare.close, { discard: true })
  })

  /** One whose server has gone meanwhile is none. */
  private take(name: string): Effect.Effect<Spare> | undefined {
    const spare = this.kept.get(name)
    this.kept.delete(name)
    if (spare === undefined || !spare.blocking.isOpen()) return undefined
    clearTimeout(spare.timer)
    return Effect.succeed(spare)
  }

  private keep(name: string, spare: Spare): Effect.Effect<void> {
    return Effect.suspend(() => {
      if (this.closed || this.kept.has(name)) return spare.close
      this.kept.set(name, spare)
      spare.timer = duration.later(() => {
        if (this.kept.get(name) === spare) this.kept.delete(name)
        this.fork(spare.close)
      }, keptMillis)
      spare.timer.unref()
      return Effect.void
    })
  }
}

// internal

interface Spare {
  readonly blocking: Blocking
  readonly close: Effect.Effect<void>
  timer?: NodeJS.Timeout
}

const keptMillis = 333

/** With a scope of its own, which may outlive that of the call. */
const opened = (
  open: (scope: Scope.Scope) => Effect.Effect<Blocking, RedisError>
): Effect.Effect<Spare, RedisError> =>
  Effect.flatMap(Scope.make(), (scope) =>
    open(scope).pipe(
      Effect.map((blocking): Spare => ({ blocking, close: Scope.close(scope, Exit.void) })),
      Effect.onError((cause) => Scope.close(scope, Exit.failCause(cause)))
    ))
