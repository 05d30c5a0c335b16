/** What the processes say they did, beside what is in the table. */
import type { SqlClient } from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"
import type { Verdict } from "../../Invariants.js"
import type * as Messages from "./messages.js"
import * as tally from "./tally.js"

export type Finding = Pick<Verdict, "expected" | "found" | "problems">

export type Look = (
  sql: SqlClient,
  done: ReadonlyArray<Messages.Done>,
  operations: number
) => Effect.Effect<Finding, SqlError>

export const ofIncrements: Look = (sql, done) =>
  Effect.map(sql<{ value: number }>`SELECT value FROM hot_row WHERE id = 1`, ([row]) => {
    const [expected, found] = [tally.total(done, "succeeded"), row?.value ?? 0]
    return {
      expected,
      found,
      problems: found < expected
        ? [`${expected - found} of ${expected} updates were lost`]
        : found > expected
        ? [`${found - expected} updates were written by operations that failed, or twice`]
        : []
    }
  })

export const ofInserts: Look = (sql, done, operations) =>
  Effect.map(sql<{ found: number }>`SELECT COUNT(*) AS found FROM new_row`, ([row]) => {
    const [expected, found] = [tally.total(done, "inserted"), row!.found]
    return {
      expected,
      found,
      problems: [
        ...(found === expected ? [] : [`${expected} inserts were reported, and there are ${found} rows`]),
        ...(found === operations ? [] : [`there are ${found} rows in place of ${operations}`])
      ]
    }
  })
