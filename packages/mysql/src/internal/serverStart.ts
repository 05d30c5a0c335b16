/**
 * When a server was started, by `performance.now()`, as closely as its answers tell: it counts whole seconds, so one answer
 * leaves a second open, and the one at which the count goes up leaves none.
 *
 * @internal
 */
export class ServerStart {
  private earliest = -Infinity
  private latest = Infinity

  observe(rows: ReadonlyArray<Readonly<Record<string, unknown>>>): void {
    const seconds = Number(rows[0]?.["Value"])
    const now = performance.now()
    this.latest = Math.min(this.latest, now - seconds * 1_000)
    this.earliest = Math.max(this.earliest, now - (seconds + 1) * 1_000)
  }

  /** Whether the server is the one that was there at that moment; undefined: that is not known yet. */
  wasThere(moment: number): boolean | undefined {
    return this.latest <= moment ? true : this.earliest > moment ? false : undefined
  }
}

/** Asks for how long the server has been running. */
export const uptime = "SHOW GLOBAL STATUS LIKE 'Uptime'"

/** How long to wait before asking again, in milliseconds, when one answer did not tell. */
export const askAgainMillis = 50
