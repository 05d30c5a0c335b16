import { NodeRuntime } from "@effect/platform-node"
import { Effect } from "effect"
import { Billing, BillingLive, ServersLive } from "./service.js"

// Ends when the worker fails; on SIGTERM or SIGINT the layer closes, which drains it; on a second signal at once.
const program = Effect.flatMap(Billing, (worker) => worker.await)

NodeRuntime.runMain(program.pipe(Effect.provide(BillingLive), Effect.provide(ServersLive)))
