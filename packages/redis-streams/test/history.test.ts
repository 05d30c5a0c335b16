/**
 * Random histories of a consumer group, compared step by step with a model of it: what is pending, for whom, and how
 * often it was delivered. At the end nothing is lost.
 */
import { layer } from "@effect/vitest"
import type * as Redis from "@safesync/redis-streams/Redis"
import * as RedisServer from "@safesync/testkit/RedisServer"
import * as Effect from "effect/Effect"
import * as FastCheck from "effect/FastCheck"
import * as Layer from "effect/Layer"
import * as Runtime from "effect/Runtime"
import { type Capability, Without } from "../src/internal/capabilities.js"
import { RedisFromServer } from "./fixture.js"
import { run } from "./history/run.js"
import { step } from "./history/Step.js"

/**
 * The long form: SAFESYNC_HISTORY_RUNS=5000. To see a failure again: the seed and the path that it printed in
 * SAFESYNC_HISTORY_SEED and SAFESYNC_HISTORY_PATH, and the name of that one test after -t.
 */
const runs = Number(process.env["SAFESYNC_HISTORY_RUNS"] ?? 25)
const seed = process.env["SAFESYNC_HISTORY_SEED"]
const replay = seed === undefined ? {} : { seed: Number(seed), path: process.env["SAFESYNC_HISTORY_PATH"] ?? "" }

const ways: ReadonlyArray<readonly [string, ReadonlyArray<Capability>]> = [
  ["", []],
  [", without XAUTOCLAIM and XTRIM MINID", ["auto-claim", "trim-min-id"]],
  [", without XNACK", ["release"]]
]

/** Trimming drops whole blocks: small ones, so that there is something to drop. */
const SmallBlocks = RedisServer.layerOwn({ args: ["--stream-node-max-entries", "2"] })

layer(SmallBlocks, { excludeTestServices: true })("histories", (it) => {
  for (const [way, without] of ways) {
    it.effect(
      `L15-L20: random histories agree with the model, and nothing is lost${way}`,
      () =>
        Effect.gen(function*() {
          const runtime = yield* Effect.runtime<Redis.Redis | RedisServer.RedisServer>()
          yield* Effect.promise(() =>
            FastCheck.assert(
              FastCheck.asyncProperty(
                FastCheck.array(step, { minLength: 10, maxLength: 60, size: "max" }),
                (steps) => Runtime.runPromise(runtime)(run(steps))
              ),
              { numRuns: runs, ...replay }
            )
          )
        }).pipe(
          Effect.provide(RedisFromServer),
          Effect.provide(Layer.succeed(Without, new Set(without)))
        ),
      110_000 + runs * 400
    )
  }
})
