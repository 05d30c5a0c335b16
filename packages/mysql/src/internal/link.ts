/**
 * A reserved connection, and what is known of it: whether its transaction is open, whose turn it is, and how it is lost.
 *
 * **Doom.** Once the server has ended the transaction, nothing more is sent. A deadlock says so itself; everything else is
 * seen in the status bit of the next OK packet, which `DO 0` asks for after an error that may have ended it.
 *
 * @internal
 */
import type { PoolConnection } from "mysql2"
import * as MysqlError from "../MysqlError.js"
import * as MysqlMetrics from "../MysqlMetrics.js"
import type { Begin } from "./begin.js"
import type * as Blockers from "./blockers.js"
import type * as Canceller from "./canceller.js"
import * as driver from "./driverError.js"
import * as own from "./own.js"
import type { Phase, Reason } from "./phase.js"
import { Savepoints } from "./savepoints.js"
import * as sideConnection from "./sideConnection.js"
import * as statements from "./statements.js"
import { type Job, Turns } from "./turns.js"
import * as Writes from "./writes.js"

export class Link {
  phase: Phase = { _tag: "Idle" }
  readonly turns = new Turns()
  /**
   * Whose statements are sent: everybody's; those that were there when the body ended; nobody's, since the transaction is
   * rolled back.
   */
  accepts: "all" | "those that wait" | "none" = "all"
  /** The session is not as it was when it came from the pool. */
  soiled = false
  /** Its last packet held COMMIT: nothing kills it while the server may be at work on that. */
  sentCommit = false
  /** Called once, when the connection is found to be gone. */
  onLost: ((cause: unknown) => void) | undefined = undefined
  /** What the open transaction has written, for the metrics. */
  readonly writes = new Writes.Writes()
  readonly savepoints = new Savepoints()
  /** Added to each statement: the trace context, for the server's own lists. */
  comment: string | undefined = undefined
  /** Asked who holds the lock that a statement waits for; without it nobody asks. */
  blockers: Blockers.Blockers | undefined = undefined
  /** BEGIN, as long as it has not been sent: it goes along with the first statement. */
  unsent: Begin | undefined = undefined
  /** Why the transaction could not begin, when that showed with its first statement. */
  beginFailure: MysqlError.MysqlError | undefined = undefined
  readonly connectionId: number
  readonly reservedAt = performance.now()
  /** Our end of it. A socket that is closed does not tell. */
  private readonly port: number | undefined

  constructor(
    readonly raw: PoolConnection,
    readonly canceller: Canceller.Canceller
  ) {
    this.connectionId = raw.threadId
    // @ts-expect-error: the socket is not in mysql2's types
    this.port = raw.stream?.localPort
    this.savepoints.onSet(this.writes.mark)
    // The server may close an idle connection between two statements.
    raw.on("error", this.fell)
  }

  get database(): string {
    return this.raw.config.database ?? ""
  }

  /** The connection is gone: it never goes back to the pool. What waits for an answer gets this one, if not that of the driver. */
  lose(cause: unknown, answer?: unknown): void {
    if (this.phase._tag === "Lost") return
    this.phase = { _tag: "Lost", cause }
    sideConnection.destroy(this.raw)
    // mysql2 tells nobody who waits on a connection that is thrown away.
    this.turns.active?.answer(answer ?? driver.givenUp(), undefined)
    this.onLost?.(cause)
  }

  /** The connection is in doubt: it is thrown away, and the server is told to end the session behind it. */
  abandon(cause: unknown, answer?: unknown): void {
    if (this.phase._tag === "Lost") return
    this.lose(cause, answer)
    this.kill("CONNECTION", () => {})
  }

  /** Has the server end the statement that runs, or the session, unless that one commits. Calls back with whether it has acted. */
  kill(what: "QUERY" | "CONNECTION", done: (acted: boolean) => void): void {
    const { connectionId, port, reservedAt, sentCommit } = this
    this.canceller.kill(what, { connectionId, since: reservedAt, port, sentCommit }, done)
  }

  doom(reason: Reason, cause?: unknown): void {
    if (this.phase._tag !== "Open") return
    this.phase = { _tag: "Doomed", reason, cause }
    if (reason === "implicit-commit") this.writes.committed(0)
    // Nobody knows why: nor in what state that has left the session.
    if (reason === "ended-by-server") this.soiled = true
  }

  /** The tripwire: an OK packet without the in-transaction bit, while we believe that one is open. */
  observe(results: unknown, reason: Reason): void {
    if (this.phase._tag !== "Open" || !this.phase.transaction) return
    const ok = statements.lastOk(results)
    if (ok !== undefined && !statements.isInTransaction(ok)) this.doom(reason)
  }

  /** Takes the kill that may have come late and asks whether the transaction is still open. Never fails. */
  probe(then: () => void, reason: Reason = "ended-by-server"): void {
    if (this.phase._tag === "Lost") return then()
    own.send(this.raw, { sql: "DO 0" }, (error, results) => {
      if (error !== null) {
        // 1317 is the late kill itself: it is spent now, and the statement that it hit was only this one.
        if ((error as { errno?: number }).errno === 1317) return this.probe(then, reason)
        this.lose(error)
      } else {
        this.observe(results, reason)
      }
      then()
    })
  }

  /**
   * Asks whether the transaction is still open after a statement whose answer, a result set or an error, does not tell. `reason`: why it
   * is not, if it is not. The statement keeps its turn until then.
   */
  askWhetherOpen(job: Job, reason: Reason, then: () => void): void {
    job.awaiting = then
    this.probe(() => job.answer(null, undefined), reason)
  }

  /** What the failure of a statement is, and what it means for the transaction. */
  explain(job: Job, sql: string, error: unknown, then: (failure: MysqlError.MysqlError) => void): void {
    const failure = MysqlError.fromDriver(error, sql, job.watch?.stop())
    if (failure._tag === "Deadlock") {
      MysqlMetrics.deadlocks.unsafeUpdate(1, MysqlMetrics.deadlockLabels.row)
      this.doom("deadlock", failure)
      if (this.blockers !== undefined) {
        return this.blockers.ofDeadlock(this.connectionId, (parties) => {
          const known = MysqlError.fromDriver(error, sql, parties)
          if (this.phase._tag === "Doomed") this.phase = { ...this.phase, cause: known }
          then(known)
        })
      }
    } else if (failure._tag === "ConnectionLost" || failure._tag === "PacketTooLarge") this.lose(failure)
    else if (statements.facts(sql).mayCommit) return this.askWhetherOpen(job, "implicit-commit", () => then(failure))
    else if (mayEndTransaction(failure)) return this.askWhetherOpen(job, "ended-by-server", () => then(failure))
    then(failure)
  }

  /** The connection says by itself that it is gone. */
  protected readonly fell = (error: unknown): void => this.lose(MysqlError.fromDriver(error), error)
}

/** Errors of the statement alone, which leave the transaction as it is: not worth a question to the server. */
const mayEndTransaction = (error: MysqlError.MysqlError): boolean =>
  error._tag === "LockWaitTimeout" || error._tag === "StatementFailed" || error._tag === "ReadOnlyServer"
