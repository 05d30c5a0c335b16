import { assert, layer } from "@effect/vitest"
import * as Invariants from "@safesync/testkit/Invariants"
import * as MysqlServer from "@safesync/testkit/MysqlServer"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"

const processes = 5
const operations = 10

const ours = (name?: string) => ({ module: new URL("./fixtures/strategies.ts", import.meta.url), export: name })

layer(Layer.merge(MysqlServer.layer, Invariants.layer({ processes })), {
  excludeTestServices: true,
  timeout: "3 minutes"
})("Invariants", (it) => {
  const holds = (strategy: Invariants.IncrementBuiltIn | Invariants.Module) =>
    Effect.gen(function*() {
      const verdict = yield* Invariants.increments(strategy, { operations })
      assert.deepStrictEqual(verdict.problems, [])
      assert.deepInclude(verdict, {
        processes,
        operations,
        succeeded: processes * operations,
        expected: processes * operations,
        found: processes * operations,
        lost: 0
      })
    })

  it.effect("no lost update: an atomic UPDATE", () => holds("atomic-update"))
  it.effect("L9: no lost update: RowLock", () => holds("row-lock"))
  it.effect("L10: no lost update: AdvisoryLock inside of the transaction", () => holds("advisory-lock"))
  it.effect("L9, L10: no lost update: AdvisoryLock and RowLock composed", () => holds("row-and-advisory-lock"))
  it.effect("L10: no lost update: AdvisoryLock around the transaction", () => holds("with-lock"))
  it.effect("L12, L13: no lost update: Occ with the caller's retry", () => holds("occ-retry"))
  it.effect("no lost update: a strategy of the user's own, from a module", () => holds(ours()))

  /** Every process reads before anybody writes, so that of each round one update remains. */
  const loses = (strategy: Invariants.IncrementBuiltIn) =>
    Effect.gen(function*() {
      const verdict = yield* Invariants.increments(strategy, { operations })
      assert.deepInclude(verdict, { expected: 50, found: 10, lost: 40, problems: ["40 of 50 updates were lost"] })
    })

  it.effect("seen to lose updates: read, compute, write without a lock", () => loses("unsynchronised"))
  it.effect("seen to lose updates: Occ.tryUpdate whose 0 is ignored", () => loses("occ-ignored"))

  it.effect("L14: IdempotentInsert: one row, and one process that inserted it", () =>
    Effect.gen(function*() {
      const verdict = yield* Invariants.inserts("idempotent-insert", { operations })
      assert.deepStrictEqual(verdict.problems, [])
      assert.deepInclude(verdict, { succeeded: processes * operations, expected: operations, found: operations })
    }))

  it.effect("seen to be wrong: look, then insert", () =>
    Effect.gen(function*() {
      const verdict = yield* Invariants.inserts(ours("looksFirst"), { operations })
      assert.deepStrictEqual(verdict.problems, ["50 inserts were reported, and there are 10 rows"])
    }))

  it.effect("says what else is wrong: operations that failed, effects of such, what was left behind", () =>
    Effect.gen(function*() {
      const failing = yield* Invariants.increments(ours("failsAfterwards"), { operations: 1 })
      assert.deepStrictEqual(failing.problems, [
        "10 updates were written by operations that failed, or twice",
        "5 operations failed: the network, they say"
      ])
      const leaking = yield* Invariants.increments(ours("leaks"), { operations: 1 })
      assert.strictEqual(leaking.problems.length, processes)
      assert.match(leaking.problems[0]!, /holds or waits for the lock leak/)
    }))

  const reason = (strategy: Parameters<typeof Invariants.increments>[0], options: Invariants.Options = {}) =>
    Effect.map(Effect.flip(Invariants.increments(strategy, options)), ({ message }) => message)

  it.effect("a strategy that cannot be loaded is a failure", () =>
    Effect.gen(function*() {
      assert.match(yield* reason("optimism" as "row-lock"), /There is no strategy optimism\. There are atomic-update, /)
      assert.match(yield* reason(ours("missing")), /strategies\.ts exports no function missing/)
      assert.match(yield* reason({ module: "/nowhere/strategy.js" }), /nowhere/)
      yield* holds("atomic-update")
    }))

  it.effect("a process that ends is a failure, and so is one that hangs; others take their place", () =>
    Effect.gen(function*() {
      assert.match(yield* reason(ours("crashes")), /Process \d of 2 ended with exit code 3/)
      assert.match(yield* reason(ours("hangs"), { within: "1 second" }), /did not finish within 1s/)
      const verdict = yield* Invariants.increments("atomic-update", { operations: 1 })
      assert.deepInclude(verdict, { found: 2, problems: [] })
    }).pipe(Effect.provide(Invariants.layer({ processes: 2 }))))
})
