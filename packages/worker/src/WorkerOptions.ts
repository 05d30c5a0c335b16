/**
 * What a worker must be told, and what it may be told.
 *
 * @since 0.1.0
 */
import type * as Occ from "@safesync/mysql/Occ"
import type * as Transaction from "@safesync/mysql/Transaction"
import type * as Delivery from "@safesync/redis-streams/Delivery"
import type * as Cause from "effect/Cause"
import type * as Duration from "effect/Duration"
import type * as Schedule from "effect/Schedule"
import type { AtOnce, Disposition } from "./Disposition.js"
import type { Failure } from "./Worker.js"

/**
 * What `Worker.run` and `Worker.runBatch` share.
 *
 * @since 0.1.0
 * @category models
 */
export interface Common<A, E> {
  /**
   * What the inbox remembers a message by, for each stream and group (as `Inbox.once(id, "stream/group")`, where a stream's name
   * holds `%2F` for a slash and `%25` for a per cent sign): `"message-id"`, the
   * delivery's own, which a replay from the dead letters keeps; or an id of the caller's, which also recognises an entry that the
   * producer sent twice. Both need the table of `Inbox.migration`.
   *
   * A `"message-id"` that is an entry's own id, and no header's, is unique in its stream alone. Where streams of one name on several
   * servers have one database, give them identities (`StreamIdentity.create`): entries that are added from then on are remembered by
   * their stream's as well. Until then they share names, and a message may be taken for one of another server.
   *
   * `"off"`: the handler sees a message again that it has handled, if the process dies between COMMIT and the ack, if the ack fails,
   * and if the lease is lost while COMMIT is under way. A COMMIT is never interrupted, so in that last case the work is committed,
   * while its entry has another holder by then: it is not acked here, `onFailure` is not asked, and it is handled again, there and
   * maybe at this very moment. With the inbox the other holder waits for this transaction, recognises the message and only acks it.
   * So `"off"` is for handlers that may be repeated, such as those that set a value rather than add to one.
   */
  readonly inbox: "off" | "message-id" | ((value: A, delivery: Delivery.Delivery<A>) => string)
  /**
   * What becomes of a message whose handler or transaction failed, died or interrupted itself: the cause tells which. If it
   * throws, the worker fails with that defect and the message stays pending. An effect cannot be its answer: what is to be done about a
   * failure besides is for the handler. It is not asked about a message whose lease was lost,
   * nor about an ack that failed: such a message stays pending and is delivered again.
   */
  readonly onFailure: (cause: Cause.Cause<Failure<E>>, delivery: Delivery.Delivery<A>) => AtOnce & Disposition
  /**
   * How many messages may wait in this process, for others of their key or for a retry, before reading pauses: with it
   * all other keys, until one of those that wait is settled. A whole number above 0, else a defect. Default: 1,000.
   */
  readonly maxWaiting?: number | undefined
  /**
   * After how many deaths of processes a message goes to the dead letters, with the reason "its process died three times". A message is
   * a suspect from its third delivery on: it is begun only while no other handler runs in the process, and a process that ends in the
   * middle of it has died of it. `onFailure` is not asked. A whole number above 0, else a defect. Default: 3.
   */
  readonly maxDeaths?: number | undefined
  /**
   * How long a handler may have what it was given. Leases are renewed at the server for as long as the handler runs; after
   * this time the handler is interrupted and rolled back, and fails with `LeaseExpired`. It is a limit to the handler, and no other
   * name for the group's `minIdle`, which says when a message whose process is gone is taken over. Default: no bound.
   */
  readonly lease?: Duration.DurationInput | undefined
  /**
   * Options of each transaction. `retry`: run it again, from its start and in a new transaction, after a
   * `VersionConflict`, `Deadlock`, `LockWaitTimeout`, or a `CommitFailed` because of a `Deadlock`; without it, and when it has ended,
   * these go to `onFailure` like any other failure.
   */
  readonly transaction?:
    | (Transaction.Options & {
      readonly retry?: Schedule.Schedule<unknown, Occ.Retryable> | undefined
    })
    | undefined
  /**
   * How long the handlers that run may go on once the worker is to stop. ROLLBACK of what is left then, and handing it back, may take
   * a second more; with a relay that is stopped before, and the connections that are closed after it, two seconds, whether a server
   * answers or not. Default: 20 seconds.
   */
  readonly drainTimeout?: Duration.DurationInput | undefined
  /** What the worker is called in logs. Default: "worker". */
  readonly name?: string | undefined
}

/**
 * The options of `Worker.run`, `make` and `layer`.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options<A, E> extends Common<A, E> {
  /** How many messages are handled at a time by this worker, each with a connection of the pool. A whole number above 0, else a defect. */
  readonly concurrency: number
  /**
   * Messages with the same key are handled one after another, in the order of the stream; also while an earlier one waits
   * for its retry, which then happens in this process. It holds within one worker: let one process read a stream at a
   * time, under one consumer name, or give each process a stream of its own for its share of the keys. If it throws, the worker
   * fails with that defect and the message stays pending: what cannot be handled is for the handler to say.
   */
  readonly key?: ((value: A, delivery: Delivery.Delivery<A>) => string) | undefined
  /**
   * How the span of a delivery stands to its sender's, where a message carries one. `"link"`, the default: it begins a trace
   * of its own that links to the sender's, since many groups may read a message, and for days. `"child"`: one trace.
   */
  readonly trace?: "link" | "child" | undefined
}

/**
 * The options of `Worker.runBatch`.
 *
 * @since 0.1.0
 * @category models
 */
export interface BatchOptions<A, E> extends Common<A, E> {
  /** How many messages at most share a transaction. A whole number above 0, else a defect. */
  readonly size: number
  /** How long a batch that is not full waits for more, from its first message on; a bare number is milliseconds. */
  readonly within: Duration.DurationInput
  /** How many batches are handled at a time. Default: 1, which keeps the order of the stream. */
  readonly concurrency?: number | undefined
}
