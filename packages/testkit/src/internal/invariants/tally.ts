/** What the answers of all processes come to. */
import type * as Messages from "./messages.js"

export const total = (done: ReadonlyArray<Messages.Done>, field: "succeeded" | "inserted" | "failed"): number =>
  done.reduce((sum, one) => sum + one[field], 0)

/** Why operations failed, each reason once, and no more than five. */
export const reasons = (done: ReadonlyArray<Messages.Done>): ReadonlyArray<string> =>
  [...new Set(done.flatMap(({ failures }) => failures))].slice(0, 5)

/** How many processes were at work at the same time, at most. */
export const atOnce = (done: ReadonlyArray<Messages.Done>): number =>
  Math.max(...done.map((one) => done.filter(({ from, to }) => from <= one.from && one.from < to).length))
