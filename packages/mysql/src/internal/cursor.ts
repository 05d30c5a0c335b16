/**
 * The rows of a streamed result between the connection, which gives them as they come, and the consumer, who takes as many
 * as there are. The connection is paused while enough of them wait, unless somebody else waits for the connection.
 *
 * @internal
 */
import * as Chunk from "effect/Chunk"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"

/** So many rows are enough for the consumer to be busy with. */
const enough = 512

export interface Pausable {
  pause(): void
  resume(): void
}

export class Cursor<A, E> {
  private rows: Array<A> = []
  private end: Effect.Effect<never, Option.Option<E>> | undefined
  private waiter: (() => void) | undefined
  private waking = false
  private paused = false
  private mode: "as they are taken" | "at once" | "for nobody" = "as they are taken"

  constructor(private readonly connection: Pausable) {}

  push(row: A): void {
    if (this.mode === "for nobody") return
    this.rows.push(row)
    if (this.rows.length >= enough && this.mode === "as they are taken" && !this.paused) {
      this.paused = true
      this.connection.pause()
    }
    this.wake()
  }

  /** There are no more rows. Only the first call counts. */
  finish(end: Effect.Effect<never, Option.Option<E>> = Effect.fail(Option.none())): void {
    this.end ??= end
    this.wake()
  }

  /** Somebody else waits for the connection: the rest of the rows is read now. */
  readRest(): void {
    if (this.mode === "as they are taken") this.mode = "at once"
    this.flow()
  }

  /** Nobody takes the rows any more. */
  discard(): void {
    this.mode = "for nobody"
    this.rows = []
    this.flow()
  }

  /** The rows that have come since the last time, at least one. */
  readonly pull: Effect.Effect<Chunk.Chunk<A>, Option.Option<E>> = Effect.suspend(() => {
    if (this.rows.length > 0) {
      const chunk = Chunk.unsafeFromArray(this.rows)
      this.rows = []
      this.flow()
      return Effect.succeed(chunk)
    }
    if (this.end !== undefined) return this.end
    return Effect.async<Chunk.Chunk<A>, Option.Option<E>>((resume) => {
      this.waiter = () => resume(this.pull)
      return Effect.sync(() => {
        this.waiter = undefined
      })
    })
  })

  private flow(): void {
    if (!this.paused) return
    this.paused = false
    this.connection.resume()
  }

  /** Later in this turn, so that the consumer gets all rows that came in one piece. */
  private wake(): void {
    if (this.waiter === undefined || this.waking) return
    this.waking = true
    queueMicrotask(() => {
      this.waking = false
      const waiter = this.waiter
      this.waiter = undefined
      waiter?.()
    })
  }
}
