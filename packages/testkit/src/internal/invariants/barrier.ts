import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as FiberId from "effect/FiberId"

/** Where a number of parties wait for one another, again and again. */
export interface Barrier {
  /** Returns when everybody who has not left is here. */
  readonly arrive: Effect.Effect<void>
  /** The others no longer wait for the caller. */
  readonly leave: Effect.Effect<void>
}

export const make = (parties: number): Barrier => {
  let expected = parties
  let arrived = 0
  let gate = Deferred.unsafeMake<void>(FiberId.none)
  const openIfComplete = () => {
    if (arrived < expected) return
    arrived = 0
    Deferred.unsafeDone(gate, Exit.void)
    gate = Deferred.unsafeMake<void>(FiberId.none)
  }
  return {
    arrive: Effect.suspend(() => {
      arrived++
      const mine = gate
      openIfComplete()
      return Deferred.await(mine)
    }),
    leave: Effect.sync(() => {
      expected--
      openIfComplete()
    })
  }
}
