/**
 * What has been read and not begun: who may begin next, and whether more may be read.
 *
 * Without a key every message may begin at once. With one, each key has a lane: its first message is ready, runs or waits
 * for its retry, and the others stand behind it in the order of the stream.
 *
 * state of the lane       | a message arrives      | its first one is settled      | its first one is to be retried
 * ------------------------|------------------------|-------------------------------|-------------------------------
 * none                    | it is ready            |                               |
 * nobody behind the first | stands behind it       | the lane is gone              | held, then ready again
 * others behind the first | at its place by its id | the next one is ready         | held, then ready again
 *
 * @internal
 */
import * as Delivery from "@safesync/redis-streams/Delivery"
import type * as Chunk from "effect/Chunk"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Runtime from "effect/Runtime"
import { Recent } from "./demand.js"
import * as duration from "./duration.js"
import { compareIds, Held } from "./held.js"
import { type Placed, Slots } from "./slots.js"

export interface Turn<out A> extends Placed {
  readonly delivery: Delivery.Delivery<A>
  readonly key: string | undefined
  /** Whether it was held here, with its lease renewed: the stream that it came from does not hand it back any more. */
  readonly kept: boolean
  /** What its handler failed with, and what became of it. */
  failed: { readonly type: string; readonly disposition: string } | undefined
}

export const turn = <A>(delivery: Delivery.Delivery<A>, key: string | undefined, kept: boolean): Turn<A> => ({
  delivery,
  key,
  kept,
  placed: false,
  alone: Delivery.isSuspect(delivery),
  failed: undefined
})

interface Waiting<out A> {
  readonly delivery: Delivery.Delivery<A>
  readonly key: string
  readonly since: number
  /** Not before its lease has to be renewed. */
  kept: boolean
}

export interface Options<in A> {
  readonly concurrency: number
  readonly key: ((value: A, delivery: Delivery.Delivery<A>) => string) | undefined
  readonly maxWaiting: number
}

export class Intake<in out A> {
  readonly held: Held = new Held(() => this.measure())
  readonly slots: Slots<Turn<A>>
  private readonly lanes = new Map<string, Array<Waiting<A>>>()
  private readonly hasRoom = Effect.unsafeMakeLatch(true)
  /** Open while somebody stands behind another message. */
  private readonly standing = Effect.unsafeMakeLatch(false)
  private readonly recent = new Recent()
  private waitingCount = 0
  private sourceEnded = false
  private stopped = false
  /** Those that were held, and whose turn came too late. */
  private late: ReadonlyArray<Turn<A>> = []

  constructor(private readonly options: Options<A>) {
    this.slots = new Slots(options.concurrency, () => {
      this.recent.add(1)
      this.measure()
    })
  }

  /** How many wait for their key, for a retry, or until they are alone. */
  get waiting(): number {
    return this.waitingCount + this.held.size + this.slots.suspects
  }

  /** How many messages the next read should ask for. */
  get demand(): number {
    return this.slots.free + this.recent.count
  }

  /** How many were read and not begun. */
  get unbegun(): number {
    return this.waitingCount + this.held.size + this.slots.unbegun.length
  }

  /** Takes over what was read. Returns when there is room for more. */
  add(deliveries: Chunk.Chunk<Delivery.Delivery<A>>): Effect.Effect<void> {
    return Effect.suspend(() => {
      for (const delivery of deliveries) this.arrive(delivery)
      this.measure()
      return this.hasRoom.await
    })
  }

  /** Waits until more may be read. */
  readonly room: Effect.Effect<void> = this.hasRoom.await

  /** The message is settled, or nobody's business here any more: the next one of its key may begin. */
  done({ key }: Turn<A>): Effect.Effect<void> {
    if (key === undefined) return Effect.void
    return Effect.suspend(() => {
      const lane = this.lanes.get(key)!
      const next = lane[0]
      if (next === undefined) {
        this.lanes.delete(key)
        this.endIfEmpty()
        return Effect.void
      }
      // Nothing begins any more; who is held is handed back with the others.
      if (this.stopped) return Effect.void
      lane.shift()
      if (next.kept) return Effect.zipRight(this.held.letGo(next.delivery), this.ripe(turn(next.delivery, key, true)))
      this.waitingCount--
      this.offer(turn(next.delivery, key, false))
      return Effect.void
    })
  }

