/**
 * What is ready to be begun, and how much of it may run at a time. There may be more takers than slots: one that has left its slot
 * settles what it had while another begins the next. Suspects wait until they are alone in the process; others overtake them meanwhile,
 * but not where there is one slot, which keeps the order.
 *
 * @internal
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import { type Party, solitude } from "./solitude.js"

export interface Placed {
  /** Whether it has a slot. */
  placed: boolean
  /** Whether it is a suspect, which runs while nothing else does. */
  readonly alone: boolean
}

type Taker<T> = (taken: Effect.Effect<T, Cause.NoSuchElementException>) => void

export class Slots<in out T extends Placed> implements Party {
  private ready: Array<T> = []
  private readonly takers: Array<Taker<T>> = []
  private taken = 0
  private over = false
  private stopped = false
  /** Those that were begun and have not ended. */
  private readonly running = new Set<T>()
  /** How many of those that are ready wait until they are alone. */
  suspects = 0

  constructor(
    private readonly count: number,
    /** Called when one was taken. */
    private readonly changed: (one: T) => void
  ) {}

  /** Those that are ready and were not begun. */
  get unbegun(): ReadonlyArray<T> {
    return this.ready
  }

  /** How many could be begun at once, beyond what is ready. */
  get free(): number {
    return Math.max(0, this.count - this.taken - this.readyCount)
  }

  /** Without suspects. */
  get readyCount(): number {
    return this.ready.length - this.suspects
  }

  /** The next one, once a slot is free. Fails when none will come any more. */
  readonly take: Effect.Effect<T, Cause.NoSuchElementException> = Effect.suspend(() => {
    const next = this.next(false) ?? this.next(true)
    return next !== undefined
      ? Effect.succeed(next)
      : this.over && this.ready.length === 0
      ? new Cause.NoSuchElementException()
      : Effect.async<T, Cause.NoSuchElementException>((resume) => {
        this.takers.push(resume)
      })
  })

  /** Once it was stopped, whoever is offered still is for nobody. */
  offer(one: T): void {
    if (this.stopped) return
    this.ready.push(one)
    if (one.alone) {
      this.suspects++
      solitude.wait(this)
    }
    this.dispatch()
  }

  /** It has run: what is left to do for it needs no slot. */
  leave(one: T): void {
    if (!one.placed) return
    one.placed = false
    this.taken--
    this.dispatch()
  }

  /** Its handler has ended. */
  ended(one: T): void {
    this.leave(one)
    if (this.running.delete(one)) solitude.ended(one.alone)
  }

  /** The takers are gone, and with them what they had begun. */
  readonly gone: Effect.Effect<void> = Effect.sync(() => {
    for (const one of this.running) this.ended(one)
  })

  /** None will be offered any more. */
  end(): void {
    this.over = true
    this.dispatch()
  }

  /** Nothing begins any more. Gives what was ready. */
  stop(): ReadonlyArray<T> {
    const ready = this.ready
    this.ready = []
    this.suspects = 0
    this.stopped = true
    solitude.leave(this)
    this.end()
    return ready
  }

  begin(alone: boolean): boolean {
    let begun = false
    while (this.takers.length > 0 && !(alone && begun)) {
      const next = this.next(alone)
      if (next === undefined) break
      this.takers.pop()!(Effect.succeed(next))
      begun = true
    }
    return begun
  }

  /** The first one that may begin. */
  private next(alone: boolean): T | undefined {
    if (this.taken === this.count || this.ready.length === 0) return undefined
    const at = this.suspects === 0 ? (alone ? -1 : 0) : this.ready.findIndex((one) => one.alone === alone)
    if (at === -1 || (at > 0 && this.count === 1)) return undefined
    if (!solitude.mayBegin(alone)) {
      solitude.wait(this)
      return undefined
    }
    const one = at === 0 ? this.ready.shift()! : this.ready.splice(at, 1)[0]!
    if (alone) this.suspects--
    one.placed = true
    this.taken++
    this.running.add(one)
    solitude.begun(alone)
    this.changed(one)
    return one
  }

  private dispatch(): void {
    if (this.takers.length > 0 && this.ready.length > 0) {
      this.begin(false)
      this.begin(true)
    }
    if (!this.over || this.ready.length > 0) return
    for (const taker of this.takers.splice(0)) taker(new Cause.NoSuchElementException())
  }
}
