/**
 * A connection's way out of the pool and back into it.
 *
 * @internal
 */
import type { MysqlClient } from "@effect/sql-mysql2/MysqlClient"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import * as Scope from "effect/Scope"
import * as MysqlError from "../MysqlError.js"
import * as MysqlMetrics from "../MysqlMetrics.js"
import * as Canceller from "./canceller.js"
import * as Session from "./session.js"

export type Restore = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>

export interface Reservation {
  /** Closing it gives the connection back: only through `release`. */
  readonly scope: Scope.CloseableScope
  readonly session: Session.Session
}

/**
 * Takes a connection of the pool. The pool's own acquisition cannot be interrupted, so it runs in a fiber of its own:
 * whoever is interrupted while waiting leaves at once, and the connection goes back when it comes. A root fiber, since the
 * acquisition needs nothing of the caller's context and copying its refs there and back costs more than all the rest.
 */
export const make = (
  client: MysqlClient,
  restore: Restore
): Effect.Effect<Reservation, MysqlError.MysqlError> =>
  Effect.flatMap(
    Scope.make(),
    (scope) =>
      Effect.flatMap(Effect.sync(() => Effect.runFork(Scope.extend(client.reserve, scope))), (fiber) =>
        Effect.matchCauseEffect(restore(settled(fiber)), {
          onFailure: (cause) =>
            Effect.zipRight(
              Cause.isInterrupted(cause)
                ? Effect.forkDaemon(Effect.zipRight(Fiber.await(fiber), Scope.close(scope, Exit.void)))
                : Scope.close(scope, Exit.void),
              Option.match(Cause.failureOption(cause), {
                onNone: () =>
                  Effect.failCause(cause as Cause.Cause<never>),
                onSome: (error) => Effect.fail(MysqlError.classify(error))
              })
            ),
          onSuccess: (connection) =>
            Effect.map(
              Session.make(client, connection, Canceller.of(client)),
              (session) => ({ scope, session })
            )
        }))
  )

/** Back to the pool, or away with it. */
export const release = (session: Session.Session, scope: Scope.CloseableScope): Effect.Effect<void> =>
  Effect.suspend(() => {
    const discarded = session.detach()
    return Effect.zipRight(
      Scope.close(scope, Exit.void),
      discarded ? Metric.increment(MysqlMetrics.connectionsDiscarded) : Effect.void
    )
  })

/** `Fiber.join` would also copy the fiber's refs back. */
const settled = <A, E>(fiber: Fiber.RuntimeFiber<A, E>): Effect.Effect<A, E> =>
  Effect.async((resume) => {
    const observer = (exit: Exit.Exit<A, E>) => resume(exit)
    fiber.addObserver(observer)
    return Effect.sync(() => fiber.removeObserver(observer))
  })
