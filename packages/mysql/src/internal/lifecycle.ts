/**
 * How a transaction begins and ends: the tables of `Transaction`'s docstring, line by line.
 *
 * @internal
 */
import type { MysqlClient } from "@effect/sql-mysql2/MysqlClient"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import type * as MysqlError from "../MysqlError.js"
import type { Options } from "../Transaction.js"
import * as TransactionError from "../TransactionError.js"
import * as Begin from "./begin.js"
import * as Blockers from "./blockers.js"
import * as CommitOracle from "./commitOracle.js"
import type { ControlFailure } from "./control.js"
import { loggable, messageOf } from "./described.js"
import * as duration from "./duration.js"
import * as Outcome from "./outcome.js"
import * as ownStatements from "./ownStatements.js"
import * as phase from "./phase.js"
import * as reservation from "./reservation.js"
import type { Session } from "./session.js"
import * as tracing from "./tracing.js"

export type Restore = reservation.Restore

/** Of `Transaction`. */
export const TypeId: unique symbol = Symbol.for("@safesync/mysql/Transaction")
export type TypeId = typeof TypeId

export interface State {
  readonly [TypeId]: TypeId
  readonly client: MysqlClient
  readonly connectionId: number
  readonly session: Session
  readonly controlMillis: number
  /** Asked what became of a COMMIT whose answer was lost; without it that is `CommitOutcomeUnknown`. */
  readonly commitOracle: CommitOracle.CommitOracle | undefined
  /**
   * Statements that follow COMMIT or ROLLBACK, in the same packet: a released lock and a restored variable cost no round
   * trip, and whoever waits for the lock gets it sooner. Only such as cannot fail once the transaction has ended, since
   * their error could not be told from COMMIT's.
   */
  readonly atEnd: Array<string>
  /** Told once the transaction is over, however it ended, with the locks that it held gone: must not throw. */
  readonly onEnd: Array<() => void>
  readonly afterCommit: Array<Effect.Effect<void>>
  savepoints: number
  /** When a connection was asked for, and when COMMIT was sent, by `performance.now()`. */
  readonly began: number
  committing: number
}

/**
 * Takes a connection. BEGIN is sent at once, or `"lazily"` with the first statement, in one packet where that is possible; a
 * failure of it is then the failure of that statement, and `beginFailed` tells.
 */
export const open = (
  client: MysqlClient,
  options: Options,
  restore: Restore,
  when: "at once" | "lazily",
  /** Added to each statement. */
  comment: string | undefined,
  /** Whether a connection is waited for within a bound. */
  inTime = false
): Effect.Effect<State, TransactionError.BeginFailed> => {
  const began = performance.now()
  const controlMillis = options.controlTimeout === undefined ? 30_000 : duration.toMillis(options.controlTimeout)
  if (controlMillis < 1) {
    return Effect.dieMessage("controlTimeout must be at least a millisecond: no answer comes in less")
  }
  const commitOracle = options.commitOracle === undefined || options.accessMode === "read-only"
    ? undefined
    : CommitOracle.make(client, options.commitOracle)
  // Before a connection is taken, which nobody would give back where an option is none and this throws.
  const begin = Begin.of(options, controlMillis)
  return Effect.matchEffect(reservation.make(client, restore, inTime ? controlMillis : undefined), {
    onFailure: (error) => neverBegan(error, began),
    onSuccess: (session) => {
      session.comment = comment
      session.own = ownStatements.of(client)
      if (options.blockerDetails === true) session.blockers = Blockers.of(client)
      const opened = (): State => {
        const afterCommit: State["afterCommit"] = []
        session.savepoints.onSet(() => {
          const registered = afterCommit.length
          const inbox = commitOracle?.inbox
          return () => {
            afterCommit.length = registered
            // What is undone may be the inbox's row.
            if (commitOracle !== undefined) commitOracle.inbox = inbox
          }
        })
        return {
          [TypeId]: TypeId,
          client,
          connectionId: session.connectionId,
          session,
          controlMillis,
          commitOracle,
          atEnd: Begin.setBack(options),
          onEnd: [],
          afterCommit,
          savepoints: 0,
          began,
          committing: 0
        }
      }
      if (when === "lazily") {
        session.beginLater(begin)
        return Effect.succeed(opened())
      }
      return Effect.matchEffect(session.control(begin.sql, controlMillis, phase.open), {
        onFailure: ({ error }) => {
          // What precedes BEGIN in its packet may have been done.
          session.soiled = true
          return Effect.zipRight(reservation.release(session), neverBegan(error, began))
        },
        onSuccess: () => Effect.sync(opened)
      })
    }
  })
}

