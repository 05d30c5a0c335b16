import { Inbox } from "@safesync/mysql"
import { ConsumerGroup, DeadLetter } from "@safesync/redis-streams"
import { Effect, Schedule } from "effect"
import { group } from "./service.js"

/** Beside the worker of one process, by `Effect.forkScoped`. What fails is said, and tried again an hour later. */
export const upkeep = Effect.gen(function*() {
  const billing = yield* group
  yield* Inbox.purge({ olderThan: "90 days" })
  yield* DeadLetter.purge(billing, { olderThan: "60 days" })
  yield* ConsumerGroup.removeIdleConsumers(billing, { idle: "1 day" })
}).pipe(
  Effect.catchAllCause((cause) => Effect.logWarning("Upkeep is left for later", cause)),
  Effect.repeat(Schedule.spaced("1 hour"))
)
