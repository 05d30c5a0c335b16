/**
 * A handler while it runs: what interrupts it, and what its end means for the deliveries.
 *
 * Release, exit × state:
 *
 * exit of the handler   | running                             | settled (by the handler itself) | lost
 * ----------------------|-------------------------------------|---------------------------------|---------------------
 * success               | ack; a failed ack is the result     | the handler's result            | ack: the work is done *
 * failure, defect       | no ack, released                    | the handler's failure           | the handler's failure
 * interruption          | no ack, released                    | interruption                    | `LeaseLost`
 *
 * * An id that is another entry's by now is not acked: `LeaseLost`. The server compares counts for it, see `scripts.ack`.
 */
import * as Cause from "effect/Cause"
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as FiberRef from "effect/FiberRef"
import type * as FiberRefs from "effect/FiberRefs"
import * as Runtime from "effect/Runtime"
import * as RuntimeFlags from "effect/RuntimeFlags"
import type { RedisError } from "../RedisError.js"
import * as TraceContext from "../TraceContext.js"
import type { Lease, Restore } from "./lease.js"

/**
 * In a fiber of its own, so that it can be interrupted alone if a lease is lost. It is started at once rather than forked,
 * which costs half: one that need not wait has ended when this goes on.
 */
export const running = <B, E, R>(
  leases: ReadonlyArray<Lease<unknown>>,
  restore: Restore,
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
      // Its exit is its success: Effect prints a fiber's failure at the level Debug, and one that cannot be printed never ends.
      Effect.exit(restore(Effect.withFiberRuntime<B, E, R>((self) => {
        refs = refsOf(self)
        return handler()
      })))
    )
    const over = (exited: Exit.Exit<Exit.Exit<B, E>>) => {
      const exit = Exit.flatten(exited)
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
      onFailure: () => Effect.flatMap(Fiber.interrupt(fiber), (exited) => end(leases, Exit.flatten(exited))),
      onSuccess: over
    })
  })

/** The table above, for one or more deliveries. */
export const end = <B, E>(
  leases: ReadonlyArray<Lease<unknown>>,
  exit: Exit.Exit<B, E>
): Effect.Effect<B, E | RedisError> => {
  for (const lease of leases) lease.mark?.ended()
  if (exit._tag === "Failure") {
    const lost = leases.find(({ state }) => state === "lost")
    for (const lease of leases) {
      if (lease.state === "running" || lease.state === "ended") {
        lease.leave("released")
      }
    }
    return lost !== undefined && Cause.isInterruptedOnly(exit.cause) ? Effect.fail(lost.lost("Delivery.use")) : exit
  }
  const done = leases.filter(({ state }) => state !== "settled")
  if (done.length === 0) {
    return exit
  }
  for (const lease of done) {
    if (lease.state === "running") {
      // From here on its absence from the pending list is no sign of a lost lease.
      lease.state = "ended"
    }
  }
  return acked(done, exit)
}

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

/** A state is left when the answer is here, which the fiber is only told later. */
const acked = <B, E>(
  leases: ReadonlyArray<Lease<unknown>>,
  exit: Exit.Exit<B, E>
): Effect.Effect<B, E | RedisError> => {
  const { inFlight } = leases[0]!.holder
  const others = leases.filter(({ holder }) => holder.inFlight !== inFlight)
  const mine = others.length === 0 ? leases : leases.filter(({ holder }) => holder.inFlight === inFlight)
  const ack = Effect.async<B, E | RedisError>((resume) =>
    inFlight.acks.ack(mine, (error, reused) => {
      let lost: RedisError | undefined
      for (const lease of mine) {
        if (lease.isReused || reused.includes(lease.id)) lost = lease.loseReused()
        else {
          lease.leave(error === undefined ? "settled" : "released")
          if (error === undefined) lease.forget()
        }
      }
      resume(error === undefined && lost === undefined ? exit : Effect.fail(error ?? lost!))
    })
  )
  const { group, messageId, stream } = leases[0]!
  const spanned = Effect.withFiberRuntime<B, E | RedisError>((fiber) =>
    TraceContext.isCollected(fiber)
      ? TraceContext.useSpan(
        `ack ${stream}`,
        () => ({
          kind: "client",
          attributes: TraceContext.attributes(
            stream,
            "ack",
            mine.length === 1 ? { group, messageId } : { group, count: mine.length }
          )
        }),
        () => ack
      )
      : ack
  )
  return others.length === 0 ? spanned : Effect.matchEffect(spanned, {
    onFailure: (error) => {
      for (const lease of others) lease.leave("released")
      return Effect.fail(error)
    },
    onSuccess: () => acked(others, exit)
  })
}
