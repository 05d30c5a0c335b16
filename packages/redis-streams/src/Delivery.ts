/**
 * One entry of a stream, given to one consumer of a group, that carries its own ack.
 *
 * It is acked when the bracket that took it ends with success, and not otherwise: not on failure, defect, interruption,
 * nor when it is dropped. A delivery that is not acked stays pending and is delivered again: to the same consumer when it
 * starts or reconnects, to any consumer through `Reclaim` once it has been idle for the group's `minIdle`. One that has
 * waited in a buffer for so long is such a one too: who begins it then gets `LeaseLost` if somebody else has taken it.
 *
 * While its handler runs, the delivery's lease is renewed: a slow handler is not robbed. If the lease is lost all the same
 * (the process was asleep for longer than `minIdle`, say), the handler is interrupted. An ack is for the entry that was delivered:
 * where the stream was made anew meanwhile (`FLUSHALL`) and another entry has its id, that one is not acked.
 *
 * What `use` does at the end of its handler:
 *
 * | exit of the handler | still held                        | lease lost                | settled by the handler itself |
 * |---------------------|-----------------------------------|---------------------------|-------------------------------|
 * | success             | ack; if that fails, its error     | ack, since the work is done; `LeaseLost` if the id is another entry's by now | the handler's result |
 * | failure, defect     | the entry stays pending           | the handler's failure     | the handler's failure         |
 * | interruption        | the entry stays pending           | `LeaseLost`               | interruption                  |
 *
 * @since 0.1.0
 */
import type * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { dual, identity } from "effect/Function"
import type * as Pipeable from "effect/Pipeable"
import type * as Scope from "effect/Scope"
import * as begun from "./internal/begun.js"
import * as born from "./internal/born.js"
import * as deadEntry from "./internal/deadEntry.js"
import { describe } from "./internal/described.js"
import * as Detached from "./internal/detached.js"
import { handedBackTo } from "./internal/handBack.js"
import { type Lease, parked } from "./internal/lease.js"
import * as options from "./internal/options.js"
import { end, running } from "./internal/running.js"
import * as scripts from "./internal/scripts.js"
import type { InvalidOptions, RedisError } from "./RedisError.js"
import * as Metrics from "./RedisStreamsMetrics.js"
import type { Headers } from "./StreamEntry.js"

/**
 * One entry of a stream, given to one consumer of a group.
 *
 * @category models
 * @since 0.1.0
 */
export interface Delivery<out A> extends Pipeable.Pipeable {
  /** The entry's id in its stream. */
  readonly id: string
  /** The id by which an inbox knows the message: `id`, or for an entry that was sent again the id that it had before. */
  readonly messageId: string
  /**
   * The part that belongs to `messageId` where that is the id of an entry, and its stream had an identity before it was added
   * (`StreamIdentity`): the ids of another stream of the same name are others by it. An inbox that several streams write to knows a
   * message by both.
   */
  readonly born: string | undefined
  readonly stream: string
  readonly group: string
  readonly consumer: string
  /**
   * How many times the entry was delivered, this time included: 1 is the first. A delivery that was handed back, or has
   * waited for a third of `minIdle` and was not begun, does not count; one whose process was killed before that does.
   */
  readonly attempt: number
  readonly value: A
  readonly headers: Headers
}

/**
 * Runs a handler with the delivery's value and acks the entry if, and only if, it succeeds. An ack that fails is the
 * result, typed: the handler's work is done then, and the entry may be delivered again.
 *
 * The handler runs in a fiber of its own. It is not begun, or interrupted, and `LeaseLost` is the result, if somebody else
 * has taken the entry. After a failure the same delivery may be used once more, for instance by `Effect.retry`; one that is in use,
 * or settled, is a defect.
 *
 * Where the lease is lost while the handler cannot be interrupted (it waits for the answer to its COMMIT, say), the handler goes on to
 * its end and the result is `LeaseLost` all the same: what it has done is done, the entry has another holder and is handled again.
 *
 * @example
 * import type * as ConsumerGroup from "@safesync/redis-streams/ConsumerGroup"
 * import * as Delivery from "@safesync/redis-streams/Delivery"
 * import * as StreamConsumer from "@safesync/redis-streams/StreamConsumer"
 * import type * as Effect from "effect/Effect"
 * import * as Stream from "effect/Stream"
 *
 * const consume = <A>(group: ConsumerGroup.ConsumerGroup<A>, handle: (value: A) => Effect.Effect<void>) =>
 *   StreamConsumer.stream(group, { consumer: "a" }).pipe(Stream.runForEach(Delivery.use(handle)))
 *
 * @category brackets
 * @since 0.1.0
 */
