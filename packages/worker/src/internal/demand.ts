/**
 * A worker's reads ask for as much as it can begin at once, and as much again as it has begun lately, so that handlers that take a
 * moment find the next messages here, and colleagues find those that would only wait here.
 *
 * @internal
 */

/** How many messages were begun in the last 50 ms. */
export class Recent {
  private times: Array<number> = []

  add(count: number): void {
    const now = performance.now()
    for (let i = 0; i < count; i++) this.times.push(now)
    if (this.times.length > longest) this.forget(now)
  }

  get count(): number {
    this.forget(performance.now())
    return this.times.length
  }

  private forget(now: number): void {
    const first = this.times.findIndex((time) => time > now - span)
    this.times = first === -1 ? [] : this.times.slice(first)
  }
}

// internal

/** Milliseconds. */
const span = 50

/** They are forgotten when a read asks. Where none does for long, they are forgotten all the same. */
const longest = 4_096
