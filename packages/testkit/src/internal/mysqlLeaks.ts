import * as Effect from "effect/Effect"
import type * as Redacted from "effect/Redacted"
import * as MysqlConnection from "./mysqlConnection.js"

/** What connections to a database, and these others, have open or hold, a sentence each. */
export const found = (
  url: Redacted.Redacted<string>,
  database: string,
  connectionIds: ReadonlyArray<number>
): Effect.Effect<ReadonlyArray<string>> => {
  // an empty list is no SQL
  const ids = [-1, ...connectionIds]
  return MysqlConnection.ask(url, leaks, [database, ids, database, ids]).pipe(
    Effect.map((rows) => rows.map((row) => String(row["leak"]))),
    // a failing probe is a broken test bench, not something that a test handles
    Effect.orDie
  )
}

const leaks = `
SELECT CONCAT('connection ', t.PROCESSLIST_ID, ' has a transaction open') AS leak
FROM performance_schema.threads t
JOIN performance_schema.events_transactions_current e ON e.THREAD_ID = t.THREAD_ID AND e.STATE = 'ACTIVE'
WHERE t.PROCESSLIST_DB = ? OR t.PROCESSLIST_ID IN (?)
UNION
SELECT CONCAT('connection ', t.PROCESSLIST_ID, ' holds or waits for the lock ', m.OBJECT_NAME)
FROM performance_schema.metadata_locks m
JOIN performance_schema.threads t ON t.THREAD_ID = m.OWNER_THREAD_ID
WHERE m.OBJECT_TYPE = 'USER LEVEL LOCK' AND (t.PROCESSLIST_DB = ? OR t.PROCESSLIST_ID IN (?))
UNION
SELECT 'nothing can be seen: the server runs with performance_schema=OFF' FROM DUAL WHERE NOT @@performance_schema`
