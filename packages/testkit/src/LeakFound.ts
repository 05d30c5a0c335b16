/**
 * What a leak probe says when a test left something behind on a server.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"

/**
 * A test left something behind: a transaction, a lock, a pending entry.
 *
 * @since 0.1.0
 * @category errors
 */
export class LeakFound extends Schema.TaggedError<LeakFound>("@safesync/testkit/LeakFound")("LeakFound", {
  /** What was looked at. */
  where: Schema.String,
  /** One sentence for each thing that was left. */
  leaks: Schema.Array(Schema.String)
}) {
  override get message(): string {
    return `${this.where}: ${this.leaks.join("; ")}`
  }
}
