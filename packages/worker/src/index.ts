/**
 * What becomes of a message that could not be handled. It is the caller's word; nothing here has a default.
 *
 * @since 0.1.0
 */
export * as Disposition from "./Disposition.js"

/**
 * What a handler fails with that takes too long.
 *
 * @since 0.1.0
 */
export * as LeaseExpired from "./LeaseExpired.js"

/**
 * Publishes what transactions have left in the outbox: a message is in its stream if, and only if, the transaction that
 * wrote it has committed.
 *
 * | where a relay dies | what the next one finds |
 * |---|---|
 * | before XADD | the row: it publishes it |
 * | between XADD and the row's removal | the row: it publishes it a second time, under the same message id |
 * | after the removal | nothing to do |
 *
 * So a message is published at least once, and who reads it with an inbox under `delivery.messageId` applies it once.
 *
 * **Order.** Messages of one stream with one key are published in the order in which their transactions committed. The
 * outbox sees to it that no lower id of a key can still commit; here one relay at a time works on a partition of the outbox,
 * and an entry that could not be added is followed by none of its stream. What is published again comes after all that was
 * published before it, so the first appearances stay in order.
 *
 * **A stream that cannot be written** (it is of another type, or access to it is denied) holds up no other: the relay goes
 * through the rest of the outbox without it, and fails then.
 *
 * @since 0.1.0
 */
export * as OutboxRelay from "./OutboxRelay.js"

/**
 * Read, begin, handle, commit, and only then ack.
 *
 * For each delivery, from the outside in: the delivery's bracket, which acks when its inside succeeds; a transaction,
 * which commits when its inside succeeds; the inbox, which runs its inside unless the message was processed before; the
 * handler. So the ack follows COMMIT by construction, and what the handler writes is applied exactly once.
 *
 * @since 0.1.0
 */
export * as Worker from "./Worker.js"

/**
 * The metrics of this package, under the prefix of COTI SafeSync.
 *
 * @since 0.1.0
 */
export * as WorkerMetrics from "./WorkerMetrics.js"

/**
 * What a worker must be told, and what it may be told.
 *
 * @since 0.1.0
 */
export * as WorkerOptions from "./WorkerOptions.js"

/**
 * What a worker is doing just now, for probes of liveness and readiness.
 *
 * @since 0.1.0
 */
export * as WorkerStatus from "./WorkerStatus.js"
