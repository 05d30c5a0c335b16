import { SqlClient } from "@effect/sql"
import { AdvisoryLock, Transaction } from "@safesync/mysql"
import { Effect } from "effect"

/** LockTimeoutError and SQLAlchemy's errors are tags now, and each says what can be done: the compiler knows which are left. */
export const book = (id: number) =>
  Effect.gen(function*() {
    const sql = yield* SqlClient.SqlClient
    yield* AdvisoryLock.acquireInTransaction(`booking/${id}`, { timeout: 0 })
    yield* sql`INSERT INTO booking (id) VALUES (${id})`
    return "booked" as const
  }).pipe(
    Transaction.run(),
    Effect.catchTags({
      AdvisoryLockTimeout: () => Effect.succeed("busy" as const), // LockTimeoutError
      DuplicateKey: () => Effect.succeed("booked before" as const), // an IntegrityError there
      CommitOutcomeUnknown: () => Effect.succeed("ask again" as const) // not told apart there
    })
  )
