/**
 * Carries out the caller's word on a message that failed.
 *
 * @internal
 */
import * as MysqlError from "@safesync/mysql/MysqlError"
import * as Delivery from "@safesync/redis-streams/Delivery"
import * as RedisError from "@safesync/redis-streams/RedisError"
import * as TraceContext from "@safesync/redis-streams/TraceContext"
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import type { Disposition } from "../Disposition.js"
import type { Failure } from "../Worker.js"
import type { Common } from "../WorkerOptions.js"
import { handedBack, type Intake, type Turn } from "./intake.js"
import * as retryDelay from "./retryDelay.js"
import * as Settled from "./settled.js"
import type { State } from "./state.js"

type SettleError = RedisError.RedisError | RedisError.InvalidOptions

export interface Settling<in out A, in E> {
  /** As the caller's `onFailure` says. */
  readonly failed: (turn: Turn<A>, cause: Cause.Cause<Failure<E>>) => Effect.Effect<void>
  /** To the dead letters: so many processes have died of it. `onFailure` cannot be asked about what has no cause. */
  readonly died: (turn: Turn<A>, times: number) => Effect.Effect<void>
}

export const settling = <A, E>(
  onFailure: Common<A, E>["onFailure"],
  state: State,
  intake: Intake<A>,
  stop: (cause: Cause.Cause<Failure<E>>) => Effect.Effect<unknown>
): Settling<A, E> => {
  const settled = (
    turn: Turn<A>,
    disposition: "dead_letter" | "discard" | "retry",
    effect: Effect.Effect<void, SettleError>
  ): Effect.Effect<void> => {
    const ordered = turn.key === undefined
      ? effect
      : Effect.retry(effect, {
        schedule: Schedule.spaced(retryDelay.untilRedisIsBack),
        while: RedisError.isTransient
      })
    return Effect.matchEffect(ordered, {
      onFailure: (error) => Settled.left(state, turn.delivery, error),
      onSuccess: () => {
        state.settled()
        Settled.count(disposition, turn.delivery)
        return Effect.void
      }
    })
  }

  /** A worker that has no word on a message stops, and the message stays as it is. */
  const decide = (delivery: Delivery.Delivery<A>, cause: Cause.Cause<Failure<E>>): Disposition => {
    try {
      const disposition = onFailure(cause, delivery)
      // Without types it may be anything, and an Effect in the first place.
      if (!Object.hasOwn(names, String(disposition?._tag))) {
        throw new Error("Worker: onFailure must answer with a Disposition, and at once, not with an Effect")
      }
      return disposition
    } catch (defect) {
      state.running.delete(delivery)
      throw defect
    }
  }

  const finish = (turn: Turn<A>) =>
    Effect.suspend(() => {
      state.running.delete(turn.delivery)
      return intake.done(turn)
    })

  const deadLettered = (turn: Turn<A>, type: string, reason: string | Cause.Cause<unknown>, said: string) =>
    Effect.suspend(() => {
      turn.failed = { type, disposition: names.DeadLetter }
      return settled(
        turn,
        "dead_letter",
        Effect.zipRight(Delivery.deadLetter(turn.delivery, reason), Settled.deadLettered(turn.delivery, said))
      )
    })

  const died: Settling<A, E>["died"] = (turn, times) => {
    const reason = `its process died ${words[times] ?? `${times} times`}`
    return Effect.zipRight(deadLettered(turn, "ProcessDied", reason, reason), finish(turn))
  }

  const failed: Settling<A, E>["failed"] = (turn, cause) =>
    Effect.flatMap(state.probe.judge(cause, [turn.delivery]), (isOutage) => decided(turn, cause, isOutage))

  /** Which of its failures this is, for the schedule. An outage is none. */
  const failures = (delivery: Delivery.Delivery<A>, isOutage: boolean): Effect.Effect<number> => {
    const known = Delivery.knownFailures(delivery) + 1
    return isOutage ?
      Effect.succeed(known) :
      Effect.catchAll(
        Delivery.countFailure(delivery),
        (error) =>
          Effect.succeed(RedisError.isTransient(error) && error._tag !== "OutOfMemory" ? known : delivery.attempt)
      )
  }

  const decided = (turn: Turn<A>, cause: Cause.Cause<Failure<E>>, isOutage: boolean): Effect.Effect<void> => {
    const { delivery } = turn
    state.failed(cause)
    const disposition = decide(delivery, cause)
    const type = TraceContext.errorType(cause)
    const kind = type === "_OTHER" ? kindOf(cause) : type
    turn.failed = { type, disposition: names[disposition._tag] }
    if (Delivery.isSettled(delivery) && disposition._tag !== "Stop") {
      turn.failed = { type, disposition: "handler" }
      return Effect.zipRight(Settled.byHandler(delivery, kind), finish(turn))
    }
    const deadLetter = Effect.suspend(() => deadLettered(turn, type, cause, describe(cause) ?? kind))
    switch (disposition._tag) {
      case "Retry":
        return Effect.flatMap(
          Effect.flatMap(failures(delivery, isOutage), (n) => retryDelay.nth(disposition.schedule, n)),
          (delay) => {
            if (delay._tag === "None") return Effect.zipRight(deadLetter, finish(turn))
            const later = turn.key === undefined
              ? parked(delivery, Duration.toMillis(delay.value))
              : Effect.suspend(() => {
                Settled.count("retry", delivery)
                return intake.retry(turn, Duration.toMillis(delay.value), handedBack(delivery))
              })
            return Effect.zipRight(later, Effect.sync(() => state.running.delete(delivery)))
          }
        )
      case "DeadLetter":
        return Effect.zipRight(deadLetter, finish(turn))
      case "Discard":
        return Effect.zipRight(settled(turn, "discard", Delivery.use(delivery, () => Effect.void)), finish(turn))
      case "Stop":
        state.running.delete(delivery)
        Settled.count("stop", delivery)
        return Effect.asVoid(stop(cause))
    }

    /** In the pending list, which keeps a delay of at most `minIdle`; what exceeds it is waited for here. */
    function parked(delivery: Delivery.Delivery<A>, delay: number): Effect.Effect<void> {
      const longest = Duration.toMillis(Delivery.minIdle(delivery))
      const until = performance.now() + delay
      const park = Effect.suspend(() =>
        settled(
          turn,
          "retry",
          Delivery.retryAfter(delivery, Math.min(longest, Math.max(0, until - performance.now())))
        )
      )
      return delay <= longest
        ? park
        : intake.held.keep(delivery, until - longest, { over: park, lost: Effect.void, stopped: park })
    }
  }

  return { failed, died }
}

const words: Readonly<Record<number, string>> = { 1: "once", 2: "twice", 3: "three times" }

/** As in the metric. */
const names = { Retry: "retry", DeadLetter: "dead_letter", Discard: "discard", Stop: "stop" } as const

/** The kind of a failure that has neither tag nor class, without its text: it may be a value. */
const kindOf = (cause: Cause.Cause<unknown>): string => {
  const failure = Cause.squash(cause)
  return failure === null || failure === undefined
    ? `a failure that is ${failure}`
    : `a failure that is a ${typeof failure}`
}

/** The text of an error of MySQL names tables and holds no value; that of anybody else's error might. */
const describe = (cause: Cause.Cause<unknown>): string | undefined => {
  const failure = Cause.failureOption(cause)
  return failure._tag === "Some" && MysqlError.isMysqlError(failure.value) ? failure.value.message : undefined
}
