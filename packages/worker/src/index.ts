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
