/**
 * A connection that holds a lock or waits for one, as far as the server tells about it.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"

/**
 * One side of a wait for a lock. What the server does not know, or does not tell this account, is absent.
 *
 * @since 0.1.0
 * @category models
 */
export class LockParty extends Schema.Class<LockParty>("@safesync/mysql/LockParty")({
  /** The server's id of the connection, as in its process list. */
  connectionId: Schema.Number,
  /** `user@host`. */
  account: Schema.optional(Schema.String),
  /** How long its transaction has been open, in milliseconds. */
  transactionMillis: Schema.optional(Schema.Number),
  /** The statement that it runs, or ran last, with a `?` in place of each value. */
  statement: Schema.optional(Schema.String),
  /** 32 hexadecimal digits, from the `traceparent` of a sqlcommenter comment in the statement. */
  traceId: Schema.optional(Schema.String),
  /** 16 hexadecimal digits, from the same comment: the span in which the statement was run. */
  spanId: Schema.optional(Schema.String)
}) {
  override toString(): string {
    const trace = this.traceId === undefined ? "" : ` in trace ${this.traceId}, span ${this.spanId}`
    return `connection ${this.connectionId}${trace}${this.statement === undefined ? "" : `: ${this.statement}`}`
  }
}
