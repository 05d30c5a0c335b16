import { AdvisoryLock } from "@safesync/mysql"
import { Effect } from "effect"

/** One process at a time; whoever comes meanwhile does nothing. The work may have many transactions, or none. */
export const oneAtATime = <E, R>(job: string, work: Effect.Effect<void, E, R>) =>
  work.pipe(
    Effect.as(true),
    AdvisoryLock.withLock(`jobs/${job}`, { timeout: 0 }), // interrupts the work when the lock's connection dies
    Effect.catchTag("AdvisoryLockTimeout", () => Effect.succeed(false))
  )
