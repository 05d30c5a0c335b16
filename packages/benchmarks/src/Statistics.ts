/**
 * @since 0.1.0
 */

/**
 * @since 0.1.0
 * @category models
 */
export interface Spread {
  readonly median: number
  readonly min: number
  readonly max: number
}

/**
 * Of at least one value; the median of an even number is between the two in the middle.
 *
 * @since 0.1.0
 * @category constructors
 */
export const spread = (values: ReadonlyArray<number>): Spread => {
  const sorted = values.toSorted((a, b) => a - b)
  const middle = sorted.length >> 1
  return {
    median: sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2,
    min: sorted[0]!,
    max: sorted.at(-1)!
  }
}

/**
 * The value below which this share of all values lies.
 *
 * @since 0.1.0
 * @category accessors
 */
export const percentile = (values: ReadonlyArray<number>, share: number): number => {
  const sorted = values.toSorted((a, b) => a - b)
  return sorted[Math.max(0, Math.ceil(sorted.length * share) - 1)]!
}
