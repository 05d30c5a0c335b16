/**
 * Many deliveries in one transaction and one ack.
 *
 * Each delivery's bracket is open around the whole of it, so that its lease is renewed, and ends by the verdict on its
 * message: acked after COMMIT, all in one command, or left to the caller's word. A lost lease interrupts the transaction,
 * and the others go on without that message.
 *
 * @internal
 */
import * as Inbox from "@safesync/mysql/Inbox"
import * as Delivery from "@safesync/redis-streams/Delivery"
import * as Arr from "effect/Array"
import * as Cause from "effect/Cause"
import * as Chunk from "effect/Chunk"
import * as Data from "effect/Data"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as FiberId from "effect/FiberId"
import * as Mailbox from "effect/Mailbox"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { Failure, Worker } from "../Worker.js"
import type { BatchOptions } from "../WorkerOptions.js"
import * as intake from "./intake.js"
import * as lifecycle from "./lifecycle.js"
import { observedBatch } from "./observed.js"
import * as Settled from "./settled.js"
import { settling } from "./settling.js"
import { State } from "./state.js"
import * as transacted from "./transacted.js"

/** The verdict on a message that is not to be acked by its bracket. */
class Refused extends Data.Error<{}> {}

/** One delivery of a batch. */
interface Member<A> {
  readonly delivery: Delivery.Delivery<A>
  readonly verdict: Deferred.Deferred<void, Refused>
  /** Where its bracket is open. */
  readonly bracket: Fiber.RuntimeFiber<void, unknown>
  /** Somebody else has it, or it could not begin. */
  gone: boolean
}

export const make = <A, E1, R1, B, E, R>(
  source: Stream.Stream<Delivery.Delivery<A>, E1, R1>,
  handler: (deliveries: Arr.NonEmptyReadonlyArray<Delivery.Delivery<A>>) => Effect.Effect<B, E, R>,
  options: BatchOptions<A, E>
): Effect.Effect<Worker<E1 | Failure<E>>, never, R1 | transacted.Environment<R> | Scope.Scope> =>
  Effect.gen(function*() {
    const size = yield* intake.requireCount("size", options.size)
    const concurrency = yield* intake.requireCount("concurrency", options.concurrency ?? 1)
    const maxWaiting = yield* intake.requireCount("maxWaiting", options.maxWaiting ?? 1_000)
    const state = new State()
    const stopped = yield* Deferred.make<void, Failure<E>>()
    const batches = yield* Mailbox.make<Chunk.Chunk<Delivery.Delivery<A>>>({ capacity: concurrency })
    const waiting = yield* intake.make<A>({ concurrency: 1, key: undefined, maxWaiting })
    const settle = settling(
      options.onFailure,
      state,
      waiting,
      (cause: Cause.Cause<Failure<E>>) => Deferred.failCause(stopped, cause)
    )
    const transact = transaction(handler, options)
    const handleBatch = handle(
      state,
      transact,
      (delivery, cause) => settle({ delivery, key: undefined, kept: false }, cause)
    )
    return yield* lifecycle.start(Stream.groupedWithin(source, size, options.within), {
      name: options.name ?? "worker",
      concurrency,
      drainTimeout: options.drainTimeout,
      state,
      stopped,
      read: (chunk) =>
        Effect.zipRight(batches.offerAll(Chunk.filter(chunk, Chunk.isNonEmpty)), waiting.add(Chunk.empty())),
      take: batches.take,
      handle: (batch) => observedBatch(batch, handleBatch(batch)),
      aside: Effect.void,
      end: batches.end,
      stop: batches.shutdown,
      release: waiting.release,
      waiting: () => waiting.waiting
    })
  })

/** The transaction of a batch or a part of it. */
const transaction = <A, B, E, R>(
  handler: (deliveries: Arr.NonEmptyReadonlyArray<Delivery.Delivery<A>>) => Effect.Effect<B, E, R>,
  options: BatchOptions<A, E>
) => {
  const { inbox } = options
  const inTransaction = transacted.make(options)
  const idOf = (delivery: Delivery.Delivery<A>) =>
    inbox === "message-id" || inbox === "off" ? delivery.messageId : inbox(delivery.value, delivery)
  return (deliveries: ReadonlyArray<Delivery.Delivery<A>>) =>
    inTransaction(() => {
      if (inbox === "off") return Arr.isNonEmptyReadonlyArray(deliveries) ? handler(deliveries) : Effect.void
      // A source may be of several streams: entry ids are unique in one of them.
      const byGroup = Object.entries(Arr.groupBy(deliveries, transacted.inboxGroup))
      return Effect.flatMap(
        Effect.forEach(byGroup, ([group, members]) => {
          const byId = new Map<string, Delivery.Delivery<A>>()
          for (const delivery of members) {
            const id = idOf(delivery)
            if (!byId.has(id)) byId.set(id, delivery)
          }
          return Effect.map(Inbox.onceMany(byId.keys(), group), (ids) => new Set(ids.map((id) => byId.get(id)!)))
        }),
        (fresh) => {
          const unseen = deliveries.filter((delivery) => fresh.some((_) => _.has(delivery)))
          return Arr.isNonEmptyReadonlyArray(unseen) ? handler(unseen) : Effect.void
        }
      )
    }, Effect.void)
}

