import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { LeakFound } from "../LeakFound.js"

/** Asks for leaks until there are none, or the time is over; what is just going has some time to be gone. */
export const clean = <R>(
  where: string,
  leaks: Effect.Effect<ReadonlyArray<string>, never, R>,
  within: Duration.DurationInput = "1 second"
): Effect.Effect<void, LeakFound, R> => {
  const look = Effect.flatMap(
    leaks,
    (leaks) => leaks.length === 0 ? Effect.void : Effect.fail(new LeakFound({ where, leaks }))
  )
  const again: Effect.Effect<void, LeakFound, R> = Effect.catchAll(look, () => Effect.delay(again, "20 millis"))
  return Effect.flatMap(
    Effect.timeoutOption(again, within),
    Option.match({ onSome: () => Effect.void, onNone: () => look })
  )
}
