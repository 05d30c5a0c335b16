import { expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Logger from "effect/Logger"
import * as LogLevel from "effect/LogLevel"
import * as Poison from "../Poison.js"
import { silent } from "../Progress.js"
import { matrix } from "../WorkerCrash.js"
import { cells } from "../WorkerCrashFault.js"

// The crash matrix in short: every point, before and after, and every fault, though not each with each.

it.live(
  "L22, L23: whatever is killed, cut or stalled, wherever: each message is applied once, and none is stuck",
  () => {
    const some = cells.filter((_, i) => i % 5 === (2 * Math.floor(i / 10) + Math.floor(i / 5)) % 5)
    expect(new Set(some.map(({ fault }) => fault)).size).toBe(5)
    expect(new Set(some.map(({ point, when }) => `${when} ${point}`)).size).toBe(12)
    return Effect.map(
      Logger.withMinimumLogLevel(matrix({ seed: 1, runs: 1, progress: silent }, some), LogLevel.None),
      ({ failures, figures }) => {
        expect(failures).toEqual([])
        expect(new Map(figures).get("faults")).toBe(12)
      }
    )
  },
  240_000
)

it.live(
  "L24: a message that never succeeds, among many that do, is dead-lettered after its attempts, and nobody waits for it",
  () =>
    Effect.map(
      Effect.scoped(
        Logger.withMinimumLogLevel(Poison.scenario.run({ seed: 1, runs: 400, progress: silent }), LogLevel.None)
      ),
      ({ failures }) => expect(failures).toEqual([])
    ),
  120_000
)
