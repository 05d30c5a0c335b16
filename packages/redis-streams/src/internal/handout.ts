/**
 * Hands the elements of a stream out to fibers that last, a chunk at a time: an element costs an index then, and no fiber
 * and no queue. The next chunk is asked for when the last element of this one has been taken.
 */
import * as Chunk from "effect/Chunk"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"

/** Runs `f` for each element, `concurrency` at a time. Ends with the stream, or with the first failure of either. */
export const handout = <A, E, R, E2, R2>(
  elements: Stream.Stream<A, E, R>,
  concurrency: number,
  f: (element: A) => Effect.Effect<unknown, E2, R2>
): Effect.Effect<void, E | E2, R | R2> =>
  Effect.suspend(() => {
    let chunk: ReadonlyArray<A> = []
    let at = 0
    let ended = false
    let onTaken = () => {}
    const idle: Array<() => void> = []

    const wake = (count: number) => {
      for (let i = Math.min(count, idle.length); i > 0; i--) idle.pop()!()
    }

    const reader = Effect.zipRight(
      Stream.runForEachChunk(elements, (next) =>
        Chunk.isEmpty(next) ? Effect.void : Effect.async<void>((resume) => {
          chunk = Chunk.toReadonlyArray(next)
          at = 0
          onTaken = () => resume(Effect.void)
          wake(chunk.length)
        })),
      Effect.sync(() => {
        ended = true
        wake(Infinity)
      })
    )

    const more = Effect.async<void>((resume) => {
      const go = () => resume(Effect.void)
      if (at < chunk.length || ended) {
        go()
      } else {
        idle.push(go)
      }
    })

    const worker = Effect.suspend(() => {
      let element: A
      const take = () => {
        if (at === chunk.length) return false
        element = chunk[at++]!
        if (at === chunk.length) {
          chunk = []
          at = 0
          onTaken()
        }
        return true
      }
      const all = Effect.whileLoop({ while: take, body: () => f(element), step: () => {} })
      const loop: Effect.Effect<void, E2, R2> = Effect.flatMap(
        all,
        () => ended ? Effect.void : Effect.zipRight(more, loop)
      )
      return loop
    })

    return Effect.all([reader, ...Array.from({ length: concurrency }, () => worker)], {
      concurrency: "unbounded",
      discard: true
    })
  })
