/**
 * What the body of a transfer itself may end with.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"

/**
 * A failure of the body's own.
 *
 * @since 0.1.0
 * @category errors
 */
export class Refused extends Schema.TaggedError<Refused>("@safesync/scratchpad/Refused")("Refused", {}) {}

/**
 * What a read-only transaction has seen that cannot be.
 *
 * @since 0.1.0
 * @category errors
 */
export class Inconsistent
  extends Schema.TaggedError<Inconsistent>("@safesync/scratchpad/Inconsistent")("Inconsistent", {
    seen: Schema.Array(Schema.String)
  })
{}

/**
 * What a body of the kind "dies" dies of.
 *
 * @since 0.1.0
 * @category constants
 */
export const defect = "the body's own defect"
