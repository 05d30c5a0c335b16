/**
 * A bank whose books prove atomicity: every transfer changes two accounts and writes what it did into the ledger, in one
 * transaction. Then the ledger says what the balances must be, and what callers were told says what the ledger must hold.
 *
 * @since 0.1.0
 */
import * as SqlClient from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"

/**
 * @since 0.1.0
 * @category models
 */
export interface Leg {
  /** Within its transfer. */
  readonly leg: number
  readonly debit: number
  readonly credit: number
  readonly amount: number
}

/**
 * What the caller of a transfer was told, and what he could see of it besides.
 *
 * @since 0.1.0
 * @category models
 */
export interface Told {
  readonly transfer: number
  readonly kind: string
  /** What is in the ledger when the transfer is committed. */
  readonly legs: ReadonlyArray<Leg>
  /** "either" for a transfer that was interrupted, or whose outcome is unknown. */
  readonly fate: "committed" | "not committed" | "either"
  /** What the caller got: `success`, an error's tag, `interrupted`. */
  readonly as: string
  /** How many times its `afterCommit` effect has run. */
  readonly afterCommit: number
}

/**
 * The accounts of one bank fall into sets, one for each way to keep them, since a lock protects only against those who take it.
 *
 * @since 0.1.0
 * @category models
 */
export type AccountSet = "rows" | "advisory" | "around" | "versions"

const first: Record<AccountSet, number> = { rows: 1, advisory: 10_001, around: 20_001, versions: 30_001 }

/**
 * @since 0.1.0
 * @category constructors
 */
export const account = (set: AccountSet, n: number): number => first[set] + n

const opening = 1_000_000

/**
 * The tables, with so many accounts in each set.
 *
 * @since 0.1.0
 * @category migrations
 */
export const open = (accounts: number): Effect.Effect<void, SqlError, SqlClient.SqlClient> =>
  Effect.gen(function*() {
    const sql = yield* SqlClient.SqlClient
    yield* sql`CREATE TABLE account (id INT PRIMARY KEY, balance BIGINT NOT NULL, version INT NOT NULL DEFAULT 0)`
    // Nothing here is unique but the row: a transfer that is applied twice must be seen, not refused.
    yield* sql`CREATE TABLE ledger (
      id BIGINT AUTO_INCREMENT PRIMARY KEY, transfer INT NOT NULL, leg INT NOT NULL,
      debit INT NOT NULL, credit INT NOT NULL, amount INT NOT NULL, KEY transfer (transfer))`
    yield* sql`CREATE TABLE page (id INT PRIMARY KEY, text VARCHAR(2000) NOT NULL)`
    const ids = Object.values(first).flatMap((from) => Array.from({ length: accounts }, (_, n) => from + n))
    yield* sql`INSERT INTO account ${sql.insert(ids.map((id) => ({ id, balance: opening })))}`
    yield* sql`INSERT INTO page ${sql.insert(Array.from({ length: 200 }, (_, id) => ({ id, text: "x".repeat(2000) })))}`
  })

/**
 * Writes a leg into the ledger.
 *
 * @since 0.1.0
 * @category statements
 */
export const book = (
  number: number,
  { amount, credit, debit, leg }: Leg
): Effect.Effect<unknown, SqlError, SqlClient.SqlClient> =>
  Effect.flatMap(
    SqlClient.SqlClient,
    (sql) =>
      sql`INSERT INTO ledger (transfer, leg, debit, credit, amount) VALUES (${number}, ${leg}, ${debit}, ${credit}, ${amount})`
  )

/**
 * Changes a balance on the server.
 *
 * @since 0.1.0
 * @category statements
 */
export const change = (id: number, by: number): Effect.Effect<unknown, SqlError, SqlClient.SqlClient> =>
  Effect.flatMap(SqlClient.SqlClient, (sql) => sql`UPDATE account SET balance = balance + ${by} WHERE id = ${id}`)

/**
 * A leg whose balances are computed on the server; the rows are written in the order of their ids.
 *
 * @since 0.1.0
 * @category statements
 */
export const move = (number: number, leg: Leg): Effect.Effect<unknown, SqlError, SqlClient.SqlClient> => {
  const writes = [change(leg.debit, -leg.amount), change(leg.credit, leg.amount)]
  return Effect.all([...leg.debit < leg.credit ? writes : writes.reverse(), book(number, leg)], { discard: true })
}

/**
 * A leg whose balances are computed here, from what was read under a lock: without the lock updates are lost.
 *
 * @since 0.1.0
 * @category statements
 */
export const write = (
  number: number,
  leg: Leg,
  balances: { readonly debit: unknown; readonly credit: unknown }
): Effect.Effect<unknown, SqlError, SqlClient.SqlClient> =>
  Effect.flatMap(SqlClient.SqlClient, (sql) =>
    Effect.all([
      sql`UPDATE account SET balance = ${Number(balances.debit) - leg.amount} WHERE id = ${leg.debit}`,
      sql`UPDATE account SET balance = ${Number(balances.credit) + leg.amount} WHERE id = ${leg.credit}`,
      book(number, leg)
    ], { discard: true }))

/**
 * @since 0.1.0
 * @category models
 */
export interface Account {
  readonly balance: unknown
  readonly version: number
}

