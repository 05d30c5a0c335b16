import { NodeRuntime } from "@effect/platform-node"
import { DeadLetter, Redis } from "@safesync/redis-streams"
import { Config, Console, Effect, Stream } from "effect"
import { group } from "./service.js"

// npx tsx deadLetters.ts               lists them
// npx tsx deadLetters.ts replay        sends all of them again
// npx tsx deadLetters.ts replay ID     sends that one again
const [command = "list", id] = process.argv.slice(2)

const program = Effect.gen(function*() {
  const billing = yield* group
  const letters = Stream.filter(DeadLetter.stream(billing), (letter) => id === undefined || id === letter.id)
  yield* Stream.runForEach(letters, (letter) =>
    command === "replay"
      ? DeadLetter.replay(billing, letter)
      : Console.log(letter.id, letter.fields, `after ${letter.attempts} attempts:`, letter.reason))
})

const RedisLive = Redis.layerConfig({ url: Config.redacted("REDIS_URL") })
NodeRuntime.runMain(Effect.provide(program, RedisLive))
