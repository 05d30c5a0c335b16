/** What may happen in a history. */
import * as FastCheck from "effect/FastCheck"

const names = ["a", "b"] as const
const name = FastCheck.constantFrom(...names)
const which = FastCheck.nat(1000)
const of = <const A extends string>(...steps: ReadonlyArray<A>) => FastCheck.constantFrom(...steps)

/**
 * - `send`, `sendBad`: entries, and one that cannot be decoded.
 * - `read`, `next`, `reclaim`: a process takes a batch of its stream, one entry, or all that is stale.
 * - `close`, `crash`: it closes its stream, or is killed.
 * - `succeed`, `fail`, `bury`, `park`: a delivery is used, dead-lettered, or put off.
 * - `begin`, `end`: its handler begins, and ends some steps later: several run at a time.
 * - `age`: a pending entry has been idle for long.
 * - `delete`, `trim`, `trimAcked`: entries go, needed or not, or only those that nobody needs.
 * - `lose`: the group goes, alone or with its stream, until somebody creates it again; `replace`: it is another one at once.
 */
export const step = FastCheck.oneof(
  { weight: 20, arbitrary: FastCheck.record({ step: of("send"), count: FastCheck.integer({ min: 1, max: 5 }) }) },
  { weight: 5, arbitrary: FastCheck.record({ step: of("sendBad") }) },
  { weight: 30, arbitrary: FastCheck.record({ step: of("read"), name }) },
  { weight: 12, arbitrary: FastCheck.record({ step: of("next"), name }) },
  { weight: 10, arbitrary: FastCheck.record({ step: of("close", "crash"), name }) },
  { weight: 15, arbitrary: FastCheck.record({ step: of("reclaim"), name }) },
  { weight: 50, arbitrary: FastCheck.record({ step: of("succeed", "fail", "bury", "park"), which }) },
  { weight: 15, arbitrary: FastCheck.record({ step: of("begin"), which }) },
  { weight: 12, arbitrary: FastCheck.record({ step: of("end"), which, success: FastCheck.boolean() }) },
  { weight: 15, arbitrary: FastCheck.record({ step: of("age", "delete"), which }) },
  { weight: 5, arbitrary: FastCheck.record({ step: of("trim"), keep: FastCheck.nat(4) }) },
  { weight: 6, arbitrary: FastCheck.record({ step: of("trimAcked") }) },
  { weight: 6, arbitrary: FastCheck.record({ step: of("lose"), withStream: FastCheck.boolean() }) },
  { weight: 1, arbitrary: FastCheck.record({ step: of("replace") }) }
)

export type Step = typeof step extends FastCheck.Arbitrary<infer S> ? S : never
