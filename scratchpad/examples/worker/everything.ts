import { NodeRuntime } from "@effect/platform-node"
import { Outbox } from "@safesync/mysql"
import { Telemetry } from "@safesync/opentelemetry"
import { GroupMetrics } from "@safesync/redis-streams"
import { Effect, Schedule } from "effect"
import { relay } from "./outbox.js"
import { Billing, BillingLive, group, ServersLive } from "./service.js"
import { upkeep } from "./upkeep.js"

const program = Effect.scoped(Effect.gen(function*() {
  const worker = yield* Billing
  const billing = yield* group
  yield* Effect.forkScoped(upkeep)
  yield* Effect.forkScoped(GroupMetrics.report(billing, { every: Schedule.spaced("10 seconds") }))
  yield* Effect.forkScoped(Outbox.report({ every: Schedule.spaced("1 minute") }))
  yield* Effect.raceFirst(worker.await, relay)
}))

NodeRuntime.runMain(program.pipe(
  Effect.provide(BillingLive),
  Effect.provide(ServersLive),
  Effect.provide(Telemetry.layer) // outside of the others: it still counts while they end
))
