/**
 * A message of 200 bytes: BEGIN, UPDATE of one of 1,000 accounts, insert of the message id, COMMIT, ack.
 *
 * @since 0.1.0
 */
import type { Case } from "../Benchmark.js"
import { bullmq } from "./bullmq.js"
import { handTuned, handWritten } from "./handWritten.js"
import * as safesync from "./safesync.js"
import { withTransaction } from "./withTransaction.js"

/**
 * @since 0.1.0
 * @category cases
 */
export const cases: ReadonlyArray<Case> = ([[1, 0.95, 4_000], [8, 1, 8_000], [32, 1, 8_000]] as const).map(
  ([concurrency, target, full]) => ({
    name: `transactional, concurrency ${concurrency}`,
    about: "200 bytes a message: BEGIN, UPDATE of one of 1,000 accounts, insert of the message id, COMMIT, ack.",
    unit: "messages",
    latency: false,
    count: { full, quick: 1_000, smoke: 20 },
    quick: true,
    baseline: "hand-written",
    contenders: [
      handWritten(concurrency),
      {
        name: "Worker.run, inbox",
        targets: [{ than: "hand-written", atLeast: target }],
        ...safesync.run(concurrency)
      },
      handTuned(concurrency),
      withTransaction(concurrency),
      bullmq(concurrency),
      // One batch at a time: beside as many transactions as one would otherwise have at a time.
      ...(concurrency === 32 ? [] : [
        {
          name: "Worker.runBatch, 100, a statement a message",
          targets: [{ than: "hand-written", atLeast: 2.5 }],
          times: 2,
          ...safesync.runBatch
        },
        {
          name: "Worker.runBatch, 100, set-based",
          targets: [{ than: "hand-written", atLeast: 15 }],
          times: 10,
          ...safesync.runBatchSetBased
        }
      ])
    ]
  })
)
