/** A service that takes a request and sends messages. */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as Telemetry from "@safesync/opentelemetry/Telemetry"
import * as Redis from "@safesync/redis-streams/Redis"
import * as StreamProducer from "@safesync/redis-streams/StreamProducer"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import { Payment, settings } from "./settings.js"

const { messages, redis, stream } = settings()

const program = Effect.gen(function*() {
  const producer = yield* StreamProducer.make({ stream, schema: Payment, traceContext: true })
  for (const pence of messages) {
    yield* Effect.withSpan(StreamProducer.send(producer, { account: 1, pence }), "POST /payments", {
      kind: "server",
      root: true
    })
  }
})

NodeRuntime.runMain(Effect.provide(program, [Redis.layer({ url: Redacted.make(redis) }), Telemetry.layer]))
