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
 * back and handed back. With a relay that is stopped before, and the connections that are closed after it, that may take two
 * seconds more, whether a server answers or not: so each of them has a part of those alone.
 *
 * @internal
 */
import * as Delivery from "@safesync/redis-streams/Delivery"
import { loggable } from "@safesync/redis-streams/RedisError"
import * as StreamConsumer from "@safesync/redis-streams/StreamConsumer"
import * as Cause from "effect/Cause"
import type * as Chunk from "effect/Chunk"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { Worker } from "../Worker.js"
import type { State } from "./state.js"

export interface Parts<X, T, E, R> {
  readonly name: string
  /** How many loops there are. */
  readonly loops: number
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
  /** The loops have ended, each with what it had begun. */
  readonly gone: Effect.Effect<unknown>
  /** How many messages wait. */
  readonly waiting: () => number
  /** How many messages the next read should ask for. */
  readonly demand: () => number
  /** How many messages were read and not begun. */
  readonly unbegun: () => number
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
    const one = Effect.flatMap(parts.take, parts.handle)
    const loop = Effect.whileLoop({ while: () => true, body: () => one, step: () => {} }).pipe(
      Effect.catchTag("NoSuchElementException", () => Effect.void),
      Effect.catchAllCause((cause) =>
        Effect.flatMap(Deferred.failCause(stopped, cause as Cause.Cause<never>), (isTold) =>
          isTold ? Effect.void : died(cause))
      )
    )
    // Daemons, since they outlive the interruption of whoever runs the worker by the time that draining takes.
    const daemon = <B, F, S>(effect: Effect.Effect<B, F, S>) =>
      Effect.forkDaemon(Effect.interruptible(effect))
    const loops = yield* Effect.replicateEffect(daemon(loop), parts.loops)
    const aside = yield* daemon(
      Effect.all([parts.aside, state.servers.watch], { concurrency: "unbounded", discard: true })
    )
    // Effect prints a fiber's failure at the level Debug, and one that cannot be printed never ends: this one is told by `await`.
    const reader = yield* daemon(Effect.exit(
      Effect.locally(
        Effect.withUnhandledErrorLogLevel(Stream.runForEachChunk(source, parts.read), Option.none()),
        StreamConsumer.demand,
        parts.demand
      )
    ))
    const ended = Effect.zipRight(
      Effect.flatten(Fiber.join(reader)),
      Effect.zipRight(parts.end, Fiber.awaitAll(loops))
    )
    const life = yield* daemon(
      Effect.logDebug("The worker reads").pipe(
        Effect.zipRight(Effect.exit(Effect.raceFirst(ended, Deferred.await(stopped)))),
        Effect.flatMap((exit) =>
          // Whatever happens to the draining: who waits for the worker's end is told.
          Effect.ensuring(
            drain(parts, reader, aside, loops),
            Effect.suspend(() => {
              state.phase = "stopped"
              return Deferred.done(outcome, Exit.asVoid(exit))
            })
          )
        ),
        Effect.annotateLogs("worker", parts.name)
      )
    )
    yield* Effect.addFinalizer(() => Effect.zipRight(Deferred.succeed(stopped, undefined), Fiber.await(life)))
    return {
      status: Effect.sync(() => state.status(parts.waiting())),
      await: Deferred.await(outcome)
    }
  }))

/** For ROLLBACK and for handing back, once the time to drain is over. */
const grace = Duration.millis(800)

/** One time for all of it, from here on: a reader or a hand-back that waits for a server does not make it longer. */
const drain = <X, T, E, R>(
  parts: Parts<X, T, E, R>,
  reader: Fiber.RuntimeFiber<unknown, unknown>,
  aside: Fiber.RuntimeFiber<unknown, unknown>,
  loops: ReadonlyArray<Fiber.RuntimeFiber<unknown, unknown>>
): Effect.Effect<void> =>
  Effect.gen(function*() {
    const { state } = parts
    state.phase = "draining"
    const started = performance.now()
    const running = state.running.size
    const unbegun = parts.unbegun()
    yield* Effect.annotateLogs(Effect.logInfo("The worker drains"), { running, unbegun })
    yield* parts.stop
    const released = yield* Effect.forkDaemon(Effect.zipRight(Fiber.interruptAll([reader, aside]), parts.release))
    const finished = yield* inTime(
      Effect.zipRight(Fiber.awaitAll(loops), Fiber.await(released)),
      parts.drainTimeout ?? Duration.seconds(20)
    )
    if (!finished) yield* Effect.logWarning("Drain timeout: what runs is interrupted, rolled back and handed back")
    let interrupted = 0
    const settling = Effect.suspend(() => {
      interrupted = [...state.running.values()].filter((committed) => !committed).length
      return settle(state)
    })
    const settled = yield* inTime(
      Effect.zipRight(Effect.zipRight(Fiber.interruptAll(loops), settling), Fiber.await(released)),
      grace
    )
    yield* Effect.forkDaemon(Effect.zipRight(Fiber.awaitAll(loops), parts.gone))
    if (!settled) {
      yield* Effect.logWarning(
        "A server does not answer: what could not be handed back is delivered again after minIdle"
      )
    }
    yield* Effect.annotateLogs(Effect.logInfo("The worker has stopped"), {
      finished: running - interrupted,
      interrupted,
      handedBack: unbegun + interrupted,
      millis: Math.round(performance.now() - started)
    })
    const tell = Effect.forEach([reader, aside, ...loops], (fiber) =>
      Effect.flatMap(Fiber.await(fiber), (exit) => Exit.isFailure(exit) ? died(exit.cause) : Effect.void))
    yield* settled ? tell : Effect.forkDaemon(tell)
  })

/** A defect that comes when the worker stops already, such as a finalizer's of a handler that is interrupted: nobody's outcome has it. */
const died = (cause: Cause.Cause<unknown>): Effect.Effect<void> =>
  Cause.isDie(cause) ? Effect.logError("Something has died while the worker stopped", loggable(cause)) : Effect.void

const inTime = (effect: Effect.Effect<unknown>, within: Duration.DurationInput): Effect.Effect<boolean> =>
  Effect.timeoutTo(Effect.disconnect(effect), { duration: within, onSuccess: () => true, onTimeout: () => false })

/**
 * What was interrupted has been rolled back: anybody may take it at once. What was interrupted while COMMIT was under way is acked
 * now. If that cannot be said, it waits for `minIdle`. What was acked by then says that it is settled: a defect that is none here.
 */
const settle = (state: State): Effect.Effect<void> =>
  Effect.suspend(() =>
    Effect.forEach(
      [...state.running],
      ([delivery, committed]) =>
        Effect.exit(committed ? Delivery.use(delivery, () => Effect.void) : Delivery.handBack(delivery)),
      { concurrency: "unbounded", discard: true }
    )
  )
