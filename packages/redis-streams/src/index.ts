/**
 * A consumer group of a stream: who may read what, and what the server knows about it.
 *
 * @since 0.1.0
 */
export * as ConsumerGroup from "./ConsumerGroup.js"

/**
 * What a group could not decode or has given up: looking at it, sending it again, and throwing it away.
 *
 * A dead entry has its own fields as they were, and beside them where it came from, how often it was tried and why it
 * died. Groups of one stream share its dead-letter stream by default, and those of several streams may be told to
 * (`ConsumerGroup.make`); each group sees, sends and throws away its own entries only: those of its stream and its name.
 *
 * @since 0.1.0
 */
export * as DeadLetter from "./DeadLetter.js"

/**
 * One entry of a stream, given to one consumer of a group, that carries its own ack.
 *
 * It is acked when the bracket that took it ends with success, and not otherwise: not on failure, defect, interruption,
 * nor when it is dropped. A delivery that is not acked stays pending and is delivered again: to the same consumer when it
 * starts or reconnects, to any consumer through `Reclaim` once it has been idle for the group's `minIdle`. One that has
 * waited in a buffer for so long is such a one too: who begins it then gets `LeaseLost` if somebody else has taken it.
 *
 * While its handler runs, the delivery's lease is renewed: a slow handler is not robbed. If the lease is lost all the same
 * (the process was asleep for longer than `minIdle`, say), the handler is interrupted. An ack is for the entry that was delivered:
 * where the stream was made anew meanwhile (`FLUSHALL`) and another entry has its id, that one is not acked.
 *
 * What `use` does at the end of its handler:
 *
 * | exit of the handler | still held                        | lease lost                | settled by the handler itself |
 * |---------------------|-----------------------------------|---------------------------|-------------------------------|
 * | success             | ack; if that fails, its error     | ack, since the work is done; `LeaseLost` if the id is another entry's by now | the handler's result |
 * | failure, defect     | the entry stays pending           | the handler's failure     | the handler's failure         |
 * | interruption        | the entry stays pending           | `LeaseLost`               | interruption                  |
 *
 * @since 0.1.0
 */
export * as Delivery from "./Delivery.js"

/**
 * The gauges of a consumer group: what is pending, how far it lags, how old its oldest pending entry is, what is dead.
 *
 * They are the server's own numbers, so one process a group is enough to report them; several do no harm.
 *
 * @since 0.1.0
 */
export * as GroupMetrics from "./GroupMetrics.js"

/**
 * Taking over what has been pending for too long: entries of consumers that died, were handed back, or wait for a retry.
 *
 * @since 0.1.0
 */
export * as Reclaim from "./Reclaim.js"

/**
 * The connection to Redis: one that all share, and reserved ones for reads that block.
 *
 * The driver is ioredis, set so that nothing is sent twice and nothing is queued behind the caller's back: without a
 * connection a command fails at once with `RedisConnectionLost` and `outcome: "not-sent"`. The shared connection comes
 * back by itself; what to do with a command that failed is the caller's word.
 *
 * @since 0.1.0
 */
export * as Redis from "./Redis.js"

/**
 * What can go wrong with Redis, one tag per failure that a caller acts on.
 *
 * No error carries a value that was sent: a command is named, its arguments are not.
 *
 * @since 0.1.0
 */
export * as RedisError from "./RedisError.js"

/**
 * The metrics of this package. Names and labels are those that dashboards of COTI SafeSync already use; those that are
 * new carry the same prefix.
 *
 * The first 200 streams that a process names have a label of their own, all others share `other`. The gauges of a group
 * cannot be shared: those of the first 200 groups are set.
 *
 * @since 0.1.0
 */
export * as RedisStreamsMetrics from "./RedisStreamsMetrics.js"

/**
 * Reading a stream as one consumer of a group: as a `Stream`, or one entry at a time with `next`.
 *
 * @since 0.1.0
 */
export * as StreamConsumer from "./StreamConsumer.js"

/**
 * How a value becomes the fields of a stream entry, and back.
 *
 * The wire format is one field, `data`, that holds JSON, so that producers and consumers of COTI SafeSync for Python
 * interoperate. Headers are further fields beside it; they are written only when the caller gives some, since the
 * Python consumer refuses an entry with any other field than `data`.
 *
 * @since 0.1.0
 */
export * as StreamEntry from "./StreamEntry.js"

/**
 * The identity that tells a stream from another one of its name: on another server, in another database, or made anew under that name.
 *
 * The ids of entries are unique in their stream alone. Two streams of one name give out the same ids, and an inbox that both of them
 * write to takes the message of the one for that of the other: it is acked and never handled. So a stream may be given an identity, in
 * a key beside it (`{payments}:born`), and the ids of entries that are added from then on go together with it: `Delivery.born`. Entries
 * that were there before, and all as long as there is no identity, are known by their id alone, as ever.
 *
 * @since 0.1.0
 */
export * as StreamIdentity from "./StreamIdentity.js"

/**
 * Sending entries to a stream.
 *
 * @since 0.1.0
 */
export * as StreamProducer from "./StreamProducer.js"

/**
 * The trace that a message belongs to, in its headers as W3C Trace Context, and the spans of sending, receiving, handling
 * and acking it, by OpenTelemetry's conventions for messaging.
 *
 * Spans are made only while somebody collects them: a tracer other than Effect's own is there, and what goes on is recorded
 * at all. Otherwise their cost is one comparison.
 *
 * @since 0.1.0
 */
export * as TraceContext from "./TraceContext.js"
