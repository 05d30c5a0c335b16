/**
 * While handlers run, their leases are renewed: their entries' idle time is set to zero three times in the group's
 * `minIdle`, which does not count as a delivery. What is found to be held by somebody else is given up here.
 */
import * as Chunk from "effect/Chunk"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type { RedisError } from "../RedisError.js"
import * as Metrics from "../RedisStreamsMetrics.js"
import type { Holder, Lease } from "./lease.js"
import * as scripts from "./scripts.js"

/**
 * Ends when no handler runs any more. While Redis cannot be reached nothing is given up: whether a lease is lost is for
 * the server to say. Nor if the whole group is gone: then the handler is the last that has the message.
 */
export const renew = (holder: Holder): Effect.Effect<void> => {
  const interval = Duration.millis(Math.max(holder.minIdle / 3, 1))
  let failing = false
  const renewAll = Effect.suspend(() => {
    const leases = new Map(Array.from(holder.running, (lease) => [lease.id, lease]))
    return Effect.forEach(
      Chunk.chunksOf(Chunk.fromIterable(leases.values()), scripts.pageSize),
      (page) => renewPage(holder, leases, page),
      { discard: true }
    )
  }).pipe(
    Effect.matchEffect({
      onFailure: (error) => {
        const first = !failing
        failing = true
        return first
          ? Effect.logWarning(`The leases of ${holder.consumer} on ${holder.stream} cannot be renewed: ${error._tag}`)
          : Effect.void
      },
      onSuccess: () => {
        failing = false
        return Effect.void
      }
    })
  )
  const round: Effect.Effect<void> = Effect.flatMap(Effect.sleep(interval), () => {
    if (holder.running.size > 0) {
      return Effect.zipRight(renewAll, round)
    }
    holder.renewing = false
    return Effect.void
  })
  return round
}

// internal

const renewPage = (
  holder: Holder,
  leases: ReadonlyMap<string, Lease<unknown>>,
  page: Iterable<Lease<unknown>>
): Effect.Effect<void, RedisError> => {
  const { consumer, group, labels, redis, stream } = holder
  const args = [group, consumer, consumer, "0"]
  for (const lease of page) {
    args.push(lease.id, String(lease.fence))
  }
  return Effect.flatMap(redis.script(scripts.hold, [stream], args), (reply) => {
    const [lost, deleted] = reply as [ReadonlyArray<string>, ReadonlyArray<string>]
    const revoked: Array<string> = []
    for (const id of lost) {
      const lease = leases.get(id)!
      // Otherwise its handler has ended in the meantime, and that it is gone is its own ack.
      if (holder.running.has(lease)) {
        lease.revoke()
        revoked.push(id)
      }
    }
    for (const id of deleted) {
      holder.running.delete(leases.get(id)!)
    }
    Metrics.messagesDeleted.unsafeUpdate(deleted.length, labels)
    Metrics.leaseRenewals.unsafeUpdate((args.length - 4) / 2 - lost.length - deleted.length, labels)
    return Effect.zipRight(
      report(revoked, `of ${stream} were taken from ${consumer} while their handlers ran; those are interrupted`),
      report(deleted, `of ${stream} were deleted while their handlers ran`)
    )
  })
}

const report = (ids: ReadonlyArray<string>, what: string): Effect.Effect<void> =>
  ids.length === 0 ? Effect.void : Effect.logWarning(`Entries ${what}: ${ids.join(", ")}`)
