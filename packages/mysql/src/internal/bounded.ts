/**
 * A bound for what waits for the server outside of a transaction.
 *
 * @internal
 */
import * as Effect from "effect/Effect"
import * as MysqlError from "../MysqlError.js"
import * as driver from "./driverError.js"

/**
 * How long a statement may take, the wait for a connection included: longer than the server lets it wait for a row by default, so
 * that it is the server who says so.
 */
export const boundMillis = 60_000

/** Interrupts an effect that takes longer, in a finalizer too; then it fails as a connection does that gives no answer. */
export const bounded = <A, E, R>(
  effect: Effect.Effect<A, E, R>,
  sql: string,
  millis: number = boundMillis
): Effect.Effect<A, E | MysqlError.MysqlError, R> =>
  Effect.timeoutFail(Effect.interruptible(effect), {
    duration: millis,
    onTimeout: () => MysqlError.fromDriver(driver.noAnswer(), sql)
  })
