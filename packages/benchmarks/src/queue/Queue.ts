/**
 * The queue alone: consume and ack, and produce.
 *
 * @since 0.1.0
 */
import type { Case } from "../Benchmark.js"
import * as Consume from "./consume.js"
import * as Produce from "./produce.js"

const [oneAtATime, bullmq, persistedQueue] = ["hand-written, one at a time", "BullMQ", "Effect's PersistedQueue"]

/**
 * @since 0.1.0
 * @category cases
 */
export const cases: ReadonlyArray<Case> = [
  {
    name: "queue, consume and ack",
    about: "50,000 messages of 200 bytes that are there already: read, decoded, handled 100 at a time, acked.",
    unit: "messages",
    compares: "throughput",
    count: { full: 50_000, quick: 10_000, smoke: 200 },
    quick: true,
    slices: 5,
    roundTrips: true,
    baseline: "hand-written, 100 at a time",
    contenders: [
      { name: "hand-written, 100 at a time", ...Consume.handWritten },
      {
        name: "StreamConsumer + Delivery.use",
        targets: [
          { of: "throughput", than: "hand-written, 100 at a time", atLeast: 0.4 },
          { of: "throughput", than: bullmq, atLeast: 3 },
          { of: "throughput", than: persistedQueue, atLeast: 7 }
        ],
        ...Consume.safesync
      },
      { name: oneAtATime, times: 0.2, notQuick: true, ...Consume.oneAtATime },
      { name: bullmq, times: 0.5, ...Consume.bullmq },
      { name: persistedQueue, times: 0.2, notQuick: true, ...Consume.persistedQueue }
    ]
  },
  {
    name: "queue, produce",
    about: "50,000 messages of 200 bytes, encoded and added to a stream, 256 at a time.",
    unit: "messages",
    compares: "throughput",
    count: { full: 50_000, quick: 20_000, smoke: 200 },
    quick: true,
    slices: 5,
    roundTrips: true,
    baseline: "hand-written pipeline",
    contenders: [
      { name: "hand-written pipeline", ...Produce.handWritten },
      {
        name: "StreamProducer.sendAll",
        targets: [{ of: "throughput", than: "hand-written pipeline", atLeast: 0.8 }],
        ...Produce.sendAll
      }
    ]
  }
]
