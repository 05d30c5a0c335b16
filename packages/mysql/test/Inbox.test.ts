import { SqlClient } from "@effect/sql/SqlClient"
import { expect, layer } from "@effect/vitest"
import * as Inbox from "@safesync/mysql/Inbox"
import * as Transaction from "@safesync/mysql/Transaction"
import * as MysqlServer from "@safesync/testkit/MysqlServer"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { accounts, add, balances, inDatabase } from "./support.js"

const prepared = Effect.zipRight(Inbox.migration, Effect.zipRight(Inbox.migration, accounts))

layer(MysqlServer.layer, { excludeTestServices: true })("Inbox", (it) => {
  it.effect("L23: a message is applied once for each group, however many bring it at a time", () =>
    inDatabase(Effect.gen(function*() {
      yield* prepared
      const handle = (id: string, group: string) => Transaction.run(Inbox.once(id, group)(Effect.as(add(1, 1), "done")))
      const results = yield* Effect.all(Array.from({ length: 24 }, () => handle("m", "g")), { concurrency: 8 })
      expect(results.filter(Option.isSome)).toEqual([Option.some("done")])
      yield* handle("m", "another group")
      yield* handle("M", "g")
      yield* handle("m ", "g")
      yield* handle("x".repeat(300) + "1", "g")
      yield* handle("x".repeat(300) + "2", "g")
      expect(yield* balances).toEqual([6, 0, 0])
    })))

  it.effect("L23: a message whose transaction rolled back is not remembered", () =>
    inDatabase(Effect.gen(function*() {
      yield* prepared
      yield* Transaction.run(Inbox.once("m", "g")(Effect.zipRight(add(1, 1), Effect.fail("no")))).pipe(Effect.ignore)
      yield* Transaction.run(Inbox.once("m", "g")(add(1, 1)))
      expect(yield* balances).toEqual([1, 0, 0])
    })))

  it.effect("purge forgets old messages in batches, and only those", () =>
    inDatabase(Effect.gen(function*() {
      yield* prepared
      const sql = yield* SqlClient
      yield* sql`INSERT INTO safesync_inbox (consumer_group, message_id, processed_at)
        SELECT 'g', CONCAT('old', seq.n), NOW() - INTERVAL 2 DAY
        FROM (WITH RECURSIVE s (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < 25) SELECT n FROM s) seq`
      yield* Transaction.run(Inbox.once("new", "g")(Effect.void))
      expect(yield* Inbox.purge({ olderThan: "1 day", batchSize: 10 })).toBe(25)
      expect(yield* sql`SELECT CAST(message_id AS CHAR) AS id FROM safesync_inbox`).toEqual([{ id: "new" }])
    })))
})
