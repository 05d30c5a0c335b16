/**
 * The kinds of transfers that read a lot: large results, streams, and what must be consistent.
 *
 * @since 0.1.0
 */
import * as SqlClient from "@effect/sql/SqlClient"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import * as Bank from "./Bank.js"
import type { Pen, Written } from "./Pen.js"
import { Inconsistent } from "./TransferError.js"

/**
 * @since 0.1.0
 * @category kinds
 */
export const kinds = {
  "a large result": ({ leg, number, transact }: Pen): Written => {
    const one = leg("rows", 1)
    const large = Effect.flatMap(SqlClient.SqlClient, (sql) =>
      Effect.filterOrDieMessage(
        sql`SELECT a.id, a.text FROM page a, page b WHERE b.id < 5`,
        (rows) => rows.length === 1_000,
        "A large result has lost rows"
      ))
    return { legs: [one], run: transact(Effect.zipRight(Bank.move(number, one), large)) }
  },
  "a stream that is left early": ({ leg, number, random, transact }: Pen): Written => {
    const [one, two] = [leg("rows", 1), leg("rows", 2)]
    const left = Stream.runDrain(Stream.take(rows, random.between(0, 700)))
    return { legs: [one, two], run: transact(Effect.all([Bank.move(number, one), left, Bank.move(number, two), left])) }
  },
  "a stream that is written from": ({ leg, number, transact }: Pen): Written => {
    const legs = [1, 2, 3].map((n) => leg("rows", n))
    const at = [10, 600, 1_000]
    return {
      legs,
      run: transact(
        Stream.runFoldEffect(rows, 0, (seen) => {
          const due = legs[at.indexOf(seen + 1)]
          return due === undefined ? Effect.succeed(seen + 1) : Effect.as(Bank.move(number, due), seen + 1)
        }).pipe(Effect.filterOrDieMessage((seen) => seen === 1_000, "A stream has lost rows"))
      )
    }
  },
  "read only": ({ random, transact }: Pen): Written => ({
    legs: [],
    run: transact(
      Effect.flatMap(
        Bank.auditBalances,
        (seen) => seen.length === 0 ? Effect.void : Effect.fail(new Inconsistent({ seen }))
      ),
      { accessMode: "read-only", isolation: random.pick(["repeatable-read", "read-committed"]) }
    )
  })
} satisfies Record<string, (pen: Pen) => Written>

// internal

/** 1,000 rows, 2 KB each. */
const rows = Stream.unwrap(Effect.map(
  SqlClient.SqlClient,
  (sql) => sql<{ id: number }>`SELECT a.id, a.text FROM page a, page b WHERE b.id < 5`.stream
))
