/**
 * What the metrics tell of a lock: how long it was waited for, what came of that, and how long it was held.
 *
 * @internal
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import * as MysqlMetrics from "../MysqlMetrics.js"

export type Strategy = "row" | "advisory"

/** Times the wait, however it ends. `outcome` says what an answer came to, and is told of every answer once. */
export const waiting = <A, E extends { readonly _tag: string }, R>(
  wait: Effect.Effect<A, E, R>,
  strategy: Strategy,
  outcome: (answer: A) => "granted" | "none" | "advisory_lock_timeout"
): Effect.Effect<A, E, R> =>
  Effect.suspend(() => {
    const start = performance.now()
    return Effect.onExit(wait, (exit) =>
      Effect.sync(() => {
        MysqlMetrics.lockAcquireLatency.unsafeUpdate((performance.now() - start) / 1000, strategies[strategy])
        const labels = { strategy, outcome: exit._tag === "Failure" ? failed(exit) : outcome(exit.value) }
        MysqlMetrics.lockRequests.unsafeUpdate(1, MysqlMetrics.labels(labels))
      }))
  })

/** The lock is held from now on; to be called when it is not any more. */
export const held = (strategy: Strategy): () => void => {
  const start = performance.now()
  return () => MysqlMetrics.lockHold.unsafeUpdate((performance.now() - start) / 1000, strategies[strategy])
}

// internal

const strategies = {
  row: MysqlMetrics.labels({ strategy: "row" }),
  advisory: MysqlMetrics.labels({ strategy: "advisory" })
}

const failed = <E extends { readonly _tag: string }>({ cause }: Exit.Failure<unknown, E>): string => {
  const failure = Cause.failureOption(cause)
  return failure._tag === "Some"
    ? failure.value._tag.replace(/(?<=[a-z])(?=[A-Z])/g, "_").toLowerCase()
    : Cause.isInterrupted(cause)
    ? "interrupted"
    : "defect"
}
