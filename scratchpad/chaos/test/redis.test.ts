import { expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Logger from "effect/Logger"
import * as LogLevel from "effect/LogLevel"
import { silent } from "../Progress.js"
import * as RedisBacklog from "../RedisBacklog.js"
import * as RedisFaults from "../RedisFaults.js"
import type { Scenario } from "../Scenario.js"

// The long proofs in short. Each has a server of its own.

const short = (scenario: Scenario, runs: number, seed: number) =>
  Logger.withMinimumLogLevel(scenario.run({ seed, runs, progress: silent }), LogLevel.None)

it.scopedLive(
  "L15, L16, L20, L21: Redis and the network fail under load, and what was sent is handled",
  () => Effect.map(short(RedisFaults.scenario, 24, 1), ({ failures }) => expect(failures).toEqual([])),
  180_000
)

it.scopedLive(
  "L16, L18: a backlog and long pending lists are worked off in order, each entry once",
  () => Effect.map(short(RedisBacklog.scenario, 5_000, 1), ({ failures }) => expect(failures).toEqual([])),
  60_000
)
