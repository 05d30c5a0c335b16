/**
 * Whether MySQL is away, or one message breaks its own connection again and again. The failure of both is the same.
 *
 * the server, on another connection | connections of other messages lost within a second | it is
 * ----------------------------------|----------------------------------------------------|--------------------
 * does not answer, or is read-only  | any                                                | an outage
 * answers and takes writes          | some: it was away for a moment                     | an outage, three times
 * answers and takes writes          | none                                               | the message's own
 *
 * Two messages that break their connections may come again at the same time: so what is said of the second line is said of a message three
 * times, and not again before the server has been away.
 *
 * @internal
 */
import type { Delivery } from "@safesync/redis-streams/Delivery"
import type * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Disposition from "../Disposition.js"
import type { Servers } from "./servers.js"

type Messages = ReadonlyArray<Delivery<unknown>>

export class Probe {
  /** The outages of the last second, by whose they were. */
  private recent: Array<{ readonly at: number; readonly ids: ReadonlySet<string> }> = []
  /** When the server was last found to be away. */
  private awayAt = -Infinity
  /** How often a message has been let off since then. */
  private readonly letOff = new Map<string, number>()

  constructor(private readonly servers: Servers) {}

  /** Whether it is an outage. Where it only looks like one, `Disposition.isOutage` says no of it afterwards. */
  judge(cause: Cause.Cause<unknown>, messages: Messages): Effect.Effect<boolean> {
    return Effect.suspend(() => {
      if (!Disposition.isOfMysql(cause)) return Effect.succeed(Disposition.isOutage(cause))
      const ids = new Set(messages.map(idOf))
      const now = performance.now()
      this.recent = this.recent.filter(({ at }) => now - at < together)
      this.recent.push({ at: now, ids })
      if (now - this.awayAt < together) return Effect.succeed(true)
      return Effect.map(this.servers.askMysql, (why) => {
        const isThere = why === undefined
        const isOutage = isThere ? this.lostTogether(ids) : this.away()
        if (!isOutage) Disposition.disown(cause)
        return isOutage
      })
    })
  }

  private away(): boolean {
    this.awayAt = performance.now()
    this.letOff.clear()
    return true
  }

  private lostTogether(ids: ReadonlySet<string>): boolean {
    if (!this.recent.some((other) => [...other.ids].every((id) => !ids.has(id)))) return false
    let isNew = false
    for (const id of ids) {
      const times = (this.letOff.get(id) ?? 0) + 1
      isNew ||= times <= mostLetOff
      this.letOff.set(id, times)
      if (this.letOff.size > mostKnown) this.letOff.delete(this.letOff.keys().next().value!)
    }
    return isNew
  }
}

// internal

const idOf = ({ group, id, stream }: Delivery<unknown>): string => `${stream}/${group}/${id}`

const mostLetOff = 3
const mostKnown = 10_000

/** Milliseconds. */
const together = 1_000
