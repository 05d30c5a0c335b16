/**
 * An advisory lock that is held outside of any transaction: how it is taken, watched and given back.
 *
 * @internal
 */
import { MysqlClient } from "@effect/sql-mysql2/MysqlClient"
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as FiberId from "effect/FiberId"
import type * as MysqlError from "../MysqlError.js"
import * as ambient from "./ambient.js"
import { bounded } from "./bounded.js"
import * as duration from "./duration.js"
import { getLock, type WouldDeadlock } from "./getLock.js"
import * as lockConnections from "./lockConnections.js"
import * as lockName from "./lockName.js"
import * as lockTimes from "./lockTimes.js"
import type { Restore } from "./reservation.js"
import type { Session } from "./session.js"

export interface Held {
  readonly session: Session
  readonly lock: lockName.LockName
  readonly encoded: string
  /** Never succeeds; fails with the reason once the connection is gone. */
  readonly gone: Effect.Effect<never, unknown>
  readonly place: lockConnections.Place
  readonly heart: Fiber.RuntimeFiber<unknown>
  /** To be called when it is held no more. */
  readonly over: () => void
}

/** The client, whose locks are not to be taken inside a transaction: its snapshot would be older than they are. */
export const client: Effect.Effect<MysqlClient, never, MysqlClient> = Effect.contextWithEffect(
  (context: Context.Context<MysqlClient>) => {
    const client = Context.get(context, MysqlClient)
    return ambient.open(context, client) === undefined
      ? Effect.succeed(client)
      : Effect.dieMessage(
        "AdvisoryLock.acquire was called inside a transaction, whose snapshot is older than the lock. " +
          "Use AdvisoryLock.acquireInTransaction, or take the lock before the transaction."
      )
  }
)

/** Nothing where it was not granted in time. */
export const hold = (
  client: MysqlClient,
  { heartbeatMillis, name, named, timeoutMillis }: {
    readonly name: string
    readonly named: lockName.Named
    readonly timeoutMillis: number
    readonly heartbeatMillis: number
  },
  restore: Restore
): Effect.Effect<
  Held | undefined,
  WouldDeadlock | MysqlError.MysqlError | MysqlError.TransactionAborted
> =>
  Effect.suspend(() => {
    const place = lockConnections.place(client, JSON.stringify([named.raw === true, named.namespace, name]))
    const gone = Deferred.unsafeMake<never, unknown>(FiberId.none)
    let asked: { readonly session: Session; readonly lock: lockName.LockName } | undefined
    let over = () => {}
    const granted = Effect.flatMap(place.turn(timeoutMillis), (left) =>
      left === undefined ? Effect.succeed(false) : bounded(
        Effect.flatMap(place.connect, (session) => {
          const lock = lockName.of(name, named, session.database)
          asked = { session, lock }
          session.onLost = (cause) =>
            Deferred.unsafeDone(gone, Effect.fail(cause))
          session.phase = { _tag: "Open", transaction: false }
          return getLock(session, lock, left)
        }),
        "GET_LOCK",
        left + answerMillis
      ))
    const undone = Effect.suspend(() =>
      // An interrupted wait may have been granted on the server.
      asked === undefined ? place.leave : giveBack(asked.session, asked.lock, place, hurryMillis)
    )
    return Effect.matchCauseEffect(
      lockTimes.waiting(restore(granted), "advisory", (granted) => {
        if (!granted) {
          return "advisory_lock_timeout"
        }
        over = lockTimes.held("advisory")
        return "granted"
      }),
      {
        onFailure: (cause) =>
          Effect.zipRight(undone, Effect.failCause(cause)),
        onSuccess: (granted) =>
          granted && asked !== undefined
            ? Effect.map(
              Effect.forkDaemon(Effect.interruptible(heartbeat(asked.session, heartbeatMillis))),
              (heart): Held => ({
                ...asked!,
                encoded: asked!.lock.encoded,
                gone: Deferred.await(gone),
                place,
                heart,
                over
              })
            )
            : Effect.as(undone, undefined)
      }
    )
  })

/**
 * Fails with the reason where the connection was gone before. Where the work under the lock
 * has not succeeded, a connection that does not answer soon is closed, which releases the lock too.
 */
export const letGo = (held: Held, exit: Exit.Exit<unknown, unknown>): Effect.Effect<void, unknown> =>
  Effect.zipRight(
    Fiber.interrupt(held.heart),
    Effect.suspend(() => {
      // Asked before the release, whose own trouble leaves a lock that was held to the end.
      const { phase } = held.session
      return Effect.zipRight(
        Effect.map(
          giveBack(held.session, held.lock, held.place, Exit.isSuccess(exit) ? releaseMillis : hurryMillis),
          held.over
        ),
        phase._tag === "Lost" ? Effect.fail(phase.cause) : Effect.void
      )
    })
  )

// internal

/** How long a release may take, the answer to a heartbeat before it included. */
const releaseMillis = 5_000
const hurryMillis = 250

/** How much longer than the wait for the lock its connection and its answer may take. */
const answerMillis = 4_000

const heartbeat = (session: Session, everyMillis: number): Effect.Effect<never> =>
  Effect.forever(Effect.zipRight(Effect.sleep(everyMillis), Effect.ignore(session.control("DO 0", everyMillis))))

/** A release without an answer leaves the connection in doubt, and closing it releases the lock too. */
const giveBack = (
  session: Session,
  { literal }: lockName.LockName,
  place: lockConnections.Place,
  millis: number
): Effect.Effect<void> =>
  Effect.zipRight(
    Effect.async<void>((resume) => {
      const inDoubt = (cause: unknown) => {
        session.abandon(cause)
        done()
      }
      const bound = duration.later(() => inDoubt(new Error(`No release within ${millis} ms`)), millis)
      const done = () => {
        clearTimeout(bound)
        resume(Effect.void)
      }
      Effect.runCallback(session.control(`DO RELEASE_LOCK(${literal})`, millis), {
        onExit: (exit) => exit._tag === "Success" ? done() : inDoubt(Cause.squash(exit.cause))
      })
    }),
    place.leave
  )