  /** The message is to be tried again, here, after so many milliseconds. Its key waits for it. `attempts`: how many it has had by now. */
  retry(self: Turn<A>, millis: number, stopped: Effect.Effect<void>, attempts = 1): Effect.Effect<void> {
    return Effect.zipRight(
      this.held.keep(self.delivery, performance.now() + millis, {
        over: Effect.suspend(() => {
          // It is another attempt of the same delivery; the server counts deliveries only.
          ;(self.delivery as { attempt: number }).attempt += attempts
          return this.ripe(turn(self.delivery, self.key, true))
        }),
        lost: this.done(self),
        stopped
      }),
      Effect.sync(() => this.measure())
    )
  }

  /** The source has ended: so do the takers, once nothing stands behind another message. */
  readonly end = Effect.sync(() => {
    this.sourceEnded = true
    this.endIfEmpty()
  })

  /** Nobody begins any more. */
  readonly stop = Effect.sync(() => {
    this.stopped = true
    this.late = this.slots.stop().filter(({ kept }) => kept)
  })

  /** Hands back what was held here. Those whose turn had come stand before the others of their key. */
  readonly release = Effect.suspend(() =>
    Effect.zipRight(
      Effect.forEach(this.late, ({ delivery }) => handedBack(delivery), { discard: true }),
      this.held.stop
    )
  )

  /** Renews the leases of those that have stood for long. */
  readonly keepLeases: Effect.Effect<never> = Effect.flatMap(Effect.runtime<never>(), (runtime) => {
    const keepDue = Effect.suspend(() => {
      const now = performance.now()
      let next = Infinity
      for (const lane of this.lanes.values()) {
        for (const waiting of lane) {
          const due = Duration.toMillis(Delivery.minIdle(waiting.delivery)) / 6
          next = Math.min(next, due)
          if (!waiting.kept && now - waiting.since >= due) this.keep(runtime, waiting, lane)
        }
      }
      if (next === Infinity) this.standing.unsafeClose()
      return duration.sleep(next === Infinity ? 0 : next)
    })
    return Effect.forever(Effect.zipRight(this.standing.await, keepDue))
  })

  private keep(runtime: Runtime.Runtime<never>, waiting: Waiting<A>, lane: Array<Waiting<A>>): void {
    waiting.kept = true
    this.waitingCount--
    this.held.keepNow(runtime, waiting.delivery, Infinity, {
      over: Effect.void,
      lost: Effect.sync(() => {
        const at = lane.indexOf(waiting)
        if (at >= 0) lane.splice(at, 1)
        this.measure()
      }),
      stopped: handedBack(waiting.delivery)
    })
  }

  private arrive(delivery: Delivery.Delivery<A>): void {
    const key = this.options.key?.(delivery.value, delivery)
    const lane = key === undefined ? undefined : this.lanes.get(key)
    if (key !== undefined && lane !== undefined) {
      let at = lane.length
      while (at > 0 && compareIds(lane[at - 1]!.delivery.id, delivery.id) > 0) at--
      lane.splice(at, 0, { delivery, key, since: performance.now(), kept: false })
      this.waitingCount++
      this.standing.unsafeOpen()
      return
    }
    if (key !== undefined) this.lanes.set(key, [])
    this.offer(turn(delivery, key, false))
  }

  /** The turn of one that was held has come, or it comes too late. */
  private ripe(turn: Turn<A>): Effect.Effect<void> {
    return Effect.suspend(() => {
      if (this.stopped) return handedBack(turn.delivery)
      this.offer(turn)
      return Effect.void
    })
  }

  private offer(turn: Turn<A>): void {
    this.slots.offer(turn)
    this.measure()
  }

  private measure(): void {
    if (this.slots.readyCount < this.options.concurrency && this.waiting < this.options.maxWaiting) {
      this.hasRoom.unsafeOpen()
    } else this.hasRoom.unsafeClose()
  }

  private endIfEmpty(): void {
    if (this.sourceEnded && this.lanes.size === 0) this.slots.end()
  }
}

/** If that cannot be said, it waits for `minIdle`. */
export const handedBack = (delivery: Delivery.Delivery<unknown>): Effect.Effect<void> =>
  Effect.ignore(Delivery.handBack(delivery))
