/**
 * In place of all modules that measure: what they are asked to do is not done.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"

const metric = { unsafeUpdate: () => {} }
const nothing = () => {}
const none: ReadonlyArray<never> = []

// RedisStreamsMetrics, WorkerMetrics
export const messagesSent = metric
export const messagesRead = metric
export const messagesAcked = metric
export const messagesClaimed = metric
export const messagesDeadLettered = metric
export const messagesHandedBack = metric
export const messagesDeleted = metric
export const deliveries = metric
export const leaseRenewals = metric
export const leasesLost = metric
export const reconnects = metric
export const groupsRecreated = metric
export const readLatency = metric
export const handlerDuration = metric
export const labels = () => none
export const streamLabel = () => ""
export const deliveryLabels = () => none
export const outboxPublished = metric
export const pending = metric
export const lag = metric
export const entriesRead = metric
export const oldestPending = metric
export const deadLetters = metric
export const gaugesUpdated = metric
export const attemptLabels = () => none
export const groupLabels = () => undefined

// writes, outcome, lockTimes
export const describe = nothing
export const succeeded = nothing
export const failed = nothing
export class Writes {
  add(): void {}
  committed(): void {}
  undone(): void {}
  readonly mark = () => nothing
}
export const ended = nothing
export const waiting = (wait: unknown): unknown => wait
export const held = () => nothing

// tracing, TraceContext, observed
export const span = (_name: unknown, _kind: unknown, _attributes: unknown, effect: unknown): unknown => effect
export const transaction = (effect: unknown): unknown => effect
export const operation = nothing
export const comment = nothing
export const useSpan = (_name: unknown, _options: unknown, body: (span: undefined) => unknown): unknown =>
  body(undefined)
export const isCollected = () => false
export const record = () => Effect.void
export const errorType = () => "_OTHER"
export const attributes = nothing
export const inject = Effect.succeed
export const observed = (_delivery: unknown, _trace: unknown, handle: unknown): unknown => handle
export const observedBatch = (_batch: unknown, handle: unknown): unknown => handle
