/**
 * What is ready to be begun, and how much of it may run at a time. There may be more takers than slots: one that has left its slot
 * settles what it had while another begins the next.
 *
 * @internal
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"

export interface Placed {
  /** Whether it has a slot. */
  placed: boolean
}

type Taker<T> = (taken: Effect.Effect<T, Cause.NoSuchElementException>) => void

export class Slots<in out T extends Placed> {
  private ready: Array<T> = []
  private readonly takers: Array<Taker<T>> = []
  private taken = 0
  private over = false
  private stopped = false

  constructor(
    private readonly count: number,
    /** Called when something was taken. */
    private readonly changed: () => void
  ) {}

  get readyCount(): number {
    return this.ready.length
  }

  /** The next one, once a slot is free. Fails when none will come any more. */
  readonly take: Effect.Effect<T, Cause.NoSuchElementException> = Effect.suspend(() =>
    this.taken < this.count && this.ready.length > 0
      ? Effect.succeed(this.place())
      : this.over && this.ready.length === 0
      ? new Cause.NoSuchElementException()
      : Effect.async<T, Cause.NoSuchElementException>((resume) => {
        this.takers.push(resume)
      })
  )

  /** Once it was stopped, whoever is offered still is for nobody. */
  offer(one: T): void {
    if (this.stopped) return
    this.ready.push(one)
    this.dispatch()
  }

  /** It has run: what is left to do for it needs no slot. */
  leave(one: T): void {
    if (!one.placed) return
    one.placed = false
    this.taken--
    this.dispatch()
  }

  /** None will be offered any more. */
  end(): void {
    this.over = true
    this.dispatch()
  }

  /** Nothing begins any more. Gives what was ready. */
  stop(): ReadonlyArray<T> {
    const ready = this.ready
    this.ready = []
    this.stopped = true
    this.end()
    return ready
  }

  private place(): T {
    const one = this.ready.shift()!
    one.placed = true
    this.taken++
    this.changed()
    return one
  }

  private dispatch(): void {
    while (this.takers.length > 0 && this.ready.length > 0 && this.taken < this.count) {
      this.takers.pop()!(Effect.succeed(this.place()))
    }
    if (!this.over || this.ready.length > 0) return
    for (const taker of this.takers.splice(0)) taker(new Cause.NoSuchElementException())
  }
}
