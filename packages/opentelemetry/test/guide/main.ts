import { NodeRuntime } from "@effect/platform-node"
import { Telemetry } from "@safesync/opentelemetry"
import { Effect } from "effect"

declare const worker: Effect.Effect<void>

NodeRuntime.runMain(Effect.provide(worker, Telemetry.layer))
