/**
 * Four ways to change a row that others change too: 16 at a time, on one hot row and on 1,000 rows.
 *
 * @since 0.1.0
 */
import type { Case } from "../Benchmark.js"
import * as Contention from "./contention.js"
import * as handWritten from "./handWritten.js"
import * as safesync from "./safesync.js"

/**
 * @since 0.1.0
 * @category cases
 */
export const cases: ReadonlyArray<Case> = ([
  ["atomic UPDATE", "BEGIN, UPDATE value = value + 1, COMMIT", handWritten.atomic, safesync.atomic],
  ["row lock", "BEGIN, SELECT … FOR UPDATE, UPDATE, COMMIT", handWritten.rowLock, safesync.rowLock],
  ["advisory lock", "BEGIN, GET_LOCK, SELECT, UPDATE, COMMIT, RELEASE_LOCK", handWritten.advisory, safesync.advisory],
  [
    "OCC",
    "BEGIN, SELECT with its version, UPDATE where it is the same, COMMIT; again after a conflict",
    handWritten
      .occ,
    safesync.occ
  ]
] as const).flatMap(([name, about, byHand, ours]) =>
  ([["one hot row", 1], ["1,000 rows", 1_000]] as const).map(([where, rows]): Case => ({
    name: `primitives, ${name}, ${where}`,
    about: `${about}. 16 at a time, on ${where}.`,
    unit: "transactions",
    compares: "throughput",
    count: rows === 1
      ? { full: name === "OCC" ? 1_000 : 4_000, quick: 300, smoke: 16 }
      : { full: 10_000, quick: 1_000, smoke: 32 },
    quick: (rows === 1) === (name === "row lock" || name === "advisory lock"),
    slices: 5,
    roundTrips: rows > 1,
    baseline: "hand-written mysql2",
    contenders: [
      { name: "hand-written mysql2", start: Contention.byHand(rows, byHand) },
      {
        name: "SafeSync",
        targets: [{ of: "throughput", than: "hand-written mysql2", atLeast: 0.9 }],
        start: Contention.inEffect(rows, ours)
      }
    ]
  }))
)