export const use: {
  <A, B, E, R>(
    f: (value: A) => Effect.Effect<B, E, R>
  ): (self: Delivery<A>) => Effect.Effect<B, E | RedisError, R>
  <A, B, E, R>(self: Delivery<A>, f: (value: A) => Effect.Effect<B, E, R>): Effect.Effect<B, E | RedisError, R>
} = dual(2, <A, B, E, R>(
  self: Delivery<A>,
  f: (value: A) => Effect.Effect<B, E, R>
): Effect.Effect<B, E | RedisError, R> => {
  const lease = self as Lease<A>
  // Uninterruptible around the handler only: between its success and the ack nothing may come.
  return Effect.uninterruptibleMask((restore) => {
    const check = lease.begin(restore)
    const run = running([lease], restore, () => f(self.value))
    return check === undefined ? run : Effect.zipRight(check, run)
  })
})

/**
 * `use` for many deliveries: one handler, one fiber, and one ack for all of them if, and only if, it succeeds. Those that
 * somebody else has taken before it begins are left out, so it may be given fewer, or none. If the lease of one is lost
 * later, it is interrupted, and `LeaseLost` names that one; after a failure the others may be used once more.
 *
 * @internal
 */
export const useMany = <A, B, E, R>(
  deliveries: ReadonlyArray<Delivery<A>>,
  f: (begun: ReadonlyArray<Delivery<A>>) => Effect.Effect<B, E, R>
): Effect.Effect<B, E | RedisError, R> =>
  Effect.uninterruptibleMask((restore) => {
    const leases = deliveries as ReadonlyArray<Lease<A>>
    const checks = leases.flatMap((lease) => {
      const check = lease.begin(restore)
      return check === undefined ? [] : [Effect.uninterruptible(Effect.catchTag(check, "LeaseLost", () => Effect.void))]
    })
    const run = Effect.suspend(() => {
      const begun = checks.length === 0 ? leases : leases.filter(({ state }) => state === "running")
      return running(begun, restore, () => f(begun as ReadonlyArray<Delivery<A>>))
    })
    return checks.length === 0 ? run : Effect.matchCauseEffect(
      restore(Effect.all(checks, { concurrency: "unbounded", discard: true })),
      {
        onFailure: (cause) => end(leases, Exit.failCause(cause)),
        onSuccess: () => run
      }
    )
  })

/**
 * Whether the message may be what has ended the processes that had it before: it has been delivered three times or more. To be begun
 * by `useAlone`.
 *
 * @internal
 */
export const isSuspect = (self: Delivery<unknown>): boolean => begun.isSuspect(self as Lease<unknown>)

/**
 * `use` for a suspect, of which the caller says that nothing else runs in this process meanwhile. Its handler is begun after a mark of it
 * was written beside the stream, and not at all, with `ProcessDied`, when `maxDeaths` processes have died of it so far.
 *
 * @internal
 */
export const useAlone = <A, B, E, R>(
  self: Delivery<A>,
  maxDeaths: number,
  f: (value: A) => Effect.Effect<B, E, R>
): Effect.Effect<B, E | RedisError | begun.ProcessDied, R> => {
  const lease = self as Lease<A>
  return Effect.uninterruptibleMask((restore) => {
    const check = lease.begin(restore)
    const mark = lease.mark ??= new begun.Mark(lease)
    const run = Effect.matchCauseEffect(restore(mark.begin(maxDeaths)), {
      onFailure: (cause) => end([lease], Exit.failCause(cause)),
      onSuccess: () =>
        lease.state === "lost"
          ? end([lease], Exit.fail(lease.lost("Delivery.use")))
          : running([lease], restore, () => f(self.value))
    })
    return check === undefined ? run : Effect.zipRight(check, run)
  })
}

