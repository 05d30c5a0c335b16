/** The order of the ids of entries: two numbers each, which may be longer than what a number of JavaScript holds. */

export const isAbove = (a: string, b: string): boolean => {
  const [am, as] = a.split("-") as [string, string]
  const [bm, bs] = b.split("-") as [string, string]
  return compare(am, bm) > 0 || (am === bm && compare(as, bs) > 0)
}

/** The smallest id above this one. Exclusive ranges came only with 6.2. */
export const after = (id: string): string => {
  const [millis, sequence] = id.split("-").map(BigInt) as [bigint, bigint]
  return sequence < lastSequence ? `${millis}-${sequence + 1n}` : `${millis + 1n}-0`
}

// internal

const lastSequence = 2n ** 64n - 1n

const compare = (a: string, b: string): number => a.length - b.length || (a < b ? -1 : a > b ? 1 : 0)
