/**
 * What is done with one delivery, from its turn to its settlement.
 *
 * @internal
 */
import * as Inbox from "@safesync/mysql/Inbox"
import * as Delivery from "@safesync/redis-streams/Delivery"
import * as RedisError from "@safesync/redis-streams/RedisError"
import type * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type { Failure } from "../Worker.js"
import type { Options } from "../WorkerOptions.js"
import { handedBack, type Intake, type Turn } from "./intake.js"
import { observed } from "./observed.js"
import { untilRedisIsBack } from "./retryDelay.js"
import * as Settled from "./settled.js"
import { settling } from "./settling.js"
import type { State } from "./state.js"
import * as transacted from "./transacted.js"

/**
 * Handles one delivery. Never fails: what went wrong is settled, counted and logged here. A defect, such as one of
 * `onFailure` itself, ends the worker.
 */
export const make = <A, B, E, R>(
  handler: (value: A, delivery: Delivery.Delivery<A>) => Effect.Effect<B, E, R>,
  options: Options<A, E>,
  state: State,
  intake: Intake<A>,
  stop: (cause: Cause.Cause<Failure<E>>) => Effect.Effect<unknown>,
  maxDeaths: number
): (turn: Turn<A>) => Effect.Effect<void, never, transacted.Environment<R>> => {
  const { inbox } = options
  const inTransaction = transacted.make(options)
  const settle = settling(options.onFailure, state, intake, stop)

  const once = (turn: Turn<A>, value: A) => {
    const { delivery } = turn
    const body = () => {
      if (inbox === "off") return handler(value, delivery)
      const { group, id } = transacted.identity(inbox, delivery)
      return Inbox.once(id, group)(Effect.suspend(() => handler(value, delivery)))
    }
    return inTransaction(body, () => {
      state.committed(delivery)
      intake.slots.leave(turn)
    })
  }

  const handle = (turn: Turn<A>): Effect.Effect<void, never, transacted.Environment<R>> => {
    const { delivery, key } = turn
    state.begin(delivery)
    const inBracket = (value: A) =>
      Effect.catchAllCause(once(turn, value), (failure) => Effect.fail(new transacted.HandlerFailed({ failure })))
    const acked = turn.alone
      ? Delivery.useAlone(delivery, maxDeaths, inBracket)
      : Delivery.use(delivery, inBracket)
    return Effect.matchEffect(acked, {
      onSuccess: () => {
        state.succeeded(delivery)
        Settled.count("acked", delivery)
        return intake.done(turn)
      },
      onFailure: (error) => {
        // The rest that is to do for it may take as long as Redis is away, and others need not wait for that.
        if (turn.alone) intake.slots.ended(turn)
        if (error instanceof transacted.HandlerFailed) return settle.failed(turn, error.failure)
        if (error._tag === "ProcessDied") return settle.died(turn, error.times)
        // Its handler has not run, and those behind it must not overtake it.
        if (!state.isCommitted(delivery) && key !== undefined && RedisError.isOutage(error)) {
          if (!turn.alone) return Effect.zipRight(Effect.sleep(untilRedisIsBack), Effect.suspend(() => handle(turn)))
          state.running.delete(delivery)
          return intake.retry(turn, Duration.toMillis(untilRedisIsBack), handedBack(delivery), 0)
        }
        state.running.delete(delivery)
        return Effect.zipRight(Settled.left(state, delivery, error), intake.done(turn))
      }
    })
  }
  const trace = options.trace ?? "link"
  return (turn) => Effect.map(observed(turn, trace, Effect.suspend(() => handle(turn))), () => intake.slots.ended(turn))
}
