/** What is tried again and again fails for as long as Redis is away: that is said once, until it has gone well. */
import * as Effect from "effect/Effect"

/** Of what is made with one `say`, the first failure of each row is said. It does not fail itself. */
export const firstFailure = <E>(say: (error: E) => Effect.Effect<void>) => {
  let failing = false
  return <R>(self: Effect.Effect<unknown, E, R>): Effect.Effect<void, never, R> =>
    Effect.matchEffect(self, {
      onFailure: (error) => {
        if (failing) return Effect.void
        failing = true
        return say(error)
      },
      onSuccess: () => {
        failing = false
        return Effect.void
      }
    })
}
