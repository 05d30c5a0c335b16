/**
 * Ends a statement on the server.
 *
 * A statement that has not begun is taken out of the queue; only the one that runs is killed, so a kill never hits a
 * neighbour. `KILL QUERY` is sent, and both the statement and the kill are waited for; then `DO 0` takes the kill that may
 * have come late, before anything else is sent. Without an answer within the bound the connection is in doubt and is
 * destroyed, and the server is told to end the session.
 *
 * @internal
 */
import * as duration from "./duration.js"
import type { Link } from "./link.js"
import { Job } from "./turns.js"

/** How long an interrupted statement may take to end on the server before its connection is thrown away. */
export const cancelMillis = 200

/** The same where nobody is in a hurry, such as a stream that its consumer has left in peace: what was under way is read first. */
export const streamMillis = 5_000

/** Calls back when it has ended, with what went wrong where the connection had to be thrown away. */
export const cancel = (
  link: Link,
  job: Job,
  done: (problem: string | undefined) => void,
  boundMillis: number = cancelMillis
): void => {
  if (job.state === "settled") return done(undefined)
  if (job.state === "queued") {
    link.turns.leave(job)
    job.state = "settled"
    return done(undefined)
  }
  job.cancelled = true
  job.cursor?.discard()
  let unanswered = 2
  let finished = false
  const answered = () => {
    if (--unanswered === 0 && !finished) link.probe(() => finish(undefined))
  }
  const guard = new Guard(answered)
  const finish = (problem: string | undefined) => {
    if (finished) return
    finished = true
    clearTimeout(bound)
    // Only after a bound that passed is it still the job's turn.
    link.turns.settle(job)
    link.turns.settle(guard)
    done(problem)
  }
  const giveUp = (problem: string) => {
    if (finished) return
    link.abandon(new Error(problem))
    finish(problem)
  }
  const bound = duration.later(
    () => giveUp(`A cancelled statement did not end within ${boundMillis} ms`),
    boundMillis
  )
  link.turns.takeNext(guard)
  link.kill("QUERY", (acted) =>
    // Without the kill nothing ends the statement: the bound will pass, there is no use in waiting for it.
    acted ? answered() : giveUp("KILL QUERY could not be sent"))
}

// internal

/** Has the turn after the cancelled statement, and keeps it until the kill has been answered too and its effect is spent. */
class Guard extends Job {
  constructor(private readonly turn: () => void) {
    super()
  }

  start(): void {
    this.turn()
  }
}
