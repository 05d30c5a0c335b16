/**
 * A savepoint around an effect.
 *
 * Its statements are not interrupted, and the answers to them are waited for within the transaction's `controlTimeout`. What
 * other fibers still run is waited for before the savepoint is set or released, as long as nobody interrupts; before
 * the transaction goes back to it, it is killed.
 *
 * @internal
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as MysqlError from "../MysqlError.js"
import type { State } from "./lifecycle.js"

export const around = <A, E, R>(
  effect: Effect.Effect<A, E, R>,
  transaction: State
): Effect.Effect<A, any, R> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.suspend(() => {
      const name = `safesync_${++transaction.savepoints}`
      const { controlMillis, session } = transaction
      const mark = (sql: string) => session.mark(sql, controlMillis)
      const quiet = Effect.suspend(() => session.isBusy ? session.quiet() : Effect.void)
      return Effect.zipRight(
        Effect.zipRight(restore(quiet), mark(`SAVEPOINT ${name}`)),
        Effect.flatMap(
          Effect.exit(restore(Effect.zipLeft(MysqlError.refail(effect), quiet))),
          (exit): Effect.Effect<A, unknown> =>
            Exit.isSuccess(exit)
              ? Effect.as(mark(`RELEASE SAVEPOINT ${name}`), exit.value)
              : Effect.zipRight(
                Effect.suspend(() => session.interruptRunning(Cause.isInterrupted(exit.cause))),
                // What could not be undone has doomed the transaction: the body's own cause is what matters here.
                Effect.zipRight(Effect.ignoreLogged(mark(`ROLLBACK TO SAVEPOINT ${name}`)), exit)
              )
        )
      )
    })
  )
