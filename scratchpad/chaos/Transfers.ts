/**
 * Transfers, drawn at random: of which kind, between which accounts, how much.
 *
 * @since 0.1.0
 */
import type { MysqlClient } from "@effect/sql-mysql2/MysqlClient"
import type { SqlClient } from "@effect/sql/SqlClient"
import * as Transaction from "@safesync/mysql/Transaction"
import * as Effect from "effect/Effect"
import * as Bank from "./Bank.js"
import * as Fate from "./Fate.js"
import type { Seeded } from "./Seeded.js"
import { kinds } from "./TransferKinds.js"

/**
 * @since 0.1.0
 * @category models
 */
export interface Transfer {
  readonly number: number
  readonly kind: Kind
  readonly legs: ReadonlyArray<Bank.Leg>
  /** The whole of it, from the pool's connection to COMMIT, retries where its kind has some. */
  readonly run: Effect.Effect<void, unknown, MysqlClient | SqlClient>
  /**
   * How far it has come, how many times its `afterCommit` effect has run, and whether the transaction itself ended with
   * `CommitOutcomeUnknown`: whoever is interrupted around it may not hear of that.
   */
  readonly trace: { at: "begin" | "body" | "end"; afterCommit: number; commitLost: boolean }
}

/**
 * Draws a transfer.
 *
 * @since 0.1.0
 * @category constructors
 */
export const draw = (options: {
  readonly random: Seeded
  readonly number: number
  readonly kinds: ReadonlyArray<Kind>
  /** In each set of accounts; the first quarter is drawn half of the time. */
  readonly accounts: number
  readonly transaction?: Transaction.Options | undefined
  /** Told when an attempt's body begins, and when it has ended and COMMIT or ROLLBACK follows. */
  readonly reached?: ((at: "body" | "end") => void) | undefined
}): Transfer => {
  const { accounts, number, random } = options
  const kind = random.pick(options.kinds)
  const trace: Transfer["trace"] = { at: "begin", afterCommit: 0, commitLost: false }
  const someAccount = () =>
    random.chance(0.5) ? random.between(0, accounts - 1) : random.between(0, Math.ceil(accounts / 4) - 1)
  const leg = (set: Bank.AccountSet, leg: number): Bank.Leg => {
    const debit = someAccount()
    const other = someAccount()
    const credit = other === debit ? (debit + 1) % accounts : other
    return {
      leg,
      debit: Bank.account(set, debit),
      credit: Bank.account(set, credit),
      amount: random.between(1, 100)
    }
  }
  const reach = (at: "body" | "end") => {
    trace.at = at
    options.reached?.(at)
  }
  const traced = <A, E, R>(body: Effect.Effect<A, E, R>): Effect.Effect<A, E, R | Transaction.Transaction> =>
    Effect.suspend(() => {
      reach("body")
      return Effect.zipRight(
        Transaction.afterCommit(Effect.sync(() => {
          trace.afterCommit++
        })),
        body
      )
    }).pipe(
      Effect.onExit(() => Effect.sync(() => reach("end")))
    )
  const transact = <A, E, R>(body: Effect.Effect<A, E, R>, more: Transaction.Options = {}) =>
    Transaction.run(traced(body), { ...options.transaction, ...more }).pipe(
      Effect.onExit((exit) =>
        Effect.sync(() => {
          if (Fate.of(exit).as.startsWith(Fate.unknown)) trace.commitLost = true
        })
      )
    )
  const written = kinds[kind]({ random, number, leg, traced, transact, options: options.transaction ?? {} })
  return { number, kind, trace, legs: written.legs, run: Effect.asVoid(written.run) }
}

/**
 * @since 0.1.0
 * @category models
 */
export type Kind = keyof typeof kinds

/**
 * All of them.
 *
 * @since 0.1.0
 * @category constants
 */
export const allKinds = (): ReadonlyArray<Kind> => Object.keys(kinds) as Array<Kind>
