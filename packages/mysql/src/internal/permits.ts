/**
 * So many at a time, and first come, first served.
 *
 * @internal
 */
import * as Effect from "effect/Effect"
import * as duration from "./duration.js"

export interface Ticket {
  /** What is left of so many milliseconds, no more than a timer runs, when its turn has come, or none when it has not within them. To be asked once. */
  readonly wait: (millis: number) => Effect.Effect<number | undefined>
  /** Gives the turn to the next one, or leaves the queue. To be called in the end, whatever came of the wait. */
  readonly leave: () => void
}

export class Permits {
  private readonly queue: Array<() => void> = []
  private taken = 0

  constructor(private readonly atOnce: number) {}

  /** Nobody has a turn and nobody waits for one. */
  get idle(): boolean {
    return this.taken === 0
  }

  ticket(): Ticket {
    let state: "new" | "waiting" | "taken" | "left" = "new"
    let called = () => {}
    const take = () => {
      state = "taken"
      called()
    }
    return {
      wait: (millis) =>
        Effect.async<number | undefined>((resume) => {
          if (this.taken < this.atOnce) {
            this.taken++
            state = "taken"
            return resume(Effect.succeed(millis))
          }
          if (millis <= 0) return resume(Effect.succeed(undefined))
          state = "waiting"
          const began = performance.now()
          const timer = duration.later(() => {
            this.remove(take)
            state = "left"
            resume(Effect.succeed(undefined))
          }, millis)
          called = () => {
            clearTimeout(timer)
            resume(Effect.succeed(Math.max(0, millis - (performance.now() - began))))
          }
          this.queue.push(take)
          return Effect.sync(() => clearTimeout(timer))
        }),
      leave: () => {
        if (state === "waiting") this.remove(take)
        if (state === "taken") {
          const next = this.queue.shift()
          if (next === undefined) this.taken--
          else next()
        }
        state = "left"
      }
    }
  }

  private remove(take: () => void): void {
    this.queue.splice(this.queue.indexOf(take), 1)
  }
}