/** The failure of a transaction's body, as `BeginFailed` where it is BEGIN that failed. */
export const beginFailed = <E>(state: State, error: E): E | TransactionError.BeginFailed =>
  state.session.beginFailure !== undefined && error as unknown === state.session.beginFailure
    ? new TransactionError.BeginFailed({ cause: error })
    : error

/** The upper half of the table: the body succeeded. What it has left running is waited for, as long as nobody interrupts. */
export const commit = (state: State, restore: Restore): Effect.Effect<void, TransactionError.TransactionError> =>
  Effect.suspend(() => {
    const { session } = state
    if (session.phase._tag === "Open" && session.nesting.isInside) {
      const left = Cause.die(new Cause.RuntimeException(phase.leftOpen(state.connectionId)))
      return Effect.zipRight(rollback(state, left), Effect.failCause(left))
    }
    session.end("those that wait")
    return session.isBusy
      ? Effect.matchCauseEffect(restore(session.quiet()), {
        onFailure: (cause) => Effect.zipRight(rollback(state, cause), Effect.failCause(cause)),
        onSuccess: () => commitNow(state)
      })
      : commitNow(state)
  })

/** To be called when its time has come. */
const commitNow = (state: State): Effect.Effect<void, TransactionError.TransactionError> => {
  const { connectionId, controlMillis, session } = state
  if (session.phase._tag !== "Open") {
    const aborted = phase.aborted(session.phase, connectionId)
    return Effect.zipRight(undo(state), Effect.zipRight(ended(state, "aborted"), Effect.fail(aborted)))
  }
  if (!session.hasBegun) {
    session.phase = phase.idle
    return settled(state)
  }
  state.committing = performance.now()
  session.sentCommit = true
  const statements = [...CommitOracle.statements(state.commitOracle), Begin.commit, ...state.atEnd]
  const committed = tracing.span(
    "COMMIT",
    "client",
    () => tracing.operation("COMMIT", session.database),
    session.control(statements.join("; "), controlMillis, phase.idle)
  )
  return Effect.matchEffect(committed, {
    onSuccess: () => settled(state),
    onFailure: (failure) => Effect.zipRight(undo(state), unanswered(state, failure))
  })
}

/** To be called when its time has come. */
const settled = (state: State): Effect.Effect<void> => {
  over(state)
  count(state, "committed")
  const released = reservation.release(state.session)
  return state.afterCommit.length === 0 ? released : Effect.zipRight(released, runAfterCommit(state))
}

/** The second table: what the answer to COMMIT, or its absence, means. */
const unanswered = (
  state: State,
  { error, lost, sent }: ControlFailure
): Effect.Effect<void, TransactionError.TransactionError> => {
  const { connectionId } = state
  if (!sent) {
    const aborted = phase.aborted({ _tag: "Lost", cause: error }, connectionId)
    return Effect.zipRight(ended(state, "aborted"), Effect.fail(aborted))
  }
  // A killed COMMIT may have been past the point of no return.
  if (!lost && error._tag !== "StatementInterrupted") return refused(state, error)
  return Effect.flatMap(
    ask(state),
    (answer): Effect.Effect<void, TransactionError.TransactionError> =>
      answer === "committed"
        ? Effect.zipRight(ended(state, "committed"), runAfterCommit(state))
        : answer === "not committed"
        ? refused(state, error)
        : Effect.zipRight(
          ended(state, "commit_unknown"),
          Effect.fail(new TransactionError.CommitOutcomeUnknown({ connectionId, cause: error }))
        )
  )
}

