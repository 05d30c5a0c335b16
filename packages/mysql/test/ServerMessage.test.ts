import { SqlClient } from "@effect/sql/SqlClient"
import { expect, layer } from "@effect/vitest"
import * as MysqlError from "@safesync/mysql/MysqlError"
import * as Transaction from "@safesync/mysql/Transaction"
import * as MysqlServer from "@safesync/testkit/MysqlServer"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import { inspect } from "node:util"
import { printed, secret, statement, tables } from "./errors.js"
import { connectionId, failure, inDatabase, kill } from "./support.js"

/** Statements that fail, and a part of what the server says of them. */
const said: Record<string, readonly [statement: Parameters<typeof statement>[0], text: string]> = {
  "a SIGNAL": [(sql) => sql`CALL refuse(${`out of stock: ${secret}`})`.unprepared, `out of stock: ${secret}`],
  "a mistake in the SQL": [
    (sql) => sql.unsafe(`SELECT * FROM customer WHER name = '${secret}'`),
    `near 'name = '${secret}'' at line 1`
  ],
  "a duplicate": [
    (sql) => sql`INSERT INTO customer VALUES (3, ${secret})`,
    `Duplicate entry '${secret}' for key 'customer.the_name'`
  ]
}

layer(MysqlServer.layer, { excludeTestServices: true })("MysqlError.serverMessage", (it) => {
  for (const [name, [text, words]] of Object.entries(said)) {
    it.effect(`is what the server said, for who asks, and is told nobody else: ${name}`, () =>
      inDatabase(Effect.gen(function*() {
        yield* tables
        const logged: Array<string> = []
        const into = (logger: Logger.Logger<unknown, string>) =>
          Logger.add(Logger.map(logger, (line) => logged.push(line)))
        const loggers = Layer.mergeAll(
          into(Logger.stringLogger),
          into(Logger.jsonLogger),
          into(Logger.logfmtLogger)
        )
        const failing = Effect.withSpan(Transaction.run(statement(text)), "failing")
        const exit = yield* Effect.exit(failing)
        const error = failure(exit) as MysqlError.MysqlError
        yield* Effect.provide(
          Effect.zipRight(
            Effect.logError("it failed", error),
            Effect.logError((exit as Exit.Failure<never, unknown>).cause)
          ),
          loggers
        )
        expect(logged.length).toBe(6)
        const told = [
          printed(exit, error),
          inspect(error, { depth: 10, showHidden: true, getters: true }),
          JSON.stringify(Object.entries(Object.getOwnPropertyDescriptors(error))),
          Cause.pretty(Cause.die(error), { renderErrorCause: true }),
          ...logged
        ].join("\n").replaceAll(error.statement ?? "", "")
        expect(told).not.toContain(secret)

        const asked = Option.getOrThrow(MysqlError.serverMessage(error))
        expect(asked).toContain(words)
        expect(MysqlError.serverMessage(new Error("it failed", { cause: error }))).toEqual(Option.some(asked))
        const Failed = MysqlError[error._tag] as unknown as Schema.Schema<MysqlError.MysqlError, unknown>
        const there = yield* Effect.flatMap(Schema.encode(Failed)(error), Schema.decodeUnknown(Failed))
        expect(MysqlError.serverMessage(there)).toEqual(Option.none())
      })))
  }

  it.effect("is none where the server has said nothing, and bounded where it says much", () =>
    inDatabase(Effect.gen(function*() {
      yield* tables
      const sql = yield* SqlClient
      const lost = yield* Effect.flip(Transaction.run(Effect.gen(function*() {
        yield* Effect.zipRight(Effect.flatMap(connectionId, kill), sql`SELECT 1`)
      })))
      expect(MysqlError.serverMessage(lost)).toEqual(Option.none())
      expect(MysqlError.serverMessage("no error")).toEqual(Option.none())
      const long = MysqlError.fromDriver({ errno: 1644, sqlMessage: "ä".repeat(10_000) })
      expect(Buffer.byteLength(Option.getOrThrow(MysqlError.serverMessage(long)))).toBeLessThanOrEqual(4_096)
    })))
})
