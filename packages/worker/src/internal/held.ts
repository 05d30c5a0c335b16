/**
 * Deliveries that wait in this process, for their turn or for a retry. Their leases are renewed meanwhile, by the same
 * bracket that renews a running handler's: nobody else takes them, and waiting does not count as an attempt.
 *
 * @internal
 */
import * as Delivery from "@safesync/redis-streams/Delivery"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Runtime from "effect/Runtime"
import { longestMillis } from "./duration.js"
import { untilRedisIsBack } from "./retryDelay.js"

interface Then {
  readonly over: Effect.Effect<void>
  /** Somebody else has it by now. */
  readonly lost: Effect.Effect<void>
  /** What becomes of it when the worker stops first. */
  readonly stopped: Effect.Effect<void>
}

interface Entry {
  readonly fiber: Fiber.RuntimeFiber<void>
  readonly stopped: Effect.Effect<void>
}

export class Held {
  private readonly entries = new Map<Delivery.Delivery<unknown>, Entry>()
  private stopping = false

  constructor(private readonly changed: () => void) {}

  get size(): number {
    return this.entries.size
  }

  /** Holds a delivery until a time of `performance.now()`, in the background; one that comes when all has stopped is `stopped`. */
  keep(delivery: Delivery.Delivery<unknown>, until: number, then: Then): Effect.Effect<void> {
    return Effect.flatMap(Effect.runtime<never>(), (runtime) => {
      if (this.stopping) return then.stopped
      this.keepNow(runtime, delivery, until, then)
      return Effect.void
    })
  }

  /** The same at once: nobody comes in between what the caller notes of it and its being held. */
  keepNow(runtime: Runtime.Runtime<never>, delivery: Delivery.Delivery<unknown>, until: number, then: Then): void {
    const wait = Effect.flatMap(holding(delivery, until), (over) =>
      Effect.suspend(() => {
        this.forget(delivery)
        return over ? then.over : then.lost
      }))
    // It begins when it is known here.
    const fiber = Runtime.runFork(runtime, Effect.interruptible(Effect.zipRight(Effect.yieldNow(), wait)))
    this.entries.set(delivery, { fiber, stopped: then.stopped })
    this.changed()
  }

  /** Its turn has come. The delivery may be used again afterwards. */
  letGo(delivery: Delivery.Delivery<unknown>): Effect.Effect<void> {
    return Effect.suspend(() => {
      const entry = this.entries.get(delivery)
      this.forget(delivery)
      return entry === undefined ? Effect.void : Effect.asVoid(Fiber.interrupt(entry.fiber))
    })
  }

  private forget(delivery: Delivery.Delivery<unknown>): void {
    this.entries.delete(delivery)
    this.changed()
  }

  /** In the order in which they were delivered, so that whoever takes them over finds the first one first. */
  readonly stop: Effect.Effect<void> = Effect.suspend(() => {
    this.stopping = true
    const entries = Array.from(this.entries).sort(([a], [b]) => compareIds(a.id, b.id))
    return Effect.zipRight(
      Fiber.interruptAll(entries.map(([, { fiber }]) => fiber)),
      // Whoever has got through in the meantime has seen to its delivery itself.
      Effect.forEach(entries, ([delivery, { stopped }]) => this.entries.delete(delivery) ? stopped : Effect.void, {
        discard: true
      })
    )
  })
}

/** By time, then by sequence; the parts may be longer than what a number holds. */
export const compareIds = (a: string, b: string): number => {
  const [am, as] = a.split("-") as [string, string]
  const [bm, bs] = b.split("-") as [string, string]
  return compareDigits(am, bm) || compareDigits(as, bs)
}

const compareDigits = (a: string, b: string): number => a.length - b.length || (a < b ? -1 : a > b ? 1 : 0)

class Over extends Error {}

/** `true`: the time is over; `false`: the lease is lost. */
const holding = (delivery: Delivery.Delivery<unknown>, until: number): Effect.Effect<boolean> =>
  Effect.suspend(() => {
    const left = Math.min(until - performance.now(), longestMillis)
    if (left <= 0) return Effect.succeed(true)
    return Effect.catchAll(
      Delivery.use(delivery, () => Effect.zipRight(Effect.sleep(left), Effect.fail(new Over()))),
      (error) =>
        error instanceof Over
          ? holding(delivery, until)
          : error._tag === "LeaseLost"
          ? Effect.succeed(false)
          : Effect.zipRight(Effect.sleep(Duration.min(left, untilRedisIsBack)), holding(delivery, until))
    )
  })
