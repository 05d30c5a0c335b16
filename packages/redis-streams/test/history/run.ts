/** Runs a history against a server, and compares what is there with the model after each step. */
import { assert } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Logger from "effect/Logger"
import * as LogLevel from "effect/LogLevel"
import { pendingOf } from "../fixture.js"
import { act } from "./act.js"
import { ending } from "./ending.js"
import * as Fleet from "./Fleet.js"
import type { Step } from "./Step.js"

export const run = (steps: ReadonlyArray<Step>) =>
  Effect.gen(function*() {
    const fleet = yield* Fleet.make
    for (const step of steps) {
      yield* act(fleet, step)
      yield* compare(fleet)
    }
    yield* ending(fleet)
  }).pipe(Effect.scoped, Logger.withMinimumLogLevel(LogLevel.None))

/** What is pending, for whom, and how often it was delivered. */
const compare = ({ group, model }: Fleet.Fleet) =>
  Effect.map(Effect.either(pendingOf(group)), (actual) => {
    if (actual._tag === "Left") {
      assert.deepStrictEqual([actual.left._tag, model.isLost], ["NoGroup", true])
      return
    }
    assert.isFalse(model.isLost)
    assert.deepStrictEqual(
      actual.right.filter(({ id }) => !model.deleted.has(id))
        .map(({ attempts, consumer, id }) => [id, consumer, attempts]),
      model.alive.map(([id, { attempts, owner }]) => [id, owner, attempts])
    )
  })
