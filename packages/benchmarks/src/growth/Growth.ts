/**
 * What a message costs as there is more of something: messages, entries that are pending, messages at a time, processes. The
 * contenders of a case are its sizes; the smallest is what the others are divided by.
 *
 * @since 0.1.0
 */
import type { Case, Contender, Target } from "../Benchmark.js"
import * as Consume from "../queue/consume.js"
import * as safesync from "../transactional/safesync.js"
import * as Pending from "./pending.js"
import * as Processes from "./processes.js"

/**
 * @since 0.1.0
 * @category cases
 */
export const cases: ReadonlyArray<Case> = [
  ...([
    ["StreamConsumer + Delivery.use", Consume.safesync, [1, 10, 100]],
    ["Worker.run, inbox, 8 at a time", safesync.run(8), [1, 10]],
    ["Worker.runBatch, 100, set-based", safesync.runBatchSetBased, [1, 10, 100]]
  ] as const).map(([name, way, times], at) =>
    growth({
      name: `growth, messages: ${name}`,
      targets: flat("time"),
      about: "The time of a message, as the stream that is worked off becomes longer.",
      count: { full: 10_000, quick: 5_000, smoke: 20 },
      quick: at === 0,
      sizes: times.map((times) => ({
        name: `${times} × as many`,
        times,
        notQuick: times > 10,
        ...way
      }))
    })
  ),
  growth({
    name: "growth, pending: new messages",
    targets: flat("time"),
    about: "The time of a new message, with so many entries pending for another consumer of the group.",
    count: { full: 20_000, quick: 5_000, smoke: 20 },
    quick: false,
    sizes: [100, 1_000, 10_000, 100_000].map((pending) => ({
      name: `${pending} pending`,
      ...Pending.beside(pending)
    }))
  }),
  growth({
    name: "growth, pending: taken over",
    targets: flat("time"),
    about:
      "The time of an entry that `Reclaim` takes over from a dead consumer, with so many in the pending list. The small " +
      "lists are taken over one after another, until it is as many entries.",
    count: { full: 20_000, quick: 2_000, smoke: 200 },
    quick: false,
    sizes: [100, 1_000, 10_000, 100_000].map((pending) => ({
      name: `${pending} pending`,
      times: Math.max(1, pending / 20_000),
      ...Pending.takenOver(pending)
    }))
  }),
  growth({
    name: "growth, concurrency",
    targets: noWorse,
    about: "`Worker.run` with the inbox, so many messages at a time, on as many connections.",
    count: { full: 8_000, quick: 1_000, smoke: 20 },
    quick: false,
    sizes: [1, 4, 16, 64, 256].map((concurrency) => ({
      name: `${concurrency} at a time`,
      ...safesync.run(concurrency)
    }))
  }),
  growth({
    name: "growth, processes",
    targets: noWorse,
    about:
      "`Worker.run` with the inbox, 8 at a time in each of so many processes, which share the stream. Memory is that of one.",
    count: { full: 8_000, quick: 2_000, smoke: 24 },
    quick: false,
    sizes: [1, 2, 3, 4].map((processes) => ({
      name: `${processes} processes`,
      ...Processes.run(processes)
    }))
  })
]

// internal

/** 15 % more for each message, and half as much memory again: a heap may be larger before it is collected. */
function flat(of: "time" | "CPU"): (than: string) => ReadonlyArray<Target> {
  return (than) => [
    { of, than, atMost: 1.15 },
    { of: "memory", than, atMost: 1.5 }
  ]
}

/** More at a time is not slower, and a message is not more work. */
function noWorse(than: string): ReadonlyArray<Target> {
  return [{ of: "throughput", than, atLeast: 0.85 }, ...flat("CPU")(than)]
}

function growth(
  { sizes, targets, ...of }: Pick<Case, "name" | "about" | "count" | "quick"> & {
    readonly sizes: ReadonlyArray<Contender>
    readonly targets: (smallest: string) => ReadonlyArray<Target>
  }
): Case {
  const baseline = sizes[0]!.name
  return {
    ...of,
    unit: "messages",
    compares: "time",
    baseline,
    contenders: sizes.map((size) => size.name === baseline ? size : { ...size, targets: targets(baseline) })
  }
}
