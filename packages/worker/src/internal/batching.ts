/**
 * Many deliveries in one transaction and one ack.
 *
 * One bracket is open around all of them, so that their leases are renewed, and acks them after COMMIT in one command. A lost lease
 * interrupts the transaction, and the others go on without that message.
 *
 * @internal
 */
import * as Inbox from "@safesync/mysql/Inbox"
import * as Delivery from "@safesync/redis-streams/Delivery"
import * as RedisError from "@safesync/redis-streams/RedisError"
import * as Arr from "effect/Array"
import type * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type * as Stream from "effect/Stream"
import * as Disposition from "../Disposition.js"
import type { Failure, Worker } from "../Worker.js"
import type { BatchOptions } from "../WorkerOptions.js"
import { Batches } from "./batches.js"
import * as intake from "./intake.js"
import * as lifecycle from "./lifecycle.js"
import { observedBatch } from "./observed.js"
import * as required from "./options.js"
import * as Settled from "./settled.js"
import { type Settling, settling } from "./settling.js"
import { State } from "./state.js"
import * as transacted from "./transacted.js"

export const make = <A, E1, R1, B, E, R>(
  source: Stream.Stream<Delivery.Delivery<A>, E1, R1>,
  handler: (deliveries: Arr.NonEmptyReadonlyArray<Delivery.Delivery<A>>) => Effect.Effect<B, E, R>,
  options: BatchOptions<A, E>
): Effect.Effect<Worker<E1 | Failure<E>>, never, R1 | transacted.Environment<R> | Scope.Scope> =>
  Effect.gen(function*() {
    yield* required.words(options)
    const size = yield* required.count("Worker", "size", options.size)
    const concurrency = yield* required.count("Worker", "concurrency", options.concurrency ?? 1)
    const maxWaiting = yield* required.count("Worker", "maxWaiting", options.maxWaiting ?? 1_000)
    const maxDeaths = yield* required.count("Worker", "maxDeaths", options.maxDeaths ?? 3)
    const state = yield* State.make(options.name ?? "worker")
    const stopped = yield* Deferred.make<void, Failure<E>>()
    const batches = new Batches<A>({
      concurrency,
      size,
      within: Duration.toMillis(options.within),
      maxWaiting
    })
    const waiting = new intake.Intake<A>({ concurrency: 1, key: undefined, maxWaiting })
    const settle = settling(
      options.onFailure,
      state,
      waiting,
      (cause: Cause.Cause<Failure<E>>) => Deferred.failCause(stopped, cause)
    )
    const handleBatch = handle(state, transaction(handler, options), settle, maxDeaths)
    return yield* lifecycle.start(source, {
      name: options.name ?? "worker",
      loops: 2 * concurrency,
      drainTimeout: options.drainTimeout,
      state,
      stopped,
      read: (chunk) => Effect.zipRight(batches.add(chunk), waiting.room),
      take: batches.slots.take,
      handle: (batch) =>
        Effect.map(
          observedBatch(batch.turns, handleBatch(batch.turns, () => batches.slots.leave(batch))),
          () => batches.slots.ended(batch)
        ),
      aside: Effect.void,
      end: batches.end,
      stop: Effect.zipRight(batches.stop, waiting.stop),
      release: waiting.release,
      gone: batches.slots.gone,
      waiting: () => waiting.waiting + batches.slots.suspects,
      demand: () => batches.demand,
      unbegun: () => waiting.unbegun + batches.unbegun
    })
  })

/** The transaction of a batch or a part of it. */
const transaction = <A, B, E, R>(
  handler: (deliveries: Arr.NonEmptyReadonlyArray<Delivery.Delivery<A>>) => Effect.Effect<B, E, R>,
  options: BatchOptions<A, E>
) => {
  const { inbox } = options
  const inTransaction = transacted.make(options)
  return (deliveries: ReadonlyArray<Delivery.Delivery<A>>, committed: () => void) =>
    inTransaction(() => {
      if (inbox === "off") return Arr.isNonEmptyReadonlyArray(deliveries) ? handler(deliveries) : Effect.void
      // A source may be of several streams, and of several identities.
      const byGroup = new Map<string, Map<string, Delivery.Delivery<A>>>()
      for (const delivery of deliveries) {
        const { group, id } = transacted.identity(inbox, delivery)
        let byId = byGroup.get(group)
        if (byId === undefined) byGroup.set(group, byId = new Map())
        if (!byId.has(id)) byId.set(id, delivery)
      }
      return Effect.flatMap(
        // In one order everywhere, as the ids of each: batches that overlap do not wait crosswise.
        Effect.forEach([...byGroup].sort(([a], [b]) => a < b ? -1 : 1), ([group, byId]) =>
          Effect.map(Inbox.onceMany(byId.keys(), group), (ids) =>
            new Set(ids.map((id) => byId.get(id)!)))),
        (fresh) => {
          const unseen = deliveries.filter((delivery) =>
            fresh.some((_) => _.has(delivery))
          )
          return Arr.isNonEmptyReadonlyArray(unseen) ? handler(unseen) : Effect.void
        }
      )
    }, committed)
}

