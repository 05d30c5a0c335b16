/**
 * What becomes of a message that could not be handled. It is the caller's word; nothing here has a default.
 *
 * @since 0.1.0
 */
import * as Data from "effect/Data"
import type * as Schedule from "effect/Schedule"

/**
 * The four words that `onFailure` can say.
 *
 * @since 0.1.0
 * @category models
 */
export type Disposition = Data.TaggedEnum<{
  /** Deliver it again after the schedule's next delay; when the schedule is done, to the dead letters. */
  readonly Retry: { readonly schedule: Schedule.Schedule<unknown, unknown> }
  /** To the group's dead-letter stream, with the pretty-printed cause. */
  readonly DeadLetter: {}
  /** Ack it as if it had been handled. */
  readonly Discard: {}
  /** The worker fails with the handler's cause, and the message stays pending. */
  readonly Stop: {}
}>

const { DeadLetter, Discard, Retry, Stop } = Data.taggedEnum<Disposition>()

/**
 * Deliver it again later. The n-th failed attempt (as the server counts them, across processes) waits for the schedule's
 * n-th delay, which lives in the pending list and must not exceed the group's `minIdle`. A schedule that is done after n
 * steps means: dead-letter after attempt n + 1.
 *
 * @since 0.1.0
 * @category constructors
 */
export const retry = (schedule: Schedule.Schedule<unknown, unknown>): Disposition => Retry({ schedule })

/**
 * To the group's dead-letter stream at once, with the pretty-printed cause.
 *
 * @since 0.1.0
 * @category constructors
 */
export const deadLetter: Disposition = DeadLetter()

/**
 * Ack it as if it had been handled.
 *
 * @since 0.1.0
 * @category constructors
 */
export const discard: Disposition = Discard()

/**
 * Let the worker drain and fail with the handler's cause. The message stays pending.
 *
 * @since 0.1.0
 * @category constructors
 */
export const stop: Disposition = Stop()
