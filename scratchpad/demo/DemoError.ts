/**
 * What the demo cannot go on with: one line that says what is wrong and what to do.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"

/**
 * @since 0.1.0
 * @category errors
 */
export class DemoError extends Schema.TaggedError<DemoError>("@safesync/scratchpad/DemoError")("DemoError", {
  message: Schema.String
}) {}
