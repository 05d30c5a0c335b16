/**
 * A message of 200 bytes: BEGIN, UPDATE of one of 1,000 accounts, insert of the message id, COMMIT, ack.
 *
 * @since 0.1.0
 */
import type { Case } from "../Benchmark.js"
import { bullmq } from "./bullmq.js"
import * as byHand from "./handWritten.js"
import * as batchByHand from "./handWrittenBatch.js"
import * as safesync from "./safesync.js"
import { withTransaction } from "./withTransaction.js"

const baseline = "hand-written"
const [batch, setBased] = ["hand-written, 100, a statement a message", "hand-written, 100, set-based"]

/**
 * @since 0.1.0
 * @category cases
 */
export const cases: ReadonlyArray<Case> = ([[1, 0.95, 4_000], [8, 1, 8_000], [32, 1, 8_000]] as const).map(
  ([concurrency, target, full]): Case => ({
    name: `transactional, concurrency ${concurrency}`,
    about:
      "200 bytes a message: BEGIN, UPDATE of one of 1,000 accounts, insert of the message id, COMMIT, ack. By hand the " +
      "id goes into a table of one column, and that is all that is done for safety. `Worker.run` does more: its inbox knows " +
      "an id for each group, and when it came, in a second index; a statement is cancelled at the server when its fiber is " +
      "interrupted; leases are renewed; each failure is classified, and a connection goes back clean or not at all.",
    unit: "messages",
    compares: "throughput",
    count: { full, quick: concurrency === 1 ? 400 : 1_000, smoke: 20 },
    quick: concurrency !== 32,
    warmUp: 10_000,
    slices: full / 1_000,
    roundTrips: concurrency === 1,
    baseline,
    contenders: [
      byHand.handWritten(concurrency),
      {
        name: "Worker.run, inbox",
        targets: [{ of: "throughput", than: baseline, atLeast: target }],
        ...safesync.run(concurrency)
      },
      byHand.handTuned(concurrency),
      withTransaction(concurrency),
      bullmq(concurrency)
    ]
  })
).concat({
  name: "transactional, batches",
  about:
    "The same messages, 100 in a transaction: 100 ids in one insert, 100 UPDATEs or one for all, one ack. One batch at a " +
    "time unless it says otherwise; `hand-written` is one message a transaction, 8 at a time.",
  unit: "messages",
  compares: "throughput",
  count: { full: 8_000, quick: 1_000, smoke: 20 },
  quick: true,
  warmUp: 10_000,
  slices: 4,
  roundTrips: true,
  baseline,
  contenders: [
    byHand.handWritten(8),
    { name: batch, times: 2, notQuick: true, ...batchByHand.aStatementEach },
    {
      name: "Worker.runBatch, 100, a statement a message",
      targets: [{ of: "throughput", than: baseline, atLeast: 2.5 }],
      times: 2,
      ...safesync.runBatch(1)
    },
    {
      name: "Worker.runBatch, 100, a statement a message, 4 batches at a time",
      times: 2,
      notQuick: true,
      ...safesync.runBatch(4)
    },
    { name: setBased, times: 10, notQuick: true, ...batchByHand.setBased },
    {
      name: "Worker.runBatch, 100, set-based",
      targets: [{ of: "throughput", than: baseline, atLeast: 15 }],
      times: 10,
      ...safesync.runBatchSetBased
    }
  ]
})
