/**
 * What passes between the demo and its worker processes: the settings by environment variable, since they hold the URLs'
 * passwords, and the workers' counters over the channel between the processes.
 *
 * @since 0.1.0
 */
import * as ConsumerGroup from "@safesync/redis-streams/ConsumerGroup"
import * as Schema from "effect/Schema"
import { InvoiceLine } from "./InvoiceLine.js"

/**
 * The environment variable that holds a worker's settings.
 *
 * @since 0.1.0
 * @category settings
 */
export const settingsVariable = "SAFESYNC_DEMO_WORKER"

/**
 * @since 0.1.0
 * @category settings
 */
export const Settings = Schema.Struct({
  /** With the database. */
  mysqlUrl: Schema.Redacted(Schema.NonEmptyString),
  redisUrl: Schema.Redacted(Schema.NonEmptyString),
  stream: Schema.NonEmptyString,
  consumer: Schema.NonEmptyString,
  metricsPort: Schema.optional(Schema.Int)
})

/**
 * @since 0.1.0
 * @category settings
 */
export type Settings = typeof Settings.Type

/**
 * The group that all workers of a run share. Half a minute is a usual `minIdle`; here nobody wants to wait that long until
 * the entries of the worker that is killed are taken over.
 *
 * @since 0.1.0
 * @category settings
 */
export const consumerGroup = (stream: string) =>
  ConsumerGroup.make({ stream, group: "invoice-workers", schema: InvoiceLine, startId: "0", minIdle: "3 seconds" })

/**
 * What a worker has counted since it started.
 *
 * @since 0.1.0
 * @category messages
 */
export const Counters = Schema.Struct({
  redelivered: Schema.Int,
  /** Deliveries that the inbox refused. */
  duplicates: Schema.Int,
  retries: Schema.Int,
  conflicts: Schema.Int
})

/**
 * @since 0.1.0
 * @category messages
 */
export type Counters = typeof Counters.Type

/**
 * The counters of workers together.
 *
 * @since 0.1.0
 * @category messages
 */
export const total = (counters: ReadonlyArray<Counters>): Counters => {
  const sum = (name: keyof Counters) => counters.reduce((sum, each) => sum + each[name], 0)
  return {
    redelivered: sum("redelivered"),
    duplicates: sum("duplicates"),
    retries: sum("retries"),
    conflicts: sum("conflicts")
  }
}
