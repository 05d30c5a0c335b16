import type * as MysqlClient from "@effect/sql-mysql2/MysqlClient"
import type { SqlClient } from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import type { Transaction } from "@safesync/mysql/Transaction"
import type * as Delivery from "@safesync/redis-streams/Delivery"
import * as Disposition from "@safesync/worker/Disposition"
import * as Worker from "@safesync/worker/Worker"
import type * as Cause from "effect/Cause"
import type * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import type { Scope } from "effect/Scope"
import type * as Stream from "effect/Stream"
import { describe, expect, test } from "tstyche"

declare const source: Stream.Stream<Delivery.Delivery<number>, "gone", "Queue">
declare const handler: (value: number) => Effect.Effect<void, "refused" | SqlError, SqlClient | Transaction | Scope>
declare const batchHandler: () => Effect.Effect<void, "refused", Transaction>

const rest = { concurrency: 1 } as const
const batch = { size: 1, within: 1 } as const
const onFailure = () => Disposition.stop
type Failure = "gone" | Worker.Failure<"refused">

describe("L24: what happens to a failed message is the caller's word", () => {
  test("onFailure has no default", () => {
    expect(Worker.run<number, "gone", "Queue", void, "refused" | SqlError, SqlClient>).type.not.toBeCallableWith(
      source,
      handler,
      {
        ...rest,
        inbox: "off" as const
      }
    )
    expect(Worker.runBatch<number, "gone", "Queue", void, "refused", Transaction>).type.not.toBeCallableWith(
      source,
      batchHandler,
      {
        ...batch,
        inbox: "off" as const
      }
    )
  })

  test("it is told the handler's errors, and those of the transaction around it", () => {
    Worker.run(source, handler, {
      ...rest,
      inbox: "off",
      onFailure: (cause) => {
        expect(cause).type.toBe<Cause.Cause<Worker.Failure<"refused" | SqlError>>>()
        return Disposition.discard
      }
    })
  })
})

describe("L23: whether there is an inbox is said", () => {
  test("it has no default", () => {
    expect(Worker.run<number, "gone", "Queue", void, "refused" | SqlError, SqlClient>).type.not.toBeCallableWith(
      source,
      handler,
      {
        ...rest,
        onFailure
      }
    )
    expect(Worker.runBatch<number, "gone", "Queue", void, "refused", Transaction>).type.not.toBeCallableWith(
      source,
      batchHandler,
      {
        ...batch,
        onFailure
      }
    )
  })
})

describe("what a worker needs and fails with", () => {
  test("the transaction and the scope of a message are its own; the driver's error comes out classified", () => {
    const _run = Worker.run(source, handler, { ...rest, inbox: "message-id", onFailure })
    expect(_run).type.toBe<Effect.Effect<void, Failure, "Queue" | SqlClient | MysqlClient.MysqlClient>>()
    const _batch = Worker.runBatch(source, batchHandler, { ...batch, inbox: "message-id", onFailure })
    expect(_batch).type.toBe<Effect.Effect<void, Failure, "Queue" | MysqlClient.MysqlClient>>()
  })

  test("a layer's tag must know every error", () => {
    const options = { ...rest, inbox: "message-id", onFailure } as const
    expect(Worker.layer).type.not.toBeCallableWith(
      {} as Context.Tag<"W", Worker.Worker<"gone">>,
      source,
      handler,
      options
    )
    expect(Worker.layer).type.toBeCallableWith({} as Context.Tag<"W", Worker.Worker<Failure>>, source, handler, options)
  })
})
