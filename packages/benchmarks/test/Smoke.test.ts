import { expect, layer } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import { jobs } from "../src/Benchmark.js"
import { cases } from "../src/cases.js"
import { measure } from "../src/measure.js"
import * as Report from "../src/Report.js"
import * as Rounds from "../src/Rounds.js"
import * as Servers from "../src/Servers.js"
import { Settings } from "../src/Settings.js"

layer(Servers.layer, { excludeTestServices: true })("benchmarks", (it) => {
  // Those of concurrency 32 are those of 8 with another number.
  for (const of of cases.filter(({ name }) => !name.includes("32"))) {
    for (const contender of of.contenders) {
      it.scoped(`${of.name}: ${contender.name} does all of it, once`, () =>
        Effect.gen(function*() {
          const place = yield* Servers.place
          const pids = yield* Servers.pids
          const sample = yield* measure(
            new Settings({ case: of.name, contender: contender.name, size: "smoke", place, pids })
          )
          expect(sample.problems).toEqual([])
          expect(sample.count).toBe(jobs(of, contender, "smoke", place)[1].count)
        }), { concurrent: false })
    }
  }

  it.effect("contenders have their turns in processes of their own, and the report has a row for each", () =>
    Effect.gen(function*() {
      const of = cases.find(({ name }) => name === "queue, produce")!
      const played = yield* Rounds.play(of, { rounds: 1, size: "smoke", onTurn: () => {} })
      expect(played.turns.map(({ contender }) => contender)).toEqual(of.contenders.map(({ name }) => name))
      expect(played.turns.map(({ result }) => Either.isLeft(result) ? result.left : "verified")).toEqual(
        played.turns.map(() => "verified")
      )
      const report = Report.make([played], {
        size: "smoke",
        rounds: 1,
        mysql: "",
        redis: "",
        load: [0, 0],
        seconds: 0
      })
      expect(report.ok).toBe(true)
      expect(report.cases[0]!.rows.map(({ contender, ratio }) => [contender, ratio.median > 0])).toEqual(
        of.contenders.map(({ name }) => [name, true])
      )
    }))

  it.effect("a run that is found wrong does not count", () =>
    Effect.sync(() => {
      const of = cases[0]!
      const report = Report.make(
        [{ case: of, turns: [{ round: 1, contender: of.baseline, result: Either.left("3 messages are pending") }] }],
        { size: "smoke", rounds: 1, mysql: "", redis: "", load: [0, 0], seconds: 0 }
      )
      expect(report.ok).toBe(false)
      expect(report.cases[0]!.rows).toEqual([])
      expect(report.discarded).toEqual([`${of.name}: ${of.baseline}, round 1: 3 messages are pending`])
    }))
})
