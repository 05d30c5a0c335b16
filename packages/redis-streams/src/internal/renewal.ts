/**
 * While a consumer holds deliveries here, they are looked after three times in the group's `minIdle`. Of those whose
 * handlers run, the lease is renewed: the entry's idle time is set to zero, which does not count as a delivery. Those
 * that wait to be begun are not renewed, since nobody can tell which of them have been dropped, but do not count as
 * delivered meanwhile. What is found to be held by somebody else is given up.
 */
import * as Chunk from "effect/Chunk"
import * as Effect from "effect/Effect"
import type { RedisError } from "../RedisError.js"
import * as Metrics from "../RedisStreamsMetrics.js"
import * as duration from "./duration.js"
import type { Holder, Lease } from "./lease.js"
import { Outage } from "./outage.js"
import * as scripts from "./scripts.js"

/**
 * Ends when nothing is held any more. While Redis cannot be reached nothing is given up: whether a lease is lost is for
 * the server to say. Nor if the whole group is gone: then the handler is the last that has the message.
 */
export const renew = (holder: Holder): Effect.Effect<void> => {
  const { consumer, inFlight, minIdle, redis, stream } = holder
  const leases = `The leases of ${consumer} on ${stream}`
  const outage = inFlight.renewals ??= new Outage(redis.fork, `${leases} cannot be renewed`, `${leases} are renewed`)
  const interval = Math.max(minIdle / 3, 1)
  const renewAll = Effect.suspend(() => {
    const running: Array<Lease<unknown>> = []
    const waiting: Array<Lease<unknown>> = []
    for (const lease of inFlight.values()) {
      if (lease.state === "running") {
        running.push(lease)
      } else if (lease.state === "fetched") {
        const { age } = lease
        if (age >= minIdle) {
          lease.leave("released")
        } else if (age >= minIdle / 3 && lease.fence === lease.count) {
          waiting.push(lease)
        }
      }
    }
    return Effect.zipRight(pageByPage(running, renewPage), pageByPage(waiting, giveCountBack))
  }).pipe(
    Effect.match({
      onFailure: (error) => outage.failed({ error: error._tag }),
      onSuccess: () => outage.succeeded()
    })
  )
  const pageByPage = (
    leases: ReadonlyArray<Lease<unknown>>,
    f: (holder: Holder, page: ReadonlyArray<Lease<unknown>>) => Effect.Effect<void, RedisError>
  ) =>
    Effect.forEach(
      Chunk.chunksOf(Chunk.unsafeFromArray(leases), scripts.pageSize),
      (page) => f(holder, Chunk.toReadonlyArray(page)),
      { discard: true }
    )
  const round: Effect.Effect<void> = Effect.flatMap(duration.sleep(interval), () => {
    if (inFlight.size > 0) {
      return Effect.zipRight(renewAll, round)
    }
    inFlight.renewing = false
    return Effect.void
  })
  return round
}

// internal

const renewPage = (holder: Holder, page: ReadonlyArray<Lease<unknown>>): Effect.Effect<void, RedisError> =>
  hold(holder, "running", "0", page, (lease) => lease.count, (held, { deleted, gone, reused, taken }) => {
    const { consumer, labels, stream } = holder
    const running = (lease: Lease<unknown>) => lease.state === "running"
    // A group that was created again has an empty pending list, and the handler may be the last that has the message.
    // Of those that do not run any more, the entry is gone by their own ack.
    const revoked = (holder.recreated ? taken : [...taken, ...gone]).filter(running)
    for (const lease of revoked) {
      if (reused.includes(lease)) lease.reused()
      else lease.revoke()
    }
    for (const lease of deleted.filter(running)) lease.state = "ended"
    Metrics.messagesDeleted.unsafeUpdate(deleted.length, labels)
    Metrics.leaseRenewals.unsafeUpdate(held.length, labels)
    return Effect.zipRight(
      report(revoked, `of ${stream} were taken from ${consumer} while their handlers ran; those are interrupted`),
      report(deleted, `of ${stream} were deleted while their handlers ran`)
    )
  })

/** Their idle time stays as it is. A delivery that is begun meanwhile takes its count again, behind this. */
const giveCountBack = (holder: Holder, page: ReadonlyArray<Lease<unknown>>): Effect.Effect<void, RedisError> =>
  hold(holder, "fetched", "", page, (lease) => lease.count - 1, (_, { deleted, gone, taken }) => {
    for (const lease of [...taken, ...gone, ...deleted]) {
      if (lease.state === "fetched") lease.leave("lost")
    }
    Metrics.messagesDeleted.unsafeUpdate(deleted.length, holder.labels)
    return report(deleted, `of ${holder.stream} were deleted before their handlers began`)
  })

type NotHeld = Record<"taken" | "gone" | "deleted" | "reused", ReadonlyArray<Lease<unknown>>>

const hold = (
  { consumer, group, redis, stream }: Holder,
  state: "running" | "fetched",
  idle: string,
  page: ReadonlyArray<Lease<unknown>>,
  count: (lease: Lease<unknown>) => number,
  f: (held: ReadonlyArray<Lease<unknown>>, notHeld: NotHeld) => Effect.Effect<void>
): Effect.Effect<void, RedisError> =>
  Effect.suspend(() => {
    const args = [group, consumer, consumer, idle]
    const sent = new Map<string, { readonly lease: Lease<unknown>; readonly fence: number }>()
    for (const lease of page) {
      // While earlier pages were asked about, one may have begun or ended: it has another count or owner then.
      if (lease.state === state) {
        args.push(lease.id, String(lease.fence), String(count(lease)))
        sent.set(lease.id, { lease, fence: lease.fence })
      }
    }
    if (sent.size === 0) return Effect.void
    return Effect.flatMap(redis.script(scripts.hold, [stream], args), (reply) => {
      const [taken, gone, deleted, reused] = (reply as scripts.NotHeld).map((ids) =>
        ids.flatMap((id) => {
          const { fence, lease } = sent.get(id)!
          // Otherwise this process has claimed it in the meantime, and holds it.
          return lease.fence === fence ? [lease] : []
        })
      )
      for (const id of (reply as scripts.NotHeld).flat()) sent.delete(id)
      const held: Array<Lease<unknown>> = []
      for (const { fence, lease } of sent.values()) {
        held.push(lease)
        if (lease.fence === fence) lease.fence = count(lease)
      }
      return f(held, { taken: taken!, gone: gone!, deleted: deleted!, reused: reused! })
    })
  })

const report = (leases: ReadonlyArray<Lease<unknown>>, what: string): Effect.Effect<void> =>
  leases.length === 0
    ? Effect.void
    : Effect.logWarning(`Entries ${what}: ${leases.map(({ id }) => id).join(", ")}`)
