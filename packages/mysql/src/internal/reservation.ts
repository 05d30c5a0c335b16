/**
 * A connection's way out of the pool and back into it.
 *
 * @internal
 */
import type { MysqlClient } from "@effect/sql-mysql2/MysqlClient"
import { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"
import type { PoolConnection } from "mysql2"
import * as MysqlError from "../MysqlError.js"
import * as MysqlMetrics from "../MysqlMetrics.js"
import * as Canceller from "./canceller.js"
import * as driver from "./driverError.js"
import * as duration from "./duration.js"
import * as Pool from "./pool.js"
import { Session } from "./session.js"

export type Restore = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>

/**
 * Takes a connection of the pool. Whoever is interrupted while waiting leaves at once, and the connection goes back when it comes; so
 * does whoever has waited for `withinMillis`, where that is given.
 */
export const make = (
  client: MysqlClient,
  restore: Restore,
  withinMillis?: number
): Effect.Effect<Session, MysqlError.MysqlError> =>
  Effect.suspend(() => {
    const found = Pool.of(client)
    if (found === undefined) {
      return Effect.dieMessage(
        `SafeSync needs the MysqlClient of @effect/sql-mysql2, and this one (${client.constructor.name}) hides its connections`
      )
    }
    let left = false
    let taken: PoolConnection | undefined
    return Effect.matchCauseEffect(
      restore(Effect.async<PoolConnection, MysqlError.MysqlError>((resume) => {
        const bound = withinMillis === undefined ? undefined : duration.later(() => {
          left = true
          resume(Effect.fail(notAcquired(driver.noneFree(withinMillis))))
        }, withinMillis)
        found.pool.getConnection((cause, raw) => {
          clearTimeout(bound)
          if (cause !== null && cause !== undefined) return resume(Effect.fail(notAcquired(cause)))
          if (left) return raw.release()
          taken = raw
          resume(Effect.succeed(raw))
        })
        return Effect.sync(() => clearTimeout(bound))
      })),
      {
        onFailure: (cause) => {
          left = true
          // An interruption may come between the connection and its receiver.
          taken?.release()
          return Effect.failCause(cause)
        },
        onSuccess: (raw) => Effect.succeed(new Session(raw, Canceller.of(client)))
      }
    )
  })

/** Back to the pool, or away with it. */
export const release = (session: Session): Effect.Effect<void> =>
  Effect.sync(() => {
    const discarded = session.detach()
    if (discarded) MysqlMetrics.connectionsDiscarded.unsafeUpdate(1, [])
    session.raw.release()
  })

// internal

const notAcquired = (cause: unknown): MysqlError.MysqlError =>
  MysqlError.classify(new SqlError({ cause, message: "Failed to acquire connection" }))
