/**
 * What became of a COMMIT whose answer was lost.
 *
 * The transaction leaves a marker that nobody else can have written, and a second connection looks for it in a way that
 * also settles the matter, since the old session may still be at work and its COMMIT still on the way:
 *
 * - **A row of its own**, written in COMMIT's packet. The second connection writes a row of the same key that says "not
 *   committed". Whoever is first wins: either the marker is there, or the late COMMIT fails on the duplicate.
 * - **The inbox's row**, written long before COMMIT and locked by the old session until it has ended. The second
 *   connection reads it with a lock: it is granted once there is nothing left that could still be committed. A session
 *   that sits on it is ended while it waits for its client, so that its COMMIT has not come; one that is at work on its COMMIT
 *   is waited for. If the server was restarted meanwhile, its id may be somebody else's.
 *
 * @internal
 */
import type { MysqlClient } from "@effect/sql-mysql2/MysqlClient"
import * as Effect from "effect/Effect"
import type * as Schedule from "effect/Schedule"
import type * as Mysql from "mysql2"
import { randomBytes } from "node:crypto"
import * as MysqlError from "../MysqlError.js"
import * as Canceller from "./canceller.js"
import * as driver from "./driverError.js"
import * as own from "./own.js"
import * as sideConnection from "./sideConnection.js"

export interface CommitOracle {
  readonly client: MysqlClient
  readonly schedule: Schedule.Schedule<unknown, MysqlError.MysqlError>
  /** 16 bytes. */
  readonly marker: Buffer
  /** `performance.now()` before BEGIN. */
  readonly begunAt: number
  /** A row of the inbox that is the transaction's own, and the marker that it carries, once it is written. */
  inbox: { readonly group: Uint8Array; readonly messageId: Uint8Array; readonly marker: Buffer } | undefined
}

const process = randomBytes(8)
let serial = 0n

/** Neighbours of one process lie side by side in the index. */
export const make = (
  client: MysqlClient,
  schedule: Schedule.Schedule<unknown, MysqlError.MysqlError>
): CommitOracle => {
  const marker = Buffer.alloc(16)
  process.copy(marker)
  marker.writeBigUInt64BE(++serial, 8)
  return { client, schedule, marker, begunAt: performance.now(), inbox: undefined }
}

/** What precedes COMMIT in its packet. */
export const statements = (oracle: CommitOracle | undefined): ReadonlyArray<string> =>
  oracle === undefined || oracle.inbox !== undefined
    ? []
    : [`INSERT INTO safesync_commit (marker, committed) VALUES (x'${oracle.marker.toString("hex")}', 1)`]

/** Whether the transaction was committed. Fails when the schedule has ended and the server could still not be asked. */
export const wasCommitted = (
  oracle: CommitOracle,
  connectionId: number,
  boundMillis: number
): Effect.Effect<boolean, MysqlError.MysqlError> =>
  Effect.flatMap(
    sideConnection.scoped(oracle.client.config),
    (connection) => oracle.inbox === undefined ? byRow(connection, oracle) : byInbox(connection, oracle, connectionId)
  ).pipe(
    Effect.scoped,
    Effect.timeoutFail({
      duration: boundMillis,
      onTimeout: () => MysqlError.fromDriver(driver.noAnswer())
    }),
    Effect.retry(oracle.schedule)
  )

// internal

const byRow = (connection: Mysql.Connection, { marker }: CommitOracle) =>
  // The old session's COMMIT may be under way and hold the row: it is asked again by the schedule.
  sideConnection.rows(connection, "SET innodb_lock_wait_timeout = 1").pipe(
    Effect.zipRight(sideConnection.rows(
      connection,
      "INSERT INTO safesync_commit (marker, committed) VALUES (?, 0) ON DUPLICATE KEY UPDATE marker = marker",
      [marker]
    )),
    Effect.zipRight(
      sideConnection.rows(connection, committed, [marker])
    ),
    Effect.flatMap(([row]) =>
      row === undefined ? Effect.fail(own.unreadable(committed)) : Effect.succeed(Number(row["committed"]) === 1)
    )
  )

const committed = "SELECT committed FROM safesync_commit WHERE marker = ?"

const byInbox = (
  connection: Mysql.Connection,
  { begunAt, client, inbox }: CommitOracle,
  connectionId: number
) =>
  sideConnection.rows(
    connection,
    "SELECT HEX(commit_marker) AS marker FROM safesync_inbox WHERE consumer_group = ? AND message_id = ? FOR SHARE NOWAIT",
    [inbox!.group, inbox!.messageId]
  ).pipe(
    Effect.map(([row]) => String(row?.["marker"]).toLowerCase() === own.hex(inbox!.marker)),
    Effect.tapError((error) =>
      error._tag === "LockNotAvailable"
        ? Effect.async<void>((done) =>
          Canceller.of(client).kill(
            "CONNECTION",
            { connectionId, since: begunAt, sentCommit: true },
            () => done(Effect.void)
          )
        )
        : Effect.void
    )
  )