const handle = <A, E, R>(
  state: State,
  transact: (deliveries: ReadonlyArray<Delivery.Delivery<A>>) => Effect.Effect<void, Failure<E>, R>,
  settle: (delivery: Delivery.Delivery<A>, cause: Cause.Cause<Failure<E>>) => Effect.Effect<void>
) =>
(batch: Chunk.Chunk<Delivery.Delivery<A>>): Effect.Effect<void, never, R> =>
  Effect.gen(function*() {
    /** Called when a member has gone while a transaction runs. */
    let interrupted: (() => void) | undefined
    const members: Array<Member<A>> = []
    for (const delivery of batch) {
      state.begin(delivery)
      const verdict = Deferred.unsafeMake<void, Refused>(FiberId.none)
      const begun = Deferred.unsafeMake<void>(FiberId.none)
      const bracket = yield* Effect.fork(
        Delivery.use(delivery, () => Effect.zipRight(Deferred.succeed(begun, undefined), Deferred.await(verdict)))
      )
      const member: Member<A> = { delivery, verdict, bracket, gone: false }
      bracket.addObserver(() => {
        Deferred.unsafeDone(begun, Exit.void)
        member.gone = true
        interrupted?.()
      })
      members.push(member)
      yield* Deferred.await(begun)
    }

    const finish = (part: ReadonlyArray<Member<A>>) =>
      Effect.zipRight(
        Effect.sync(() => part.forEach(({ verdict }) => Deferred.unsafeDone(verdict, Exit.void))),
        Effect.forEach(part, ({ bracket, delivery }) =>
          Effect.flatMap(Fiber.await(bracket), (exit) => {
            if (Exit.isSuccess(exit)) {
              state.succeeded(delivery)
              return Settled.count("acked", delivery)
            }
            state.running.delete(delivery)
            return Settled.left(delivery, Cause.squash(exit.cause) as Error)
          }), { discard: true })
      )

    const refuse = ({ bracket, delivery, verdict }: Member<A>, cause: Cause.Cause<Failure<E>>) =>
      Effect.zipRight(
        Deferred.fail(verdict, new Refused()),
        Effect.zipRight(Fiber.await(bracket), settle(delivery, cause))
      )

    const handlePart = (part: ReadonlyArray<Member<A>>): Effect.Effect<void, never, R> =>
      Effect.gen(function*() {
        const held = part.filter((member) => !member.gone)
        if (held.length === 0) return
        const running = yield* Effect.fork(transact(held.map(({ delivery }) => delivery)))
        interrupted = () => held.some((member) => member.gone) && running.unsafeInterruptAsFork(FiberId.none)
        // One may have gone before anybody listened.
        interrupted()
        const exit = yield* Fiber.await(running)
        interrupted = undefined
        if (Exit.isSuccess(exit)) return yield* finish(held)
        if (held.some((member) => member.gone)) return yield* handlePart(held)
        if (held.length > 1 && isOfOneMessage(exit.cause)) {
          const middle = held.length >> 1
          yield* handlePart(held.slice(0, middle))
          return yield* handlePart(held.slice(middle))
        }
        yield* Effect.forEach(held, (member) => refuse(member, exit.cause), { discard: true })
      })

    yield* handlePart(members)
    // Those that have gone are somebody else's, or could not begin.
    yield* Effect.forEach(members, ({ bracket, delivery, gone }) =>
      gone && state.running.delete(delivery)
        ? Effect.flatMap(
          Fiber.await(bracket),
          (exit) => Exit.isFailure(exit) ? Settled.left(delivery, Cause.squash(exit.cause) as Error) : Effect.void
        )
        : Effect.void, { discard: true })
  })

/** Whether a smaller part may succeed: not where the database cannot be reached, nor where the outcome is unknown. */
const isOfOneMessage = (cause: Cause.Cause<unknown>): boolean => {
  const error = Cause.failureOption(cause)
  if (error._tag === "None") return true
  const { _tag, reason } = error.value as { readonly _tag?: string; readonly reason?: string }
  return _tag !== "BeginFailed" && _tag !== "ConnectionLost" && _tag !== "CommitOutcomeUnknown" &&
    !(_tag === "TransactionAborted" && reason === "connection-lost")
}
