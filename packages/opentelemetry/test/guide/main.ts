import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import { Telemetry } from "@safesync/opentelemetry"
import * as Effect from "effect/Effect"

declare const worker: Effect.Effect<void>

NodeRuntime.runMain(Effect.provide(worker, Telemetry.layer))
