/**
 * What a handler fails with that takes too long.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"

/**
 * The handler had the message for longer than the worker's `lease`: it was interrupted and its transaction rolled back.
 *
 * @since 0.1.0
 * @category errors
 */
export class LeaseExpired extends Schema.TaggedError<LeaseExpired>("@safesync/worker/LeaseExpired")("LeaseExpired", {
  /** The `lease`, in milliseconds. */
  millis: Schema.Number
}) {
  override get message() {
    return `The handler was not done within its lease of ${this.millis} ms`
  }
}
