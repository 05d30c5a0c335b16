/** What a message costs on the network, counted by a proxy in front of each server: exact on every machine. */
import { expect, layer } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { cases } from "../src/cases.js"
import * as RoundTrips from "../src/RoundTrips.js"
import * as Servers from "../src/Servers.js"

/** Of so many operations as a batch has, as a difference of two jobs. */
const ofABatch = (name: string, contender: string) =>
  Effect.gen(function*() {
    const found = cases.find((_) => _.name === name)!.contenders.find((_) => _.name === contender)!
    const { mysql, redis } = yield* RoundTrips.count(found)
    const batch = RoundTrips.batchOf(found)
    return { mysql: Math.round(mysql * batch), redis: Math.round(redis * batch) }
  })

layer(Servers.layer, { excludeTestServices: true })("round trips", (it) => {
  for (
    const [name, contender, mysql, redis] of [
      // BEGIN, two statements, COMMIT; an ack; a read for all 64.
      ["transactional, concurrency 1", "hand-written", 4 * 64, 64 + 1],
      // BEGIN goes with the inbox's insert; the handler's statement; COMMIT. Reads ask for as many as were begun in the last 50 ms, so
      // their number is the machine's.
      ["transactional, concurrency 1", "Worker.run, inbox", 3 * 64, { from: 64 + 1, to: 64 + 32 }],
      // BEGIN with the inbox's insert of all ids; a hundred statements, or one; COMMIT. A read, and one ack for all.
      ["transactional, batches", "Worker.runBatch, 100, a statement a message", 102, 2],
      ["transactional, batches", "Worker.runBatch, 100, set-based", 3, 2],
      // BEGIN goes with the statement, which its connection has prepared before; COMMIT.
      ["primitives, atomic UPDATE, 1,000 rows", "SafeSync", 2 * 64, 0],
      // BEGIN goes with the locking read; UPDATE, COMMIT.
      ["primitives, row lock, 1,000 rows", "SafeSync", 3 * 64, 0],
      // GET_LOCK with BEGIN; SELECT, UPDATE; RELEASE_LOCK goes with COMMIT.
      ["primitives, advisory lock, 1,000 rows", "SafeSync", 4 * 64, 0],
      // BEGIN goes with the SELECT; UPDATE, COMMIT.
      ["primitives, OCC, 1,000 rows", "SafeSync", 3 * 64, 0],
      // A read for 100, and an ack for all that are done in one turn of the event loop.
      ["queue, consume and ack", "StreamConsumer + Delivery.use", 0, 2],
      ["queue, produce", "StreamProducer.sendAll", 0, 1]
    ] as const
  ) {
    const { from, to } = typeof redis === "number" ? { from: redis, to: redis } : redis
    it.effect(`${name}: ${contender}: ${mysql} of MySQL, ${from === to ? from : `${from} to ${to}`} of Redis`, () =>
      Effect.map(ofABatch(name, contender), (counted) => {
        expect(counted.mysql).toBe(mysql)
        expect(counted.redis).toBeGreaterThanOrEqual(from)
        expect(counted.redis).toBeLessThanOrEqual(to)
      }))
  }
})
