/**
 * Randomness that a seed repeats.
 *
 * @since 0.1.0
 */
import { PCGRandom } from "effect/Utils"
import { createHash } from "node:crypto"

/**
 * @since 0.1.0
 * @category models
 */
export interface Seeded {
  /** From 0 up to and without 1. */
  readonly number: () => number
  /** A whole number, both ends included. */
  readonly between: (from: number, to: number) => number
  readonly chance: (share: number) => boolean
  readonly pick: <A>(from: ReadonlyArray<A>) => A
}

/**
 * A sequence of its own for each path, such as `(seed, "transfer", 7)`: what one fiber draws does not depend on when another one
 * did.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (...path: ReadonlyArray<string | number>): Seeded => {
  const hash = createHash("sha256").update(JSON.stringify(path)).digest()
  const random = new PCGRandom(hash.readUInt32LE(0), hash.readUInt32LE(4))
  return {
    number: () => random.number(),
    between: (from, to) => from + random.integer(to - from + 1),
    chance: (share) => random.number() < share,
    pick: (from) => from[random.integer(from.length)]!
  }
}
