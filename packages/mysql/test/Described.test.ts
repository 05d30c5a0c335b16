import { SqlClient } from "@effect/sql/SqlClient"
import { SqlError } from "@effect/sql/SqlError"
import { describe, expect, it, layer } from "@effect/vitest"
import * as MysqlError from "@safesync/mysql/MysqlError"
import * as Occ from "@safesync/mysql/Occ"
import * as Transaction from "@safesync/mysql/Transaction"
import * as TransactionError from "@safesync/mysql/TransactionError"
import * as MysqlServer from "@safesync/testkit/MysqlServer"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import { inspect } from "node:util"
import * as lastingConnection from "../src/internal/lastingConnection.js"
import * as sideConnection from "../src/internal/sideConnection.js"

const throws = (): never => {
  throw new Error("a getter has thrown")
}

const revoked = () => {
  const { proxy, revoke } = Proxy.revocable({}, {})
  revoke()
  return proxy
}

const values: ReadonlyArray<unknown> = [
  ...[undefined, null, 1n, Symbol("x"), {}, "text", Object.create(null), revoked()],
  ...[{ toString: throws }, Object.defineProperty(new Error("x"), "message", { get: throws })],
  ...[new Proxy({}, { get: throws, has: throws, getPrototypeOf: throws }), new Error("x".repeat(2_000_000))]
]

layer(MysqlServer.layer, { excludeTestServices: true })("What the server said", (it) => {
  it.effect("an error's message is bounded, however long its statement is", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient
      const error = yield* Effect.flip(
        Transaction.run(sql.unsafe(`SELECT missing FROM nowhere WHERE id IN (${"1, ".repeat(50_000)} 1)`))
      )
      expect(Buffer.byteLength(error.message)).toBeLessThanOrEqual(4096)
      expect(error.message).toContain("nowhere")
    }).pipe(Effect.provide(MysqlServer.database())))
})

describe("A connection beside the pool to where no driver connects", () => {
  const urls = [
    "nonsense",
    "mysql://",
    "mysql://user:ses%zzame@127.0.0.1/app",
    "mysql://u:sesame@h?ssl=nonsense&charset=nope"
  ]

  it.scoped("fails with a typed error, and does not tell the password", () =>
    Effect.forEach(urls, (url) =>
      Effect.gen(function*() {
        const config = { url: Redacted.make(url) }
        const connection = yield* sideConnection.scoped(config)
        const error = yield* Effect.flip(sideConnection.rows(connection, "SELECT 1"))
        expect(error._tag).toBe("ConnectionLost")
        expect(inspect(error, { depth: 9 })).not.toContain("sesame")
        const asked = yield* Effect.async<unknown>((resume) =>
          lastingConnection.make(config).ask("SELECT 1", [], (_, error) => resume(Effect.succeed(error)))
        )
        expect(inspect(asked, { depth: 9 })).not.toContain("sesame")
        expect(MysqlError.fromDriver(asked)._tag).toBe("ConnectionLost")
      })))
})

describe("An error of anything", () => {
  it("has a message", () => {
    for (const cause of values) {
      for (
        const error of [
          new TransactionError.BeginFailed({ cause }),
          new TransactionError.CommitFailed({ cause, connectionId: 1 }),
          new TransactionError.CommitOutcomeUnknown({ cause, connectionId: 1 }),
          MysqlError.fromDriver(cause),
          MysqlError.classify(new SqlError({ cause, message: "it failed" }))
        ]
      ) {
        expect(error.message.length).toBeLessThan(5_000)
      }
    }
  })

  it("is told from those of this package", () => {
    for (const value of values) {
      expect([MysqlError.isMysqlError(value), MysqlError.isRetryable(value), Occ.isRetryable(value)]).toEqual(
        [false, false, false]
      )
      expect(MysqlError.refailError(value)).toBe(value)
    }
  })
})
