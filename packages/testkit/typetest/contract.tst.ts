import { SqlClient } from "@effect/sql/SqlClient"
import * as Contract from "@safesync/testkit/Contract"
import type { MysqlServer } from "@safesync/testkit/MysqlServer"
import type { RedisServer } from "@safesync/testkit/RedisServer"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { describe, expect, test } from "tstyche"

const OrderPlaced = Schema.TaggedStruct("OrderPlaced", { order: Schema.String })
const observed = { prepare: Effect.void, observe: Effect.flatMap(SqlClient, (sql) => sql`SELECT 1`) }

describe("the messages of a contract", () => {
  test("are what the schema says, literals too", () => {
    expect(
      Contract.exactlyOnce({
        ...observed,
        schema: OrderPlaced,
        messages: [{ _tag: "OrderPlaced", order: "x" }],
        handler: ({ order }) => Effect.log(order)
      })
    ).type.toBeAssignableTo<Effect.Effect<Contract.Report, unknown, MysqlServer | RedisServer>>()
    expect(Contract.exactlyOnce({
      ...observed,
      schema: OrderPlaced,
      messages: [{ _tag: "OrderLost", order: "x" }],
      handler: () => Effect.void
    })).type.toRaiseError(/"OrderLost"/)
  })

  test("may be of any type", () => {
    const holds = <A, I, E>(
      schema: Schema.Schema<A, I>,
      message: A,
      handler: (value: A) => Effect.Effect<void, E, Contract.Services>
    ) => Contract.exactlyOnce({ ...observed, schema, messages: [message], handler })
    expect(holds(Schema.Int, 1, () => Effect.void)).type.toBeAssignableTo<
      Effect.Effect<Contract.Report, unknown, MysqlServer | RedisServer>
    >()
  })
})
