/**
 * The message that all contenders are given: 200 bytes of JSON.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"

/**
 * @since 0.1.0
 * @category schemas
 */
export const Message = Schema.Struct({
  /** Its place in its stream, from 0. */
  number: Schema.Int,
  account: Schema.Int,
  pence: Schema.Int,
  note: Schema.String
})

/**
 * @since 0.1.0
 * @category models
 */
export type Message = typeof Message.Type

/**
 * The accounts are those from 1 to this.
 *
 * @since 0.1.0
 * @category constants
 */
export const accounts = 1_000

/**
 * The n-th message of a stream: the same for every contender. Neighbours go to accounts that are far apart.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (number: number): Message => {
  const account = (number * 7_919) % accounts + 1
  const bare = { number, account, pence: 1, note: "" }
  return { ...bare, note: "x".repeat(Math.max(0, 200 - JSON.stringify(bare).length)) }
}
