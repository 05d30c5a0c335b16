/**
 * What the Exit of a transaction says about what is in the database.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import type * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import type { Told } from "./Bank.js"

/**
 * @since 0.1.0
 * @category models
 */
export interface Fate extends Pick<Told, "fate" | "as"> {
  /** The message of the error. */
  readonly detail: string
}

/**
 * The answer to COMMIT was lost.
 *
 * @since 0.1.0
 * @category constants
 */
export const unknown = "CommitOutcomeUnknown"

/**
 * A defect comes before everything else, as nobody counts on one; then interruption, then the error.
 *
 * @since 0.1.0
 * @category constructors
 */
export const of = (exit: Exit.Exit<unknown, unknown>): Fate => {
  if (exit._tag === "Success") return { fate: "committed", as: "success", detail: "" }
  const { cause } = exit
  const died = Option.getOrUndefined(Cause.dieOption(cause))
  // The Scope form can say it in no other way.
  if (died !== undefined && !transactionErrors.has(nameOf(died))) {
    return { fate: "not committed", as: `defect: ${messageOf(died)}`, detail: Cause.pretty(cause) }
  }
  const error = died ?? Option.getOrUndefined(Cause.failureOption(cause))
  const name = nameOf(error)
  if (Cause.isInterrupted(cause)) {
    return { fate: "either", as: name === unknown ? `${unknown}, interrupted` : "interrupted", detail: "" }
  }
  return {
    fate: name === unknown ? "either" : "not committed",
    as: Predicate.hasProperty(error, "reason") ? `${name}: ${String(error.reason)}` : name,
    detail: messageOf(error)
  }
}

// internal

const transactionErrors = new Set(["BeginFailed", "CommitFailed", unknown, "TransactionAborted"])

const nameOf = (u: unknown): string => Predicate.hasProperty(u, "_tag") ? String(u._tag) : typeof u

const messageOf = (u: unknown): string => Predicate.hasProperty(u, "message") ? String(u.message) : String(u)
