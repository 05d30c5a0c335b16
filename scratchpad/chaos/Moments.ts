/**
 * Moments at which something is broken: some turns of the event loop, or some milliseconds.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import type { Seeded } from "./Seeded.js"

/**
 * @since 0.1.0
 * @category models
 */
export type Moment =
  | { readonly _tag: "Turns"; readonly count: number }
  | { readonly _tag: "Millis"; readonly millis: number }

/**
 * Half of them are turns of the event loop, up to 30: between two round trips of one transaction there are few. The others spread
 * over `millis`, the early ones more often.
 *
 * @since 0.1.0
 * @category constructors
 */
export const draw = (random: Seeded, millis: number): Moment =>
  random.chance(0.5)
    ? { _tag: "Turns", count: random.between(0, 30) }
    : { _tag: "Millis", millis: millis * random.number() ** 2 }

/**
 * @since 0.1.0
 * @category combinators
 */
export const pass = (moment: Moment): Effect.Effect<void> =>
  moment._tag === "Millis" ? Effect.sleep(moment.millis) : Effect.async((resume) => {
    let left = moment.count
    const turn = (): void => {
      if (left-- <= 0) resume(Effect.void)
      else setImmediate(turn)
    }
    turn()
  })

/**
 * One turn of the event loop.
 *
 * @since 0.1.0
 * @category combinators
 */
export const turn: Effect.Effect<void> = Effect.async((resume) => {
  setImmediate(() => resume(Effect.void))
})
