import { MysqlClient } from "@effect/sql-mysql2"
import { Redis } from "@safesync/redis-streams"
import { Config, Effect, Layer, Schedule } from "effect"

const Servers = Layer.merge(
  MysqlClient.layerConfig({ url: Config.redacted("MYSQL_URL") }),
  Redis.layerConfig({ url: Config.redacted("REDIS_URL") })
)

/** Tries again for a minute; then it fails with what the last try has failed with. */
export const Live = Servers.pipe(
  Layer.tapError((error) => Effect.logWarning("A server cannot be used yet", error)),
  Layer.retry(Schedule.spaced("1 second").pipe(Schedule.upTo("1 minute")))
)
