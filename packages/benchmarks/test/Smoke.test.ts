import { expect, layer } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import { type Case, jobs, type Sample } from "../src/Benchmark.js"
import { cases } from "../src/cases.js"
import * as Markdown from "../src/Markdown.js"
import { measure } from "../src/measure.js"
import * as Report from "../src/Report.js"
import * as Rounds from "../src/Rounds.js"
import * as Servers from "../src/Servers.js"
import { Settings } from "../src/Settings.js"

const find = (name: string): Case => cases.find((_) => _.name === name)!

const conditions = {
  size: "smoke",
  rounds: 1,
  mysql: "",
  redis: "",
  durability: "",
  fsyncMillis: 0,
  load: [0, 0],
  seconds: 0
} as const

const none = new Map<never, never>()

const sample = (seconds: number): Sample => ({
  count: 1_000,
  seconds,
  cpu: { node: null, mysqld: null, redis: null },
  maxRssMegabytes: 1,
  latency: null,
  waits: null,
  problems: []
})

layer(Servers.layer, { excludeTestServices: true })("benchmarks", (it) => {
  // Those of concurrency 32 are those of 8 with another number, and so are the sizes of what grows.
  for (const of of cases.filter(({ name }) => !name.includes("32"))) {
    for (const contender of of.compares === "time" ? of.contenders.slice(0, 2) : of.contenders) {
      it.scoped(`${of.name}: ${contender.name} does all of it, once`, () =>
        Effect.gen(function*() {
          const place = yield* Servers.place
          const pids = yield* Servers.pids
          const sample = yield* measure(
            new Settings({ case: of.name, contender: contender.name, size: "smoke", place, pids })
          )
          expect(sample.problems).toEqual([])
          const { measured } = jobs(of, contender, "smoke", place)
          expect(sample.count).toBe(measured.reduce((sum, { count }) => sum + count, 0))
        }), { concurrent: false })
    }
  }

  // "overhead" is played too, for the modules that it replaces when they are loaded.
  for (const [name, most] of [["queue, produce", 2], ["overhead", 2]] as const) {
    it.effect(`${name}: contenders have their turns in processes of their own, and the report has a row for each`, () =>
      Effect.gen(function*() {
        const of = { ...find(name), contenders: find(name).contenders.slice(0, most) }
        const played = yield* Rounds.play(of, { rounds: 1, size: "smoke", onTurn: () => {} })
        expect(played.turns.map(({ contender }) => contender)).toEqual(of.contenders.map(({ name }) => name))
        expect(played.turns.map(({ result }) => Either.isLeft(result) ? result.left : "verified")).toEqual(
          played.turns.map(() => "verified")
        )
        const report = Report.make(cases, [played], conditions)
        expect(report.ok).toBe(true)
        expect(report.cases[0]!.rows.map(({ contender, ratio }) => [contender, ratio.median > 0])).toEqual(
          of.contenders.map(({ name }) => [name, true])
        )
      }))
  }

  it.effect("a run that is found wrong does not count, and its target is missed", () =>
    Effect.sync(() => {
      const of = find("queue, produce")
      const [baseline, ours] = of.contenders.map(({ name }) => name) as [string, string]
      const report = Report.make(cases, [{
        case: of,
        roundTrips: none,
        turns: [
          { round: 1, contender: baseline, result: Either.right(sample(1)) },
          { round: 1, contender: ours, result: Either.left("3 messages are pending") }
        ]
      }], conditions)
      expect(report.ok).toBe(false)
      expect(report.cases[0]!.rows.map(({ contender }) => contender)).toEqual([baseline])
      expect(report.discarded).toEqual([`${of.name}: ${ours}, round 1: 3 messages are pending`])
      expect(Markdown.missed(report.targets)).toEqual([expect.stringContaining("✗ | queue, produce")])
    }))

  it.effect("what was not run is named, and its targets are not measured", () =>
    Effect.sync(() => {
      const of = find("queue, consume and ack")
      const some = { ...of, contenders: of.contenders.slice(0, 2) }
      const [baseline, ours] = some.contenders.map(({ name }) => name) as [string, string]
      const report = Report.make(cases, [{
        case: some,
        roundTrips: none,
        turns: [
          { round: 1, contender: baseline, result: Either.right(sample(1)) },
          { round: 1, contender: ours, result: Either.right(sample(4)) },
          { round: 2, contender: baseline, result: Either.right(sample(1)) },
          { round: 2, contender: ours, result: Either.right(sample(2)) }
        ]
      }], conditions)
      expect(report.targets.filter(({ case: name }) => name === of.name).map(({ ratio, result }) => [result, ratio]))
        .toEqual([
          ["missed", { median: 0.375, min: 0.25, max: 0.5 }],
          ["not measured", null],
          ["not measured", null]
        ])
      expect(report.leftOut).toContain("queue, consume and ack: BullMQ")
      expect(report.leftOut).toContain("latency")
      expect(Markdown.summary(report.targets)).toContain("0 targets are met, 1 missed")
    }))
})
