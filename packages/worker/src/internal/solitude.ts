/**
 * A suspect is begun only while no other handler runs in its process, so that the process dies of nothing else meanwhile. It is one rule
 * for all workers of the process: what one of them handles could end the process of another one's suspect.
 *
 * the door | others may begin | a suspect may begin                         | next
 * ---------|------------------|---------------------------------------------|------------------------------------------------
 * open     | yes              | when nothing runs, and none of them is ready | closed, when a suspect waits and their time is over
 * closed   | no               | when nothing runs                           | open, when none waits or its time is over
 * alone    | no               | no, one of them runs                        | as before, when it has ended
 *
 * The door closes as soon as a suspect waits. What runs then ends; nothing that runs can wait for what is not begun, so there is no
 * deadlock between keys. Closed, it stays so for a second, or as long as the suspects take that have begun in it; then it is open for as
 * long as it was closed, so that neither keeps the others waiting for ever. Where nothing has become quiet in its time, as beside a
 * handler that takes long, it closes for twice as long the next time, up to half a minute.
 *
 * @internal
 */
import * as duration from "./duration.js"

/** Those who wait to begin something. */
export interface Party {
  /** How many suspects it has ready. */
  readonly suspects: number
  /** Begins what it has ready: suspects, one at most, or others. Answers whether it has begun one. */
  readonly begin: (alone: boolean) => boolean
}

/** Milliseconds. */
const shortest = 1_000
const longest = 30_000

export class Solitude {
  private running = 0
  private alone = false
  private closed = false
  private closedAt = 0
  /** Whether it has been closed for as long as it may be. */
  private due = false
  private span = shortest
  /** Whether a suspect has begun since the door was closed. */
  private served = false
  private timer: ReturnType<typeof setTimeout> | undefined
  /** Empty for as long as there are no suspects. */
  private readonly parties = new Set<Party>()

  mayBegin(alone: boolean): boolean {
    return alone ? this.running === 0 : !this.closed && !this.alone
  }

  begun(alone: boolean): void {
    this.running++
    if (alone) this.alone = this.served = true
  }

  ended(alone: boolean): void {
    this.running--
    if (alone) this.alone = false
    if (alone || this.parties.size > 0) this.look()
  }

  /** It may not begin what it has ready, and is told when it may. */
  wait(party: Party): void {
    this.parties.add(party)
    if (party.suspects > 0 && this.timer === undefined) {
      this.close()
      this.look()
    }
  }

  /** It has nothing ready any more. */
  leave(party: Party): void {
    if (this.parties.delete(party)) this.look()
  }

  private close(): void {
    this.closed = true
    this.served = this.due = false
    this.closedAt = performance.now()
    this.arm(this.span, () => {
      this.due = true
      this.look()
    })
  }

  private open(): void {
    this.closed = false
    this.span = this.served ? shortest : Math.min(2 * this.span, longest)
    this.arm(performance.now() - this.closedAt, () => {
      this.close()
      this.look()
    })
  }

  private arm(millis: number, then: () => void): void {
    clearTimeout(this.timer)
    this.timer = duration.later(then, millis)
    this.timer.unref()
  }

  private look(): void {
    if (this.alone) return
    const parties = [...this.parties]
    if (!parties.some(({ suspects }) => suspects > 0)) {
      clearTimeout(this.timer)
      this.timer = undefined
      this.closed = false
      this.span = shortest
      this.parties.clear()
    } else if (this.closed && this.due) {
      this.open()
    }
    if (!this.closed) { for (const party of parties) party.begin(false) }
    if (this.running > 0) return
    for (const party of parties) {
      if (!party.begin(true)) continue
      // The next one is another's.
      this.parties.delete(party)
      this.parties.add(party)
      return
    }
  }
}

/** Of this process. */
export const solitude: Solitude = new Solitude()
