/**
 * Starting, watching and stopping the loops of a worker.
 *
 * what happens                   | the reader  | what is not begun | what runs               | `await`
 * -------------------------------|-------------|-------------------|-------------------------|----------------------
 * the source ends                | has ended   | is worked off     | is worked off           | succeeds
 * the source fails               | has ended   | is handed back    | drains                  | fails with its error
 * `Disposition.stop`, a defect   | interrupted | is handed back    | drains                  | fails with that cause
 * the scope closes               | interrupted | is handed back    | drains                  | succeeds
 *
 * To drain is to finish what runs within the caller's bound, committed and acked; what is left then is interrupted, rolled
 * back and handed back.
 *
 * @internal
 */
import * as Delivery from "@safesync/redis-streams/Delivery"
import type * as Cause from "effect/Cause"
import type * as Chunk from "effect/Chunk"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { Worker } from "../Worker.js"
import type { State } from "./state.js"

export interface Parts<X, T, E, R> {
  readonly name: string
  readonly concurrency: number
  readonly drainTimeout: Duration.DurationInput | undefined
  readonly state: State
  readonly read: (chunk: Chunk.Chunk<X>) => Effect.Effect<void>
  readonly take: Effect.Effect<T, Cause.NoSuchElementException>
  /** Never fails; a defect ends the worker. */
  readonly handle: (taken: T) => Effect.Effect<void, never, R>
  /** Runs beside the loops. */
  readonly aside: Effect.Effect<unknown>
  /** The source has ended. */
  readonly end: Effect.Effect<unknown>
  /** Nothing begins any more. */
  readonly stop: Effect.Effect<unknown>
  /** What waits in this process is handed back. */
  readonly release: Effect.Effect<unknown>
  /** How many messages wait. */
  readonly waiting: () => number
  /** Fails when the worker has to stop by itself. */
  readonly stopped: Deferred.Deferred<void, E>
}

export const start = <X, T, E, R, E1, R1>(
  source: Stream.Stream<X, E1, R1>,
  parts: Parts<X, T, E, R>
): Effect.Effect<Worker<E | E1>, never, R | R1 | Scope.Scope> =>
  Effect.uninterruptible(Effect.gen(function*() {
    const { state, stopped } = parts
    const outcome = yield* Deferred.make<void, E | E1>()
    const loop = Effect.forever(Effect.flatMap(parts.take, parts.handle)).pipe(
      Effect.catchTag("NoSuchElementException", () => Effect.void),
      Effect.catchAllCause((cause) => Deferred.failCause(stopped, cause as Cause.Cause<never>))
    )
    // Daemons, since they outlive the interruption of whoever runs the worker by the time that draining takes.
    const daemon = <B, F, S>(effect: Effect.Effect<B, F, S>) => Effect.forkDaemon(Effect.interruptible(effect))
    const loops = yield* Effect.replicateEffect(daemon(loop), parts.concurrency)
    const aside = yield* daemon(parts.aside)
    const reader = yield* daemon(Stream.runForEachChunk(source, parts.read))
    const ended = Effect.zipRight(Fiber.join(reader), Effect.zipRight(parts.end, Fiber.awaitAll(loops)))
    const life = yield* daemon(
      Effect.gen(function*() {
        yield* Effect.logDebug("The worker reads")
        const exit = yield* Effect.exit(Effect.raceFirst(ended, Deferred.await(stopped)))
        state.phase = "draining"
        yield* Effect.logDebug("The worker drains")
        yield* parts.stop
        yield* Fiber.interruptAll([reader, aside])
        yield* parts.release
        yield* drain(loops, parts.drainTimeout ?? Duration.seconds(20))
        yield* handBack(state)
        state.phase = "stopped"
        yield* Effect.logDebug("The worker has stopped")
        yield* Deferred.done(outcome, Exit.asVoid(exit))
      }).pipe(Effect.annotateLogs("worker", parts.name))
    )
    yield* Effect.addFinalizer(() => Effect.zipRight(Deferred.succeed(stopped, undefined), Fiber.await(life)))
    return {
      status: Effect.sync(() => state.status(parts.waiting())),
      await: Deferred.await(outcome)
    }
  }))

const drain = (
  loops: Iterable<Fiber.RuntimeFiber<unknown, unknown>>,
  within: Duration.DurationInput
): Effect.Effect<void> =>
  Fiber.awaitAll(loops).pipe(
    Effect.timeoutTo({ duration: within, onSuccess: () => true, onTimeout: () => false }),
    Effect.flatMap((finished) =>
      finished ? Effect.void : Effect.logWarning("Drain timeout: running handlers are interrupted")
    ),
    Effect.zipRight(Fiber.interruptAll(loops))
  )

/** What was interrupted has been rolled back: anybody may take it at once. If that cannot be said, it waits for `minIdle`. */
const handBack = (state: State): Effect.Effect<void> =>
  Effect.forEach([...state.running], (delivery) => Effect.ignore(Delivery.handBack(delivery)), {
    concurrency: "unbounded",
    discard: true
  })
