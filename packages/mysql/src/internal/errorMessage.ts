/**
 * How an error reads: the problem, what the server said, who holds the lock, a hint and the statement's text, the longest last: all of it
 * is bounded.
 *
 * @internal
 */
import * as Predicate from "effect/Predicate"
import type { LockParty } from "../LockParty.js"
import { bounded } from "./described.js"

export const describe = (
  problem: string,
  error: {
    readonly errno?: number | undefined
    readonly code: string
    readonly statement?: string | undefined
    readonly detail?: string | undefined
    readonly blockers?: ReadonlyArray<LockParty> | undefined
  },
  hint?: string
): string =>
  bounded(
    [
      `${problem} (${error.errno === undefined ? error.code : `${error.errno} ${error.code}`})`,
      error.detail,
      error.blockers === undefined ? undefined : `Held by ${error.blockers.join("; ")}`,
      hint === undefined ? undefined : `Hint: ${hint}`,
      error.statement === undefined ? undefined : `Statement: ${error.statement}`
    ].filter(Predicate.isNotUndefined).join(". ")
  )

/** 1146 of a table of this package's own: its migration was not run, or in another database. */
export const missingTable = (detail: string | undefined): string | undefined => {
  const owner = owners.find(([table]) => table.test(detail ?? ""))?.[1]
  return owner === undefined ? undefined : `${owner}.migration creates it`
}

// internal

const owners = [
  [/\bsafesync_inbox/, "Inbox"],
  [/\bsafesync_outbox/, "Outbox"],
  [/\bsafesync_commit/, "CommitOracle"],
  [/\bsafesync_fencing_token/, "FencingToken"]
] as const