/**
 * The value, for as long as the scope is open. The entry is acked if the scope closes with success, and not otherwise.
 *
 * A finalizer cannot fail: an ack that fails is a defect whose value is the `RedisError`, and so is `LeaseLost` if
 * somebody else has taken the entry before. `use` has them as typed errors. If the lease is lost later, the fiber that
 * took the delivery is interrupted.
 *
 * @category scopes
 * @since 0.1.0
 */
export const scoped = <A>(self: Delivery<A>): Effect.Effect<A, never, Scope.Scope> => {
  const lease = self as Lease<A>
  return Effect.acquireRelease(
    Effect.withFiberRuntime<A>((fiber) => {
      const check = lease.begin(identity)
      return Effect.map(
        check === undefined ? Effect.void : Effect.orDie(check),
        () => {
          lease.runsIn(fiber)
          return self.value
        }
      )
    }),
    // A failed exit belongs to the scope's owner and is no failure of this finalizer.
    (_, exit) => exit._tag === "Success" ? Effect.orDie(end([lease], exit)) : Effect.exit(end([lease], exit))
  )
}

/**
 * Gives the delivery up and lets the entry be delivered again, with a higher `attempt`, after `delay` at the earliest.
 *
 * The delay is kept by the server in the pending list itself, so it survives this process. It cannot exceed the group's
 * `minIdle`: the entry is aged so that `Reclaim` of any consumer finds it stale when the delay is over. Without a `Reclaim` it does
 * not come again.
 *
 * Fails with `InvalidOptions` for a longer delay and for what is no duration, and with `LeaseLost` where somebody else has
 * taken the entry. A delivery that is settled already is a defect.
 *
 * @example
 * import * as Delivery from "@safesync/redis-streams/Delivery"
 * import * as Effect from "effect/Effect"
 *
 * interface Refused {
 *   readonly _tag: "Refused"
 * }
 *
 * const handled = <A>(delivery: Delivery.Delivery<A>, handle: (value: A) => Effect.Effect<void, Refused>) =>
 *   Delivery.use(delivery, handle).pipe(
 *     Effect.catchTag("Refused", () =>
 *       delivery.attempt < 5
 *         ? Delivery.retryAfter(delivery, "10 seconds")
 *         : Delivery.deadLetter(delivery, "refused five times"))
 *   )
 *
 * @category operations
 * @since 0.1.0
 */
export const retryAfter: {
  (delay: Duration.DurationInput): <A>(self: Delivery<A>) => Effect.Effect<void, RedisError | InvalidOptions>
  <A>(self: Delivery<A>, delay: Duration.DurationInput): Effect.Effect<void, RedisError | InvalidOptions>
} = dual(2, <A>(
  self: Delivery<A>,
  delay: Duration.DurationInput
): Effect.Effect<void, RedisError | InvalidOptions> => {
  const lease = self as Lease<A>
  const { minIdle } = lease.holder
  return Effect.flatMap(
    options.age("delay", delay),
    (millis): Effect.Effect<void, RedisError | InvalidOptions> =>
      millis > minIdle
        ? options.invalid("delay", `must not exceed the group's minIdle of ${minIdle} ms`)
        : settling(
          self,
          "Delivery.retryAfter",
          (lease) => lease.hold("Delivery.retryAfter", parked, String(minIdle - millis), lease.count)
        )
  )
})

/**
 * Gives the delivery up at once: any consumer's `Reclaim` can take the entry now. Where the server has XNACK (Redis 8.8) it is
 * nobody's, and the next read of any `StreamConsumer` brings it; elsewhere it stays pending for its consumer, aged. If it was not
 * begun, it does not count as an attempt. Fails with `LeaseLost` where somebody else has taken the entry; a delivery that is
 * settled already is a defect.
 *
 * @category operations
 * @since 0.1.0
 */
export const handBack = <A>(self: Delivery<A>): Effect.Effect<void, RedisError> =>
  settling(
    self,
    "Delivery.handBack",
    (lease) =>
      Effect.flatMap(handedBackTo(lease.holder), ([owner, idle]) =>
        lease.hold("Delivery.handBack", owner, idle, lease.state === "fetched" ? lease.count - 1 : lease.count))
  )

