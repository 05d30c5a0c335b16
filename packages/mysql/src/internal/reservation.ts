/**
 * A connection's way out of the pool and back into it.
 *
 * @internal
 */
import type { MysqlClient } from "@effect/sql-mysql2/MysqlClient"
import type { Connection } from "@effect/sql/SqlConnection"
import { SqlError } from "@effect/sql/SqlError"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Scope from "effect/Scope"
import type { PoolConnection } from "mysql2"
import * as MysqlError from "../MysqlError.js"
import * as MysqlMetrics from "../MysqlMetrics.js"
import * as Canceller from "./canceller.js"
import { Session } from "./session.js"

export type Restore = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>

export interface Reservation {
  /** In which the client has reserved the connection, unless it came from the client's pool directly. Closed by `release` alone. */
  readonly scope: Scope.CloseableScope | undefined
  readonly session: Session
}

/** Takes a connection of the pool. Whoever is interrupted while waiting leaves at once, and the connection goes back when it comes. */
export const make = (
  client: MysqlClient,
  restore: Restore
): Effect.Effect<Reservation, MysqlError.MysqlError> =>
  Effect.suspend(() => {
    const pool = pools.get(client)
    return pool === undefined ? fromClient(client, restore) : fromPool(client, pool, restore)
  })

/** Back to the pool, or away with it. */
export const release = ({ scope, session }: Reservation): Effect.Effect<void> =>
  Effect.suspend(() => {
    const discarded = session.detach()
    if (discarded) MysqlMetrics.connectionsDiscarded.unsafeUpdate(1, [])
    if (scope !== undefined) return Scope.close(scope, Exit.void)
    session.raw.release()
    return Effect.void
  })

// internal

/** Public in mysql2, but for the way to it. */
interface Pool {
  readonly getConnection: (
    done: (error: NodeJS.ErrnoException | null, connection: PoolConnection) => void
  ) => void
}

/** Known once the client has reserved a connection. */
const pools = new WeakMap<MysqlClient, Pool>()

const fromPool = (
  client: MysqlClient,
  pool: Pool,
  restore: Restore
): Effect.Effect<Reservation, MysqlError.MysqlError> => {
  let left = false
  let taken: PoolConnection | undefined
  return Effect.matchCauseEffect(
    restore(Effect.async<PoolConnection, MysqlError.MysqlError>((resume) =>
      pool.getConnection((cause, raw) => {
        if (cause !== null && cause !== undefined) return resume(Effect.fail(notAcquired(cause)))
        if (left) return raw.release()
        taken = raw
        resume(Effect.succeed(raw))
      })
    )),
    {
      onFailure: (cause) => {
        left = true
        // An interruption may come between the connection and its receiver.
        taken?.release()
        return Effect.failCause(cause)
      },
      onSuccess: (raw) => Effect.succeed({ scope: undefined, session: new Session(raw, Canceller.of(client)) })
    }
  )
}

const notAcquired = (cause: unknown): MysqlError.MysqlError =>
  MysqlError.classify(new SqlError({ cause, message: "Failed to acquire connection" }))

/**
 * By the client's own way, which cannot be interrupted and therefore runs in a fiber of its own. A root fiber, since the
 * acquisition needs nothing of the caller's context and copying its refs there and back costs more than all the rest.
 */
const fromClient = (
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
          onSuccess: (connection) => Effect.map(received(client, connection), (session) => ({ scope, session }))
        }))
  )

/** The mysql2 connection below a `Connection` of @effect/sql-mysql2, whose class keeps it in `conn`. */
const received = (client: MysqlClient, connection: Connection): Effect.Effect<Session> => {
  const raw = (connection as { readonly conn?: PoolConnection & { readonly _pool?: Pool | null } }).conn
  if (raw === undefined || typeof raw.destroy !== "function" || typeof raw.threadId !== "number") {
    return Effect.dieMessage(
      `SafeSync needs the MysqlClient of @effect/sql-mysql2, and this one (${client.constructor.name}) hides its connection`
    )
  }
  const pool = raw._pool
  if (typeof pool?.getConnection === "function" && typeof raw.release === "function") pools.set(client, pool)
  return Effect.succeed(new Session(raw, Canceller.of(client)))
}

/** `Fiber.join` would also copy the fiber's refs back. */
const settled = <A, E>(fiber: Fiber.RuntimeFiber<A, E>): Effect.Effect<A, E> =>
  Effect.async((resume) => {
    const observer = (exit: Exit.Exit<A, E>) => resume(exit)
    fiber.addObserver(observer)
    return Effect.sync(() => fiber.removeObserver(observer))
  })
