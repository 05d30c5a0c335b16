import { NodeRuntime } from "@effect/platform-node"
import { ConsumerGroup, Redis, StreamIdentity } from "@safesync/redis-streams"
import { Config, Console, Effect } from "effect"
import { group } from "./service.js"

// npx tsx identity.ts, once for each stream and server: after the last worker of a version without identities has stopped
const program = Effect.gen(function*() {
  const billing = yield* group
  yield* ConsumerGroup.create(billing)
  const isNew = yield* StreamIdentity.create(billing)
  yield* Console.log(`${billing.stream} ${isNew ? "has an identity now" : "had an identity"}`)
})

const RedisLive = Redis.layerConfig({ url: Config.redacted("REDIS_URL") })
NodeRuntime.runMain(Effect.provide(program, RedisLive))