/**
 * The `minIdle` of the delivery's group: the lease of a delivery, and the longest delay of `retryAfter`.
 *
 * @category accessors
 * @since 0.1.0
 */
export const minIdle = <A>(self: Delivery<A>): Duration.Duration => Duration.millis((self as Lease<A>).holder.minIdle)

/**
 * Moves the entry to the group's dead-letter stream: its fields as they are, its origin, its attempts and `reason`, in
 * one atomic step with its ack. The reason is a text, or a cause: that is printed as `Cause.pretty` does it, and as Node shows it where
 * that would throw. Of either the first 4,096 bytes of UTF-8 are kept. Fails with `LeaseLost` where somebody else has taken the entry; a delivery that is settled already is
 * a defect. What has been deleted from its stream is only acked.
 *
 * @category operations
 * @since 0.1.0
 */
export const deadLetter: {
  (reason: string | Cause.Cause<unknown>): <A>(self: Delivery<A>) => Effect.Effect<void, RedisError>
  <A>(self: Delivery<A>, reason: string | Cause.Cause<unknown>): Effect.Effect<void, RedisError>
} = dual(
  2,
  <A>(self: Delivery<A>, reason: string | Cause.Cause<unknown>): Effect.Effect<void, RedisError> =>
    settling(self, "Delivery.deadLetter", (lease) => {
      const { holder, id } = lease
      return Effect.flatMap(
        holder.redis.script(
          scripts.deadLetter,
          [holder.stream, holder.deadLetterStream],
          deadEntry.deadLetterArgs(
            holder,
            {
              id,
              fence: lease.fence,
              attempts: Math.max(lease.attempt, lease.count),
              born: born.ofEntry(id, lease.streamBorn)
            },
            typeof reason === "string" ? reason : describe(reason)
          )
        ),
        (outcome) => {
          if (outcome === "lost") {
            return lease.lose("Delivery.deadLetter")
          }
          lease.forget()
          const metric = outcome === "dead" ? Metrics.messagesDeadLettered : Metrics.messagesDeleted
          metric.unsafeUpdate(1, holder.labels)
          return Effect.void
        }
      )
    })
)

/**
 * Counts a failure of its handler, by whoever had the message and until it is settled; answers how many there have been.
 *
 * @internal
 */
export const countFailure = (self: Delivery<unknown>): Effect.Effect<number, RedisError> =>
  (self as Lease<unknown>).failures.add

/**
 * How many failures of its handler this process knows of.
 *
 * @internal
 */
export const knownFailures = (self: Delivery<unknown>): number => (self as Lease<unknown>).failures.known

/**
 * Whether it was acked, dead-lettered, handed back or left for a retry, by whoever had it.
 *
 * @internal
 */
export const isSettled = (self: Delivery<unknown>): boolean => (self as Lease<unknown>).state === "settled"

/**
 * Whether somebody else has it. One entry is told from another by this: two servers may have the same ids.
 *
 * @internal
 */
export const isLost = (self: Delivery<unknown>): boolean => (self as Lease<unknown>).state === "lost"

/**
 * One without a server, of which is told how it is settled: `TestDelivery` of the testkit.
 *
 * @internal
 */
export const detached: <A>(entry: Detached.Options<A>, told: Detached.Told) => Delivery<A> = Detached.make

// internal

/** Uninterruptible, so that what the server did is also known here; the command's own time bounds it. */
const settling = <A, E>(
  self: Delivery<A>,
  command: string,
  f: (lease: Lease<A>) => Effect.Effect<void, E>
): Effect.Effect<void, E | RedisError> => {
  const lease = self as Lease<A>
  return Effect.uninterruptible(Effect.suspend((): Effect.Effect<void, E | RedisError> => {
    if (lease.state === "settled") {
      return Effect.dieMessage(`The delivery ${self.id} of ${self.stream} is settled already`)
    }
    return lease.state === "lost" || lease.isReplaced
      ? lease.lose(command)
      : Effect.onError(Effect.map(f(lease), () => lease.leave("settled")), () => lease.giveUp())
  }))
}
