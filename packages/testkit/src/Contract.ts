/**
 * The contract between a worker and its handler: whatever a handler does, it does in the transaction that it is given. This
 * suite tells whether yours keeps it. It runs the handler once undisturbed, then once for each point at which its process
 * could lose a server, and compares what is there at the end.
 *
 * What is written elsewhere (on another connection, to Redis, over HTTP) is not undone by a ROLLBACK: it is there again after the
 * message has come again. If `observe` sees it, the suite does.
 *
 * @since 0.1.0
 */
import type { MysqlClient } from "@effect/sql-mysql2/MysqlClient"
import type { SqlClient } from "@effect/sql/SqlClient"
import type { Transaction } from "@safesync/mysql/Transaction"
import type { Delivery } from "@safesync/redis-streams/Delivery"
import type { Redis } from "@safesync/redis-streams/Redis"
import type * as Arr from "effect/Array"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { inspect, isDeepStrictEqual } from "node:util"
import * as crashPoints from "./internal/contract/crashPoints.js"
import type { MysqlServer } from "./MysqlServer.js"
import type { RedisServer } from "./RedisServer.js"

/**
 * What a handler, and the effects beside it, may use: a fresh database, and the server on which the messages are.
 *
 * @since 0.1.0
 * @category models
 */
export type Services = MysqlClient | SqlClient | Redis

/**
 * A handler, the messages it is given, and how to look at what it did.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options<A, I, B, E, E1, E2> {
  readonly schema: Schema.Schema<A, I>
  /** What is handled, in order. Few are enough: each statement of each of them is a point to crash at. */
  readonly messages: Arr.NonEmptyReadonlyArray<NoInfer<A>>
  /** The handler as `Worker.run` takes it, with what else it needs provided. */
  readonly handler: (value: A, delivery: Delivery<A>) => Effect.Effect<B, E, Services | Transaction>
  /** Makes the tables in a database that is empty, and puts back what is elsewhere. Runs before each crash. */
  readonly prepare: Effect.Effect<unknown, E1, Services>
  /** What the handler has done, as a plain value to compare: the rows of its tables, in order and without their times. */
  readonly observe: Effect.Effect<unknown, E2, Services>
}

/**
 * The handler keeps the contract.
 *
 * @since 0.1.0
 * @category models
 */
export interface Report {
  /** The points, in the order in which they are met: a request that never arrived, or one whose answer was lost. */
  readonly crashes: ReadonlyArray<string>
}

/**
 * The handler's effects were not there exactly once after some of the crashes, or its messages were not settled.
 *
 * @since 0.1.0
 * @category errors
 */
export class ContractBroken extends Schema.TaggedError<ContractBroken>("@safesync/testkit/ContractBroken")(
  "ContractBroken",
  {
    /** How many crashes there were. */
    crashes: Schema.Number,
    /** What was there after the run without a crash. */
    expected: Schema.Unknown,
    violations: Schema.Array(Schema.Struct({ crash: Schema.String, found: Schema.Unknown }))
  }
) {
  override get message(): string {
    const [first] = this.violations
    return `After ${this.violations.length} of ${this.crashes} crashes the handler's effects were not there exactly once. ` +
      `After the crash ${first?.crash}: ${shown(first?.found)} where ${shown(this.expected)} was ` +
      "expected. Hint: what is not written with the transaction's own connection is not undone with it"
  }
}

/**
 * The suite could not tell: the run without a crash did nothing that could be compared, or a crash did not come where it should have.
 *
 * @since 0.1.0
 * @category errors
 */
export class ContractUntested extends Schema.TaggedError<ContractUntested>("@safesync/testkit/ContractUntested")(
  "ContractUntested",
  { reason: Schema.String }
) {
  override get message(): string {
    return `Nothing is shown about the handler: ${this.reason}`
  }
}

/**
 * Runs the handler through every crash point. Without a crash it must settle its messages, none of them as a dead letter, and
 * do what `observe` sees: where nothing can be seen, nothing would be shown. Each crash cuts a connection before a request
 * arrives, or after the server has done what it was asked for and before the answer is back; then the message comes again.
 *
 * It does not start new processes: what a handler remembers in memory survives its crashes here.
 *
 * @example
 * import * as SqlClient from "@effect/sql/SqlClient"
 * import * as Contract from "@safesync/testkit/Contract"
 * import * as Effect from "effect/Effect"
 * import * as Schema from "effect/Schema"
 *
 * const Payment = Schema.Struct({ account: Schema.Int, pence: Schema.Int })
 *
 * const verified = Effect.flatMap(SqlClient.SqlClient, (sql) =>
 *   Contract.exactlyOnce({
 *     schema: Payment,
 *     messages: [{ account: 1, pence: 5 }],
 *     handler: ({ account, pence }) => sql`UPDATE account SET balance = balance + ${pence} WHERE id = ${account}`,
 *     prepare: Effect.zipRight(
 *       sql`CREATE TABLE account (id INT PRIMARY KEY, balance INT NOT NULL)`,
 *       sql`INSERT INTO account VALUES (1, 0)`
 *     ),
 *     observe: sql`SELECT * FROM account ORDER BY id`
 *   }))
 *
 * @since 0.1.0
 * @category suites
 */
export const exactlyOnce = <A, I, B, E, E1, E2>(
  options: Options<A, I, B, E, E1, E2>
): Effect.Effect<Report, ContractBroken | ContractUntested | E1 | E2, MysqlServer | RedisServer> =>
  Effect.gen(function*() {
    const { before, found: expected, steps } = yield* crashPoints.run(options, undefined)
    const reason = !expected.settled
      ? "without any crash its messages were not settled"
      : expected.deadLetters > 0
      ? `without any crash ${expected.deadLetters} of its messages failed for good`
      : isDeepStrictEqual(before, expected.effects)
      ? "what is observed is the same before it has run and after"
      : undefined
    if (reason !== undefined) return yield* new ContractUntested({ reason })
    const crashes: Array<string> = []
    const violations: Array<{ readonly crash: string; readonly found: unknown }> = []
    for (let step = 0; step < steps.length; step++) {
      for (const when of ["before", "after"] as const) {
        const crash = `${when} ${steps[step]} (${step + 1} of ${steps.length})`
        const { found, steps: met } = yield* crashPoints.run(options, { step, when })
        if (met[step] !== steps[step]) {
          return yield* new ContractUntested({
            reason: `the crash ${crash} came at another point, ${
              met[step] ?? "none"
            }. Hint: is what it asks the servers always the same?`
          })
        }
        crashes.push(crash)
        if (!isDeepStrictEqual(found, expected)) violations.push({ crash, found })
      }
    }
    return violations.length === 0
      ? { crashes }
      : yield* new ContractBroken({ crashes: crashes.length, expected, violations })
  })

// internal

/** JSON has no bigint and no Map. */
const shown = (value: unknown): string => inspect(value, { depth: 6, breakLength: Infinity })
