/**
 * All that is compared.
 *
 * @since 0.1.0
 */
import type { Case } from "./Benchmark.js"
import * as Growth from "./growth/Growth.js"
import * as Latency from "./latency/Latency.js"
import * as Overhead from "./overhead/Overhead.js"
import * as Primitives from "./primitives/Primitives.js"
import * as Queue from "./queue/Queue.js"
import * as Transactional from "./transactional/Transactional.js"

/**
 * @since 0.1.0
 * @category cases
 */
export const cases: ReadonlyArray<Case> = [
  ...Transactional.cases,
  ...Queue.cases,
  ...Latency.cases,
  ...Primitives.cases,
  ...Overhead.cases,
  ...Growth.cases
]
