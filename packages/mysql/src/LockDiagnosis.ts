/**
 * Who holds a lock, who waits for it, since when, with which statement and in which trace: asked of the server when
 * somebody wants to know. What it needs: SELECT on `performance_schema`, and PROCESS for `lastDeadlock`.
 *
 * It runs on a connection of its own, which is neither of the pool nor of the caller's transaction, so it works while the
 * pool is exhausted by those who wait. It changes nothing and takes no lock. Reading the lock tables costs the server in
 * proportion to the locks that are held: ask when something is slow, not once a request.
 *
 * Texts of statements have a `?` in place of each value, unless they are asked for with `statements: "text"`.
 *
 * @since 0.1.0
 */
import * as MysqlClient from "@effect/sql-mysql2/MysqlClient"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as lockWaits from "./internal/lockWaits.js"
import * as own from "./internal/own.js"
import * as sideConnection from "./internal/sideConnection.js"
import type { LockParty } from "./LockParty.js"
import * as MysqlError from "./MysqlError.js"

/**
 * One connection waits for a lock that another one holds. Who waits for several holders has one of these for each.
 *
 * @since 0.1.0
 * @category models
 */
export interface LockWait {
  readonly kind: "row" | "advisory"
  /** `schema.table`, or the name of an advisory lock as the server sees it: its readable beginning and a hash. */
  readonly name: string
  /** The index in which the row is locked. */
  readonly index: Option.Option<string>
  /** Such as `X,REC_NOT_GAP` for an exclusive lock on a row, `X,INSERT_INTENTION` for a wait for a gap. */
  readonly mode: string
  /** How long the statement that waits has been running. */
  readonly waited: Duration.Duration
  readonly waiter: LockParty
  readonly holder: LockParty
}

/**
 * Which waits are told, and how much of each.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /** Only waits of this connection. */
  readonly connectionId?: number | undefined
  /** At most so many waits; default 100. */
  readonly limit?: number | undefined
  /** How long to wait for the server's answer; default one second. */
  readonly timeout?: Duration.DurationInput | undefined
  /**
   * `"digest"` (default): texts without values. `"text"`: as they were sent, with the values that were written into them;
   * those that were bound are not in it.
   */
  readonly statements?: "digest" | "text" | undefined
}

/**
 * The waits for row locks and advisory locks that are going on now, on all databases of the server. Fails with `StatementFailed`
 * where the account may not read `performance_schema`, and with `ConnectionLost` where the server did not answer within `timeout`.
 *
 * @example
 * import * as Duration from "effect/Duration"
 * import * as Effect from "effect/Effect"
 * import * as LockDiagnosis from "@safesync/mysql/LockDiagnosis"
 *
 * const report = Effect.flatMap(LockDiagnosis.waits({ limit: 20 }), Effect.forEach(({ holder, name, waited, waiter }) =>
 *   Effect.logInfo(`${waiter} has waited for ${name} for ${Duration.format(waited)}, held by ${holder}`)))
 *
 * @since 0.1.0
 * @category diagnosis
 */
export const waits = (
  options: Options = {}
): Effect.Effect<ReadonlyArray<LockWait>, MysqlError.MysqlError, MysqlClient.MysqlClient> =>
  asking(options, (ask) =>
    Effect.map(
      ask(lockWaits.waits({
        of: options.connectionId,
        limit: options.limit ?? 100,
        text: options.statements === "text"
      })),
      (rows) =>
        rows.map((row): LockWait => ({
          kind: row["kind"] as "row" | "advisory",
          name: String(row["name"]),
          index: Option.fromNullable(row["indexName"] as string | null),
          mode: String(row["mode"]),
          waited: Duration.millis(Number(row["waitedMillis"] ?? 0)),
          waiter: lockWaits.party(row, "waiter"),
          holder: lockWaits.party(row, "holder")
        }))
    ))

/**
 * One transaction of a deadlock.
 *
 * @since 0.1.0
 * @category models
 */
export interface Deadlocked {
  readonly party: LockParty
  /** Whether it was this one that the server has rolled back. */
  readonly victim: boolean
}

/**
 * The transactions of the last deadlock that the server has detected since it was started; empty when there was none. The
 * statements are those that closed the circle; one that the server had cut short is absent. Fails as `waits` does; it needs the
 * privilege PROCESS.
 *
 * @since 0.1.0
 * @category diagnosis
 */
export const lastDeadlock = (
  options: Pick<Options, "timeout" | "statements"> = {}
): Effect.Effect<ReadonlyArray<Deadlocked>, MysqlError.MysqlError, MysqlClient.MysqlClient> =>
  asking(
    options,
    (ask) =>
      Effect.flatMap(status(ask), (status) =>
        Effect.forEach(lockWaits.lastDeadlock(status), ({ connectionId, statement, victim }) => {
          const told = options.statements === "text"
            ? Effect.succeed<unknown>(statement)
            : Effect.orElseSucceed(
              Effect.map(ask(lockWaits.digest, [statement]), ([row]) =>
                row?.["digest"]),
              () => null
            )
          return Effect.map(told, (told): Deadlocked => ({
            party: lockWaits.deadlocked(connectionId, statement, told),
            victim
          }))
        }))
  )

// internal

type Ask = (
  sql: string,
  values?: ReadonlyArray<unknown>
) => Effect.Effect<ReadonlyArray<lockWaits.Row>, MysqlError.MysqlError>

const status = (ask: Ask): Effect.Effect<string, MysqlError.MysqlError> =>
  Effect.flatMap(ask(lockWaits.innodbStatus), ([row]) =>
    typeof row?.["Status"] === "string"
      ? Effect.succeed(row["Status"])
      : Effect.fail(own.unreadable(lockWaits.innodbStatus)))

const asking = <A>(
  options: Pick<Options, "timeout">,
  use: (ask: Ask) => Effect.Effect<A, MysqlError.MysqlError>
): Effect.Effect<A, MysqlError.MysqlError, MysqlClient.MysqlClient> =>
  Effect.flatMap(MysqlClient.MysqlClient, ({ config }) =>
    Effect.flatMap(
      sideConnection.scoped(config),
      (connection) => use((sql, values) => sideConnection.rows(connection, sql, values))
    )).pipe(
      Effect.scoped,
      Effect.timeoutFail({
        duration: options.timeout ?? Duration.seconds(1),
        onTimeout: () =>
          MysqlError.fromDriver(
            Object.assign(new Error("No answer to a question about locks in time"), {
              code: "PROTOCOL_SEQUENCE_TIMEOUT"
            })
          )
      })
    )
