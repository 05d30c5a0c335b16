/** A handler while it runs: what interrupts it, and what its end means for the deliveries. */
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as FiberRef from "effect/FiberRef"
import type * as FiberRefs from "effect/FiberRefs"
import * as Runtime from "effect/Runtime"
import * as RuntimeFlags from "effect/RuntimeFlags"
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
      // What it has set in a FiberRef is the caller's then. A transaction sets the context and sets it back.
      return exit._tag === "Success" && !isSame(refs!, refsOf(fiber))
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

/** Whether nothing is different that a caller would inherit: to look costs far less than to be given all of it. */
const isSame = (before: FiberRefs.FiberRefs, after: FiberRefs.FiberRefs): boolean => {
  if (before === after) return true
  if (before.locals.size !== after.locals.size) return false
  for (const [ref, [[, value]]] of before.locals) {
    const now: unknown = after.locals.get(ref)?.[0][1]
    // Whether it could be interrupted when somebody looked is a fiber's own.
    const isOwn = ref === (FiberRef.currentRuntimeFlags as FiberRef.FiberRef<any>)
    if (isOwn ? (value & ~own) !== ((now as number) & ~own) : value !== now) return false
  }
  return true
}

const own = RuntimeFlags.Interruption | RuntimeFlags.WindDown

/** `Fiber.await` at half its cost; it may be interrupted. */
const ended = <A, E>(fiber: Fiber.RuntimeFiber<A, E>): Effect.Effect<Exit.Exit<A, E>> =>
  Effect.async((resume) => fiber.addObserver((exit) => resume(Effect.succeed(exit))))
