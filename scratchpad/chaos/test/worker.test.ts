import { expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Logger from "effect/Logger"
import * as LogLevel from "effect/LogLevel"
import { silent } from "../Progress.js"
import { cells, matrix } from "../WorkerCrash.js"

// The crash matrix in short: every point, before and after, and every fault, though not each with each.

it.live(
  "L22, L23: whatever is killed, cut or stalled, wherever: each message is applied once, and none is stuck",
  () => {
    const some = cells.filter((_, i) => i % 5 === (Math.floor(i / 10) + 2 * Math.floor(i / 5)) % 5)
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