const refused = (state: State, cause: MysqlError.MysqlError) =>
  Effect.zipRight(
    ended(state, "commit_failed"),
    Effect.fail(new TransactionError.CommitFailed({ connectionId: state.connectionId, cause }))
  )

/** Interruptible, since the caller's schedule may be a long one: who is interrupted meanwhile has not found out. */
const ask = (
  { commitOracle, connectionId, controlMillis }: State
): Effect.Effect<"committed" | "not committed" | "unknown"> =>
  commitOracle === undefined
    ? Effect.succeed("unknown")
    : Effect.matchCauseEffect(
      Effect.interruptible(CommitOracle.wasCommitted(commitOracle, connectionId, controlMillis)),
      {
        onSuccess: (yes) => Effect.succeed(yes ? "committed" : "not committed"),
        onFailure: (cause) =>
          Effect.as(
            Effect.annotateLogs(
              Effect.logWarning("What became of a lost COMMIT could not be found out"),
              "error",
              messageOf(Cause.squash(cause))
            ),
            "unknown"
          )
      }
    )

/** The lower half of the table: whatever happens here, the body's cause stands. */
export const rollback = (state: State, cause: Cause.Cause<unknown>): Effect.Effect<void> =>
  Effect.suspend(() => {
    state.session.end("none")
    return Effect.zipRight(
      state.session.interruptRunning(Cause.isInterrupted(cause)),
      Effect.zipRight(
        undo(state),
        ended(state, state.session.beginFailure === undefined ? "rolled_back" : "begin_failed")
      )
    )
  })

const undo = (state: State): Effect.Effect<void> => {
  const { controlMillis, session } = state
  return Effect.zipRight(
    session.phase._tag === "Lost" || !session.hasBegun
      ? Effect.void
      : Effect.matchEffect(session.control([Begin.rollback, ...state.atEnd].join("; "), controlMillis, phase.idle), {
        onSuccess: () => Effect.void,
        onFailure: ({ error }) => {
          session.abandon(error)
          // The server rolls back what has lost its connection: in an outage that is all of them, and nothing to do about it.
          return error._tag === "ConnectionLost"
            ? Effect.logDebug("ROLLBACK failed, its connection is discarded")
            : Effect.logWarning("ROLLBACK failed, its connection is discarded", Cause.fail(error))
        }
      }),
    Effect.suspend(() => {
      over(state)
      return reservation.release(state.session)
    })
  )
}

const over = (state: State): void => {
  for (const told of state.onEnd) told()
}

const runAfterCommit = (state: State): Effect.Effect<void> =>
  state.afterCommit.length === 0
    ? Effect.void
    : Effect.forEach(state.afterCommit, (_) =>
      Effect.catchAllCause(_, (cause) =>
        Effect.logError("An effect registered with afterCommit died", loggable(cause))), {
      discard: true
    })

/** Counts the transaction, and its writes as what they came to. */
const count = (state: State, outcome: Outcome.Outcome): void => {
  if (outcome === "committed") state.session.writes.committed((performance.now() - state.committing) / 1000)
  else state.session.writes.undone()
  Outcome.ended(outcome, state.began)
}

const ended = (state: State, outcome: Outcome.Outcome): Effect.Effect<void> => Effect.sync(() => count(state, outcome))

const neverBegan = (
  cause: MysqlError.MysqlError,
  began: number
): Effect.Effect<never, TransactionError.BeginFailed> =>
  Effect.suspend(() => {
    Outcome.ended("begin_failed", began)
    return Effect.fail(new TransactionError.BeginFailed({ cause }))
  })
