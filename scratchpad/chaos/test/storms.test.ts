import { expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Logger from "effect/Logger"
import * as LogLevel from "effect/LogLevel"
import * as Interrupt from "../Interrupt.js"
import * as Interruptions from "../Interruptions.js"
import * as MysqlKill from "../MysqlKill.js"
import * as MysqlNetwork from "../MysqlNetwork.js"
import { silent } from "../Progress.js"
import type { Scenario } from "../Scenario.js"

// The long proofs in short. Each has a server of its own.

const short = (scenario: Scenario, runs: number, seed: number) =>
  scenario.run({ seed, runs, progress: silent }).pipe(Logger.withMinimumLogLevel(LogLevel.None))

it.scopedLive(
  "L4: waits for locks, for SLEEP and for the pool are interrupted, and nothing is left of them",
  () =>
    Effect.map(short(Interrupt.scenario, 4, 1), ({ failures }) =>
      // Whether it is within 250 ms, the long form says on a quiet machine.
      expect(failures.filter((failure) => !/took \d+ ms or more/.test(failure))).toEqual([])),
  120_000
)

it.scopedLive(
  "L1, L4, L5: transactions of every kind are interrupted at random, and the books are right",
  () => Effect.map(short(Interruptions.scenario, 100, 2), ({ failures }) => expect(failures).toEqual([])),
  120_000
)

it.scopedLive(
  "L3: MySQL is killed under load, and what callers were told is what is in the database",
  () => Effect.map(short(MysqlKill.scenario, 2, 3), ({ failures }) => expect(failures).toEqual([])),
  120_000
)

it.scopedLive(
  "L2, L3: the network fails under load, and what callers were told is what is in the database",
  () => Effect.map(short(MysqlNetwork.scenario, 2, 4), ({ failures }) => expect(failures).toEqual([])),
  120_000
)