const handle = <A, E, R>(
  state: State,
  transact: (
    deliveries: ReadonlyArray<Delivery.Delivery<A>>,
    committed: () => void
  ) => Effect.Effect<void, Failure<E>, R>,
  settle: Settling<A, E>,
  maxDeaths: number
) => {
  /** It stays pending: somebody else's, or Redis is away. */
  const leave = ({ delivery }: intake.Turn<A>, error: RedisError.RedisError): Effect.Effect<void> => {
    state.running.delete(delivery)
    return Settled.left(state, delivery, error)
  }
  const acked = (deliveries: ReadonlyArray<Delivery.Delivery<A>>): void => {
    for (const delivery of deliveries) {
      state.succeeded(delivery)
      Settled.count("acked", delivery)
    }
  }

  /** Those that were somebody else's already. */
  const others = (
    part: ReadonlyArray<intake.Turn<A>>,
    begun: ReadonlyArray<Delivery.Delivery<A>>
  ): Effect.Effect<void> => {
    if (begun.length === part.length) return Effect.void
    const ours = new Set(begun)
    const theirs = part.filter(({ delivery }) => !ours.has(delivery))
    return Effect.forEach(theirs, (turn) => leave(turn, lost(turn.delivery)), { discard: true })
  }

  /** `last`: nothing is left of the batch to be begun. */
  const handlePart = (part: ReadonlyArray<intake.Turn<A>>, last: () => void): Effect.Effect<void, never, R> => {
    let begun: ReadonlyArray<Delivery.Delivery<A>> = []
    let committed = false
    const inTransaction = (deliveries: ReadonlyArray<Delivery.Delivery<A>>) => {
      begun = deliveries
      return deliveries.length === 0 ? Effect.void : Effect.catchAllCause(
        transact(deliveries, () => {
          committed = true
          for (const delivery of deliveries) state.committed(delivery)
          last()
        }),
        (failure) => Effect.fail(new transacted.HandlerFailed({ failure }))
      )
    }
    const [{ alone, delivery }] = part as readonly [intake.Turn<A>]
    const used = alone
      ? Delivery.useAlone(delivery, maxDeaths, () => inTransaction([delivery]))
      : Delivery.useMany(part.map(({ delivery }) => delivery), inTransaction)
    return Effect.matchEffect(used, {
      onSuccess: () => {
        acked(begun)
        return others(part, begun)
      },
      onFailure: (error) => {
        if (error instanceof transacted.HandlerFailed) {
          const ours = new Set(begun)
          return Effect.zipRight(
            others(part, begun),
            failed(part.filter(({ delivery }) => ours.has(delivery)), error.failure, last)
          )
        }
        if (error._tag === "ProcessDied") return settle.died(part[0]!, error.times)
        // One ack may be refused while the others are not.
        if (committed) acked(begun.filter(Delivery.isSettled))
        const left = part.filter(({ delivery }) => !Delivery.isSettled(delivery))
        const gone = error._tag === "LeaseLost" ? left.filter(({ delivery }) => Delivery.isLost(delivery)) : left
        const rest = gone.length === 0 ? [] : left.filter((turn) => !gone.includes(turn))
        return Effect.zipRight(
          Effect.forEach(gone.length === 0 ? left : gone, (turn) => leave(turn, error), { discard: true }),
          // What was committed is acked alone.
          rest.length === 0 ? Effect.void : committed ? ackAll(rest) : handlePart(rest, last)
        )
      }
    })
  }

  const failed = (
    part: ReadonlyArray<intake.Turn<A>>,
    cause: Cause.Cause<Failure<E>>,
    last: () => void
  ): Effect.Effect<void, never, R> => {
    const whole = Effect.suspend(() => Effect.forEach(part, (turn) => settle.failed(turn, cause), { discard: true }))
    if (part.length === 1) return whole
    const middle = part.length >> 1
    return Effect.flatMap(
      state.probe.judge(cause, part.map(({ delivery }) => delivery)),
      () =>
        Disposition.isOfAll(cause) ? whole : Effect.zipRight(
          handlePart(part.slice(0, middle), () => {}),
          Effect.suspend(() => handlePart(part.slice(middle), last))
        )
    )
  }

  const ackAll = (part: ReadonlyArray<intake.Turn<A>>): Effect.Effect<void> => {
    const deliveries = part.map(({ delivery }) => delivery)
    return Effect.matchEffect(Delivery.useMany(deliveries, Effect.succeed), {
      onSuccess: (begun) => Effect.zipRight(Effect.sync(() => acked(begun)), others(part, begun)),
      onFailure: (error) => Effect.forEach(part, (turn) => leave(turn, error), { discard: true })
    })
  }

  return (batch: ReadonlyArray<intake.Turn<A>>, last: () => void): Effect.Effect<void, never, R> =>
    Effect.suspend(() => {
      for (const { delivery } of batch) state.begin(delivery)
      return handlePart(batch, last)
    })
}

const lost = ({ id, stream }: Delivery.Delivery<unknown>): RedisError.RedisError =>
  new RedisError.LeaseLost({ command: "Worker.runBatch", detail: "somebody else has taken it", stream, id })
