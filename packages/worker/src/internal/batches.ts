/**
 * What has been read, cut into batches: when one is full, or when its first message has waited for long enough.
 *
 * @internal
 */
import type { Delivery } from "@safesync/redis-streams/Delivery"
import type * as Chunk from "effect/Chunk"
import * as Effect from "effect/Effect"
import { Recent } from "./demand.js"
import * as duration from "./duration.js"
import * as intake from "./intake.js"
import { type Placed, Slots } from "./slots.js"

export interface Batch<out A> extends Placed {
  readonly turns: ReadonlyArray<intake.Turn<A>>
}

export interface Options {
  readonly concurrency: number
  readonly size: number
  /** Milliseconds. */
  readonly within: number
  readonly maxWaiting: number
}

export class Batches<in out A> {
  readonly slots: Slots<Batch<A>>
  private readonly recent = new Recent()
  private turns: Array<intake.Turn<A>> = []
  private timer: ReturnType<typeof setTimeout> | undefined
  private readonly room = Effect.unsafeMakeLatch(true)

  constructor(private readonly options: Options) {
    this.slots = new Slots(options.concurrency, ({ turns }) => {
      this.recent.add(turns.length)
      this.measure()
    })
  }

  /** How many messages the next read should ask for: at least what the batch lacks that is being filled. */
  get demand(): number {
    const { size } = this.options
    return Math.max(1, this.slots.free) * size - this.turns.length + this.recent.count
  }

  /** How many messages were read and not begun. */
  get unbegun(): number {
    return this.slots.unbegun.reduce((sum, { turns }) => sum + turns.length, this.turns.length)
  }

  /** Takes over what was read. Returns when there is room for more: as many batches may be ready as may run. */
  add(deliveries: Chunk.Chunk<Delivery<A>>): Effect.Effect<void> {
    return Effect.suspend(() => {
      for (const delivery of deliveries) {
        const turn = intake.turn(delivery, undefined, false)
        // In its place in the order, and in nobody's company.
        if (turn.alone) this.cut()
        if (this.turns.push(turn) === this.options.size || turn.alone) this.cut()
      }
      if (this.turns.length > 0 && this.timer === undefined) {
        this.timer = duration.later(() => this.cut(), this.options.within)
      }
      return this.room.await
    })
  }

  /** The source has ended: so do the takers, once all is taken. */
  readonly end: Effect.Effect<void> = Effect.sync(() => {
    this.cut()
    this.slots.end()
  })

  /** Nothing begins any more: the stream hands back what it gave. */
  readonly stop: Effect.Effect<void> = Effect.sync(() => {
    this.turns = []
    this.cut()
    this.slots.stop()
  })

  private cut(): void {
    clearTimeout(this.timer)
    this.timer = undefined
    if (this.turns.length === 0) return
    const { turns } = this
    this.turns = []
    this.slots.offer({ turns, placed: false, alone: turns[0]!.alone })
    this.measure()
  }

  private measure(): void {
    const { readyCount, suspects } = this.slots
    if (readyCount < this.options.concurrency && suspects < this.options.maxWaiting) this.room.unsafeOpen()
    else this.room.unsafeClose()
  }
}
