/** A handler while it runs: what interrupts it, and what its end means for the deliveries. */
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import type * as FiberRefs from "effect/FiberRefs"
import * as Runtime from "effect/Runtime"
import type { RedisError } from "../RedisError.js"
import { end, type Lease } from "./lease.js"

/**
 * In a fiber of its own, so that it can be interrupted alone if a lease is lost. It is started at once rather than forked,
 * which costs half: one that need not wait has ended when this goes on.
 */
export const running = <B, E, R>(
  leases: ReadonlyArray<Lease<unknown>>,
  restore: <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>,
  handler: () => Effect.Effect<B, E, R>
): Effect.Effect<B, E | RedisError, R> =>
  Effect.withFiberRuntime<B, E | RedisError, R>((parent, { runtimeFlags }) => {
    let refs: FiberRefs.FiberRefs | undefined
    const fiber = Runtime.runFork(
      Runtime.make({
        context: parent.currentContext as Context.Context<R>,
        fiberRefs: refsOf(parent),
        runtimeFlags
      }),
      restore(Effect.withFiberRuntime<B, E, R>((self) => {
        refs = refsOf(self)
        return handler()
      }))
    )
    const over = (exit: Exit.Exit<B, E>) => {
      const ending = end(leases, exit)
      // What it has set in a FiberRef is the caller's then, if it has set anything.
      return exit._tag === "Success" && refsOf(fiber) !== refs
        ? Effect.zipRight(Fiber.inheritAll(fiber), ending)
        : ending
    }
    const exit = fiber.unsafePoll()
    if (exit !== null) {
      return over(exit)
    }
    for (const lease of leases) lease.runsIn(fiber)
    return Effect.matchCauseEffect(restore(ended(fiber)), {
      onFailure: () => Effect.flatMap(Fiber.interrupt(fiber), (exit) => end(leases, exit)),
      onSuccess: over
    })
  })

// internal

/** `getFiberRefs` copies them all to note the runtime flags in them, which nobody asks for here. */
const refsOf = (fiber: Fiber.RuntimeFiber<unknown, unknown>): FiberRefs.FiberRefs =>
  (fiber as { readonly _fiberRefs?: FiberRefs.FiberRefs })._fiberRefs ?? fiber.getFiberRefs()

/** `Fiber.await` at half its cost; it may be interrupted. */
const ended = <A, E>(fiber: Fiber.RuntimeFiber<A, E>): Effect.Effect<Exit.Exit<A, E>> =>
  Effect.async((resume) => fiber.addObserver((exit) => resume(Effect.succeed(exit))))
