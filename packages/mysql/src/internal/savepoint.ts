/**
 * A savepoint around an effect.
 *
 * Its statements are not interrupted, and the answers to them are waited for within the transaction's `controlTimeout`. What
 * other fibers still run is waited for before the savepoint is set or released, as long as nobody interrupts; before
 * the transaction goes back to it, it is killed.
 *
 * @internal
 */
import { TransactionConnection } from "@effect/sql/SqlClient"
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as MysqlError from "../MysqlError.js"
import type { State } from "./lifecycle.js"
import type { Place } from "./nesting.js"

export const around = <A, E, R>(
  effect: Effect.Effect<A, E, R>,
  transaction: State
): Effect.Effect<A, any, R> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.suspend(() => {
      const { controlMillis, session } = transaction
      const quiet = Effect.suspend(() => session.isBusy ? session.quiet() : Effect.void)
      return Effect.flatMap(
        Effect.zipRight(
          restore(quiet),
          Effect.suspend(() => session.enter(`safesync_${++transaction.savepoints}`, controlMillis))
        ),
        (opened) =>
          Effect.flatMap(
            Effect.exit(restore(Effect.zipLeft(MysqlError.refail(inside(effect, opened.place)), quiet))),
            (exit): Effect.Effect<A, unknown> =>
              Exit.isSuccess(exit)
                ? Effect.as(session.leave(opened, "RELEASE", controlMillis), exit.value)
                : Effect.zipRight(
                  Effect.suspend(() => session.interruptRunning(Cause.isInterrupted(exit.cause))),
                  // A part that could not be undone has doomed the transaction: the body's own cause is what matters here.
                  Effect.zipRight(Effect.ignoreLogged(session.leave(opened, "ROLLBACK TO", controlMillis)), exit)
                )
          )
      )
    })
  )

// internal

const inside = <A, E, R>(effect: Effect.Effect<A, E, R>, place: Place): Effect.Effect<A, E, R> =>
  Effect.mapInputContext(effect, (context: Context.Context<R>) => Context.add(context, TransactionConnection, place))
