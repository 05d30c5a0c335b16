/**
 * When a server was started, by `performance.now()`, as closely as its answers tell. `Uptime` is the difference of two times of
 * which the server has cut off what is below a second: the answer at which it goes up tells in which second of the server's
 * clock it was started, and no more than that.
 *
 * @internal
 */
export class ServerStart {
  /** Between these two the second began in which the server was started. */
  private earliest = -Infinity
  private latest = Infinity

  observe(rows: ReadonlyArray<Readonly<Record<string, unknown>>>): void {
    const seconds = Number(rows[0]?.["Value"])
    const now = performance.now()
    this.latest = Math.min(this.latest, now - seconds * 1_000)
    this.earliest = Math.max(this.earliest, now - (seconds + 1) * 1_000)
  }

  /**
   * Whether the server is the one that was there at that moment; undefined: that is not known yet; unclear: of a moment in the second of
   * the start it never will be.
   */
  wasThere(moment: number): boolean | "unclear" | undefined {
    if (this.latest + 1_000 <= moment) return true
    if (this.earliest > moment) return false
    return this.latest - this.earliest <= 2 * askAgainMillis ? "unclear" : undefined
  }
}

/** Asks for how long the server has been running. */
export const uptime = "SHOW GLOBAL STATUS LIKE 'Uptime'"

/** How long to wait before asking again, in milliseconds, when one answer did not tell. */
export const askAgainMillis = 50