/**
 * Reads an account without a lock.
 *
 * @since 0.1.0
 * @category statements
 */
export const read = (id: number): Effect.Effect<Account, SqlError, SqlClient.SqlClient> =>
  Effect.flatMap(
    SqlClient.SqlClient,
    (sql) => Effect.map(sql<Account>`SELECT balance, version FROM account WHERE id = ${id}`, ([row]) => row!)
  )

/**
 * @since 0.1.0
 * @category models
 */
export interface TransferAudit {
  readonly wrong: ReadonlyArray<string>
  /** Of those that could have gone either way: how many are there, and how many are not. */
  readonly either: { readonly there: number; readonly absent: number }
}

/**
 * One sentence for each transfer of which something else is in the ledger than its caller was told. Partly there is always wrong.
 *
 * `afterCommit` runs when the transaction is known to be committed and only then, whatever the caller heard of it; so what the
 * caller of an interrupted transfer does not know is known all the same. Not so where the answer to COMMIT was lost.
 *
 * @since 0.1.0
 * @category audit
 */
export const auditTransfers = (
  told: ReadonlyArray<Told>
): Effect.Effect<TransferAudit, SqlError, SqlClient.SqlClient> =>
  Effect.gen(function*() {
    const either = { there: 0, absent: 0 }
    const wrong: Array<string> = []
    if (told.length === 0) return { wrong, either }
    const sql = yield* SqlClient.SqlClient
    const numbers = told.map(({ transfer }) => transfer)
    const [from, to] = [Math.min(...numbers), Math.max(...numbers)]
    const rows = yield* sql<Leg & { transfer: number }>`
      SELECT transfer, leg, debit, credit, amount FROM ledger WHERE transfer BETWEEN ${from} AND ${to} ORDER BY transfer, leg, id`
    const booked = new Map<number, Array<string>>()
    for (const { transfer, ...leg } of rows) booked.set(transfer, [...booked.get(transfer) ?? [], line(leg)])
    for (const { afterCommit, as, fate, kind, legs, transfer } of told) {
      const found = booked.get(transfer) ?? []
      booked.delete(transfer)
      const whole = legs.map(line)
      const is = found.length === 0 ? "nothing" : found.join("; ")
      const complain = (what: string) =>
        wrong.push(`transfer ${transfer} (${kind}, told: ${as}) ${what}: in the ledger is ${is}`)
      const there = found.length === whole.length && found.every((leg, n) => leg === whole[n])
      if (fate === "either" && legs.length > 0) either[there ? "there" : "absent"]++
      // A transfer without legs leaves nothing behind, whatever becomes of it.
      if (legs.length === 0) {
        if (found.length > 0) complain("must not be there")
      } else if (!there && found.length > 0) complain("is there in part, or more than once")
      else if (fate === "committed" && !there) complain("must be there")
      else if (fate === "not committed" && there) complain("must not be there")
      if (afterCommit > 1) complain(`ran its afterCommit ${afterCommit} times`)
      else if (legs.length > 0 && afterCommit === 1 && !there) complain("ran its afterCommit")
      else if (fate === "committed" && afterCommit === 0) complain("did not run its afterCommit")
      else if (as === "interrupted" && legs.length > 0 && there && afterCommit === 0) {
        complain("did not run its afterCommit")
      }
    }
    for (const [transfer, legs] of booked) wrong.push(`transfer ${transfer} was never begun: ${legs.join("; ")}`)
    return { wrong, either }
  })

/**
 * One sentence for each account whose balance is not what the ledger says, and one when the sum of all has changed.
 *
 * @since 0.1.0
 * @category audit
 */
export const auditBalances: Effect.Effect<ReadonlyArray<string>, SqlError, SqlClient.SqlClient> = Effect.gen(
  function*() {
    const sql = yield* SqlClient.SqlClient
    // One statement: one snapshot.
    const rows = yield* sql<{ id: number; moved: string; booked: string }>`
    SELECT a.id, CAST(a.balance - ${opening} AS CHAR) AS moved, CAST(COALESCE(b.booked, 0) AS CHAR) AS booked
    FROM account a LEFT JOIN (
      SELECT id, SUM(amount) AS booked FROM (
        SELECT credit AS id, amount FROM ledger UNION ALL SELECT debit, -amount FROM ledger) legs
      GROUP BY id) b ON b.id = a.id`
    const wrong = rows.filter(({ booked, moved }) => Number(booked) !== Number(moved)).map(({ booked, id, moved }) =>
      `account ${id} has moved by ${moved}, and by the ledger it is ${booked}`
    )
    const sum = rows.reduce((sum, { moved }) => sum + Number(moved), 0)
    return sum === 0 ? wrong : [...wrong, `the sum of all balances has changed by ${sum}`]
  }
)

/**
 * How many legs are in the ledger.
 *
 * @since 0.1.0
 * @category audit
 */
export const booked: Effect.Effect<number, SqlError, SqlClient.SqlClient> = Effect.flatMap(
  SqlClient.SqlClient,
  (sql) => Effect.map(sql<{ n: number }>`SELECT COUNT(*) AS n FROM ledger`, ([row]) => row!.n)
)

// internal

const line = ({ amount, credit, debit, leg }: Leg): string => `leg ${leg}, ${amount} from ${debit} to ${credit}`
