import * as Migrator from "@effect/sql/Migrator"
import { SqlClient } from "@effect/sql/SqlClient"
import { expect, layer } from "@effect/vitest"
import * as CommitOracle from "@safesync/mysql/CommitOracle"
import * as FencingToken from "@safesync/mysql/FencingToken"
import * as Inbox from "@safesync/mysql/Inbox"
import * as Outbox from "@safesync/mysql/Outbox"
import * as MysqlServer from "@safesync/testkit/MysqlServer"
import * as Effect from "effect/Effect"
import { inDatabase } from "./support.js"

const migrations = {
  "0001_inbox": Inbox.migration,
  "0002_outbox": Outbox.migration,
  "0003_commit_oracle": CommitOracle.migration,
  "0004_fencing_token": FencingToken.migration
}

const tables = Effect.flatMap(SqlClient, (sql) =>
  Effect.map(
    sql<{ name: string }>`SELECT TABLE_NAME AS name FROM information_schema.tables
      WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME LIKE 'safesync%' ORDER BY 1`,
    (rows) => rows.map(({ name }) => name)
  ))

layer(MysqlServer.layer, { excludeTestServices: true })("migrations", (it) => {
  it.effect("they run in the Migrator of @effect/sql, and twice by themselves", () =>
    inDatabase(Effect.gen(function*() {
      const migrate = Migrator.make({})({ loader: Migrator.fromRecord(migrations) })
      expect((yield* migrate).map(([id]) => id)).toEqual([1, 2, 3, 4])
      expect(yield* migrate).toEqual([])
      const created = yield* tables
      expect(created).toEqual([
        "safesync_commit",
        "safesync_fencing_token",
        "safesync_inbox",
        "safesync_outbox",
        "safesync_outbox_slot"
      ])
      yield* Effect.all(Object.values(migrations), { discard: true })
      expect(yield* tables).toEqual(created)
    })))
})
