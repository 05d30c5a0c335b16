/**
 * What a contender's process is told, and what it answers.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"

/**
 * The environment variable that holds the settings.
 *
 * @since 0.1.0
 * @category constants
 */
export const variable = "SAFESYNC_BENCHMARK"

/**
 * What it says before each slice; any message is the answer.
 *
 * @since 0.1.0
 * @category constants
 */
export const waiting = "waiting"

/**
 * @since 0.1.0
 * @category schemas
 */
export class Settings extends Schema.Class<Settings>("Settings")({
  case: Schema.String,
  contender: Schema.String,
  size: Schema.Literal("full", "quick", "smoke"),
  place: Schema.Struct({ mysqlUrl: Schema.String, redisUrl: Schema.String, prefix: Schema.String }),
  /** Processes of the servers, where they are on this machine. */
  pids: Schema.Struct({ mysqld: Schema.NullOr(Schema.Number), redis: Schema.NullOr(Schema.Number) })
}) {}

/**
 * `Sample`, as it comes from another process.
 *
 * @since 0.1.0
 * @category schemas
 */
export const Sample = Schema.Struct({
  count: Schema.Number,
  seconds: Schema.Number,
  cpu: Schema.Struct({
    node: Schema.NullOr(Schema.Number),
    mysqld: Schema.NullOr(Schema.Number),
    redis: Schema.NullOr(Schema.Number)
  }),
  maxRssMegabytes: Schema.Number,
  latency: Schema.NullOr(Schema.Struct({ p50: Schema.Number, p99: Schema.Number })),
  waits: Schema.NullOr(Schema.Struct({ rowLocks: Schema.Number, fsync: Schema.Number })),
  problems: Schema.Array(Schema.String)
})
