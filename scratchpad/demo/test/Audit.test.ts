import * as SqlClient from "@effect/sql/SqlClient"
import { expect, it } from "@effect/vitest"
import * as Inbox from "@safesync/mysql/Inbox"
import * as Transaction from "@safesync/mysql/Transaction"
import * as Redis from "@safesync/redis-streams/Redis"
import * as MysqlServer from "@safesync/testkit/MysqlServer"
import * as RedisServer from "@safesync/testkit/RedisServer"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import { randomBytes } from "node:crypto"
import * as Audit from "../Audit.js"
import { generate } from "../GeneratedInput.js"
import * as Handler from "../Handler.js"
import * as Input from "../Input.js"
import * as InvoiceLine from "../InvoiceLine.js"
import * as Sequential from "../Sequential.js"
import * as Tables from "../Tables.js"

const Servers = Layer.mergeAll(
  MysqlServer.database({ maxConnections: 2 }),
  Layer.unwrapEffect(Effect.map(RedisServer.RedisServer, ({ url }) => Redis.layer({ url })))
).pipe(Layer.provideMerge(Layer.merge(MysqlServer.layer, RedisServer.layer)))

/** A database in which every line was applied, one after the other, and its audit. */
const applied = Effect.gen(function*() {
  const lines = yield* Input.fromText(generate({ lines: 150, seed: 3 }), 150)
  const books = Sequential.compute(lines)
  yield* Tables.migration
  yield* Tables.referenceData(books)
  const redis = yield* Redis.Redis
  const deadLetterStream = yield* Effect.acquireRelease(
    Effect.sync(() => `safesync-demo-test:${randomBytes(6).toString("hex")}:dead`),
    (stream) => Effect.orDie(redis.command("DEL", stream))
  )
  for (const raw of lines) {
    const line = InvoiceLine.decode(raw)
    yield* Option.isSome(line)
      ? Handler.apply(line.value).pipe(
        Inbox.once(String(raw.line), "audit"),
        Transaction.run({ isolation: "read-committed" })
      )
      : redis.command("XADD", deadLetterStream, "*", "data", JSON.stringify(raw), "dead.reason", "undecodable")
  }
  return { books, audit: Audit.audit({ lines, books, sentTimes: () => 1, deadLetterStream }) }
})

it.live("finds nothing where every line was applied, and each thing that is not as computed", () =>
  Effect.gen(function*() {
    const sql = yield* SqlClient.SqlClient
    const { audit, books } = yield* applied
    expect(yield* audit).toEqual({
      applied: books.applied.size,
      appliedTwice: 0,
      deadLettered: 150 - books.applied.size,
      lost: 0,
      compared: { products: books.products.size, accounts: books.accounts.size, invoices: books.invoices.size },
      differences: []
    })

    yield* sql`UPDATE account SET balance = balance + 0.01 LIMIT 1`
    yield* sql`UPDATE product_stock SET quantity = quantity + 1 LIMIT 1`
    yield* sql`UPDATE product_figures SET version = version + 1 LIMIT 1`
    yield* sql`UPDATE invoice_tax SET vat = vat + 0.01 LIMIT 1`
    yield* sql`UPDATE invoice SET country = 'Nowhere' LIMIT 1`
    yield* sql`DELETE FROM invoice_total LIMIT 1`
    const once = yield* audit
    expect(Audit.holds(once)).toBe(false)
    expect(once.differences.map((difference) => difference.replace(/\d+(\.\d+)?|guest-\d+/g, "N"))).toEqual([
      expect.stringMatching(/^stock of product \S+: N in the database, N computed$/),
      expect.stringMatching(/^version of product \S+: N in the database, N computed$/),
      expect.stringMatching(/^balance of account \S+: -?N in the database, -?N computed$/),
      expect.stringMatching(/^header of invoice \S+: .*Nowhere.* in the database, .* computed$/),
      expect.stringMatching(/^invoice \S+: computed, not in the database$/),
      expect.stringMatching(/^VAT of invoice \S+: -?N in the database, -?N computed$/)
    ])

    // Twice, known but without effect, neither known nor with effect, and known though it cannot be.
    yield* sql`UPDATE product_figures SET line_count = line_count + 1 ORDER BY stock_code LIMIT 1`
    yield* sql`UPDATE product_figures SET line_count = line_count - 1 ORDER BY stock_code DESC LIMIT 1`
    const [forgotten] = books.applied
    const [undecodable] = books.undecodable
    yield* sql`DELETE FROM ${sql(Inbox.table)} WHERE message_id = ${String(forgotten)}`
    yield* Effect.void.pipe(Inbox.once(String(undecodable), "audit"), Transaction.run())
    const twice = yield* audit
    expect(twice).toMatchObject({ applied: books.applied.size, appliedTwice: 2, lost: 2 })
    expect(twice.differences).toEqual(expect.arrayContaining([
      `line ${forgotten} is lost`,
      `line ${undecodable} is in the inbox, though it cannot be decoded`,
      expect.stringMatching(/^product \S+ has counted 1 lines more than the inbox$/),
      expect.stringMatching(/^product \S+ has counted 1 lines less than the inbox$/)
    ]))
    yield* MysqlServer.assertClean()
  }).pipe(Effect.scoped, Effect.provide(Servers)))
