// The examples of the guide, run as they are printed there.
import { SqlClient } from "@effect/sql"
import { expect, it } from "@effect/vitest"
import * as MysqlServer from "@safesync/testkit/MysqlServer"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { test as dead } from "../testkit/delivery.js"
import { lostCommit } from "../testkit/lostCommit.js"
import { Servers, test } from "../testkit/servers.js"

it.scopedLive("servers on demand, and a COMMIT whose reply is lost", () =>
  Effect.gen(function*() {
    yield* test
    expect((yield* lostCommit)._tag).toBe("CommitOutcomeUnknown")
    const sql = yield* SqlClient.SqlClient
    // It arrived, and the server did as it was told.
    expect(yield* sql`SELECT pence FROM account ORDER BY id`).toEqual([{ pence: 5 }, { pence: 7 }])
    yield* MysqlServer.assertClean()
  }).pipe(Effect.provide(Servers)))

it.effect("a delivery without a server", () =>
  Effect.gen(function*() {
    expect(yield* dead).toEqual(Option.some({ _tag: "DeadLettered", reason: "refused five times" }))
  }))
