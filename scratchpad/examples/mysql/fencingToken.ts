import { SqlClient } from "@effect/sql"
import type { MysqlClient } from "@effect/sql-mysql2"
import { AdvisoryLock, FencingToken, Transaction } from "@safesync/mysql"
import { Effect } from "effect"

/** One process at a time sends the report, and only who still holds the lock may note that it is sent. */
export const sendReport = <E>(day: string, send: Effect.Effect<void, E, MysqlClient.MysqlClient>) =>
  Effect.scoped(Effect.gen(function*() {
    const sql = yield* SqlClient.SqlClient
    const lock = yield* AdvisoryLock.acquire("daily report", { timeout: 0 }) // on a connection of its own, no transaction open
    const token = yield* FencingToken.issue(lock)
    yield* Effect.raceFirst(send, lock.lost) // takes minutes; the lock's connection may die meanwhile
    yield* FencingToken.guard(token).pipe( // fails where somebody else has been given the lock since
      Effect.zipRight(sql`INSERT INTO report (day) VALUES (${day})`),
      Transaction.run()
    )
  }))
