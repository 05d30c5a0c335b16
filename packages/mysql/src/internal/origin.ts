/**
 * The error of MySQL behind what others have wrapped around it: an `SqlError`, a query builder's own error, an `AggregateError`, what
 * `Effect.runPromise` rejects with.
 *
 * @internal
 */
import * as Cause from "effect/Cause"
import * as Chunk from "effect/Chunk"
import * as Runtime from "effect/Runtime"
import { property } from "./described.js"

/** The nearest of an error and its causes that is one; nothing where there is none among the first hundred. */
export const find = (error: unknown, is: (u: unknown) => boolean): unknown => {
  const seen = new Set<unknown>()
  let level: ReadonlyArray<unknown> = [error]
  while (level.length > 0 && seen.size < most) {
    const next: Array<unknown> = []
    for (const one of level) {
      if (seen.has(one)) continue
      seen.add(one)
      if (is(one)) return one
      if (typeof one === "object" && one !== null && seen.size < most) next.push(...causesOf(one))
    }
    level = next
  }
  return undefined
}

// internal

const most = 100

const causesOf = (error: object): ReadonlyArray<unknown> => {
  try {
    if (Cause.isCause(error)) {
      return Chunk.toReadonlyArray(Chunk.take(Chunk.appendAll(Cause.failures(error), Cause.defects(error)), most))
    }
    const errors = property(error, "errors")
    return [
      property(error, "cause"),
      property(error, Runtime.FiberFailureCauseId),
      ...(Array.isArray(errors) ? errors.slice(0, most) : [])
    ].filter((cause) => cause !== undefined)
  } catch {
    // It may be a proxy that was revoked.
    return []
  }
}
