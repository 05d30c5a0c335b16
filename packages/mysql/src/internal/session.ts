/**
 * One reserved connection, from the moment it leaves the pool to the moment it goes back or is thrown away.
 *
 * It is the decorator around @effect/sql's `Connection`: every plain `sql` statement of the scope comes through
 * `submit`. Here live cancelling, the doomed flag and the classification of errors, and nowhere else.
 *
 * - **Order.** Statements of several fibers run one after another. A statement that has not begun is taken out of the
 *   queue when its fiber is interrupted; only the one that runs is killed, so a kill never hits a neighbour.
 * - **Cancelling.** Interrupting the running statement sends `KILL QUERY` and waits until both the statement and the kill
 *   have been answered; then `DO 0` takes the kill that may have come late, before anything else is sent. Without an
 *   answer within `cancelMillis` the connection is in doubt and is destroyed, and the server is told to end the session.
 * - **Streams.** A streamed result has its turn until its last row has been read, as the protocol wants it. The consumer sets
 *   the pace as long as nobody else waits; once another statement does, the rest is read into memory, so that a consumer
 *   who writes to the same transaction is not waited for by himself. A stream that ends early is cancelled.
 * - **Doom.** Once the server has ended the transaction, nothing more is sent. A deadlock says so itself; everything else
 *   is seen in the status bit of the next OK packet, which `DO 0` asks for after an error that may have ended it.
 *
 * @internal
 */
import type { MysqlClient } from "@effect/sql-mysql2/MysqlClient"
import type { Connection } from "@effect/sql/SqlConnection"
import { SqlError } from "@effect/sql/SqlError"
import * as Chunk from "effect/Chunk"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import * as Stream from "effect/Stream"
import type { PoolConnection } from "mysql2"
import * as MysqlError from "../MysqlError.js"
import * as MysqlMetrics from "../MysqlMetrics.js"
import type * as Blockers from "./blockers.js"
import type * as Canceller from "./canceller.js"
import { Cursor } from "./cursor.js"
import * as driver from "./driverError.js"
import { longestMillis } from "./duration.js"
import * as Writes from "./writes.js"

/** How long an interrupted statement may take to end on the server before its connection is thrown away. */
const cancelMillis = 200

/** The same for a stream that its consumer has left in peace: what was under way is read first, and nobody is in a hurry. */
const streamMillis = 5_000

/** SERVER_STATUS_IN_TRANS, https://dev.mysql.com/doc/dev/mysql-server/latest/mysql__com_8h.html */
const inTransaction = 1

export type Phase =
  /** No transaction: before BEGIN, and after COMMIT or ROLLBACK. */
  | { readonly _tag: "Idle" }
  /** Statements may be sent. `transaction: false`: a connection that holds a lock, and has no transaction to lose. */
  | { readonly _tag: "Open"; readonly transaction: boolean }
  /** The server has ended the transaction, the connection is well. */
  | { readonly _tag: "Doomed"; readonly reason: MysqlError.TransactionAborted["reason"]; readonly cause?: unknown }
  /** The connection is gone or in doubt. */
  | { readonly _tag: "Lost"; readonly cause: unknown }

type Method = "execute" | "query"
type Answer = (error: unknown, results: unknown) => void

interface Job {
  /** Called when its turn comes. */
  readonly start: () => void
  state: "queued" | "running" | "settled"
  /** Its fiber has been interrupted: what it has not sent yet is not sent any more. */
  cancelled?: true
  /** Asks who holds what it waits for, where the caller wants to know. */
  watch?: Blockers.Watch
  /** Of a streamed result. */
  cursor?: Cursor<Row, SqlError>
}

type Row = Record<string, unknown>
type Failure = MysqlError.MysqlError | MysqlError.TransactionAborted
type TransformRows = (<A extends object>(row: ReadonlyArray<A>) => ReadonlyArray<A>) | undefined

interface OkPacket {
  readonly affectedRows: number
  readonly insertId: number
  readonly serverStatus: number
}

export class Session implements Connection {
  phase: Phase = { _tag: "Idle" }
  /** Called once, when the connection is found to be gone. */
  onLost: ((cause: unknown) => void) | undefined
  /** What the open transaction has written, for the metrics. */
  readonly writes: Writes.Writes = new Writes.Writes()
  /** Added to each statement: the trace context, for the server's own lists. */
  comment: string | undefined
  /** Asked who holds the lock that a statement waits for; without it nobody asks. */
  blockers: Blockers.Blockers | undefined
  /** Why the transaction could not begin, when that showed with its first statement. */
  beginFailure: MysqlError.MysqlError | undefined
  /** BEGIN, as long as it has not been sent: it goes along with the first statement. */
  private unsent: Begin | undefined
  private readonly reservedAt = performance.now()
  private ended = false
  private soiled = false
  private active: Job | undefined
  private readonly queue: Array<Job> = []

  constructor(
    private readonly raw: PoolConnection,
    private readonly canceller: Canceller.Canceller
  ) {
    // The server may close an idle connection between two statements.
    raw.on("error", this.fell)
  }

  get connectionId(): number {
    return this.raw.threadId
  }

  get database(): string {
    return this.raw.config.database ?? ""
  }

  // -------------------------------------------------------------------------------------------------------------------
  // Connection
  // -------------------------------------------------------------------------------------------------------------------

  execute(sql: string, params: ReadonlyArray<unknown>, transformRows: TransformRows) {
    return rows(this.submit(asSqlError, "execute", sql, params, false), transformRows)
  }
  executeRaw(sql: string, params: ReadonlyArray<unknown>) {
    return this.submit(asSqlError, "execute", sql, params, false)
  }
  executeValues(sql: string, params: ReadonlyArray<unknown>) {
    return rows(this.submit(asSqlError, "execute", sql, params, true), undefined)
  }
  executeUnprepared(sql: string, params: ReadonlyArray<unknown>, transformRows: TransformRows) {
    return rows(this.submit(asSqlError, "query", sql, params, false), transformRows)
  }
  executeStream(
    sql: string,
    params: ReadonlyArray<unknown>,
    transformRows: TransformRows
  ): Stream.Stream<any, SqlError> {
    return Stream.fromPull(
      Effect.map(
        Effect.acquireRelease(
          Effect.sync(() => this.stream(sql, params)),
          ({ job }, exit) =>
            Effect.async<void>((done) =>
              this.cancel(job, () => done(Effect.void), Exit.isInterrupted(exit) ? cancelMillis : streamMillis)
            )
        ),
        ({ cursor }) =>
          transformRows === undefined ? cursor.pull : Effect.map(
            cursor.pull,
            (rows) => Chunk.unsafeFromArray(transformRows(Chunk.toReadonlyArray(rows) as Array<any>) as Array<any>)
          )
      )
    )
  }

  // -------------------------------------------------------------------------------------------------------------------
  // For the modules of this package
  // -------------------------------------------------------------------------------------------------------------------

  /** The rows of a statement, its errors classified. */
  select(sql: string, params: ReadonlyArray<unknown>): Effect.Effect<ReadonlyArray<Row>, Failure> {
    return rows(this.submit(asIs, "execute", sql, params, false), undefined)
  }

  /**
   * `select` for a statement that takes an advisory lock, which the caller releases himself at the transaction's end: the
   * session is as before then, and is not thrown away for it.
   */
  lock(sql: string, params: ReadonlyArray<unknown>): ReturnType<Session["select"]> {
    return rows(this.submit(asIs, "execute", sql, params, false, true), undefined)
  }

  /** How many rows a statement matched, and the id that it generated. A failure that the caller `absorbs` is no failed write. */
  write(
    sql: string,
    params: ReadonlyArray<unknown>,
    absorbs?: (failure: MysqlError.MysqlError) => boolean
  ): Effect.Effect<OkPacket, Failure> {
    return this.submit(asIs, "execute", sql, params, false, false, undefined, absorbs) as Effect.Effect<
      OkPacket,
      Failure
    >
  }

  /**
   * `write` for a statement that is often the first of its transaction: then BEGIN and `text`, the statement with its values
   * in it, are sent in one packet.
   */
  writeFirst(
    sql: string,
    params: ReadonlyArray<unknown>,
    text: (params: ReadonlyArray<unknown>) => string
  ): Effect.Effect<OkPacket, Failure> {
    return this.submit(asIs, "execute", sql, params, false, false, text) as Effect.Effect<OkPacket, Failure>
  }

  /** Opens the transaction with the first statement that is sent: one that sends none costs no round trip. */
  beginLater(begin: Begin): void {
    this.unsent = begin
    this.phase = { _tag: "Open", transaction: true }
  }

  /** Whether the server has been told of the transaction. */
  get hasBegun(): boolean {
    return this.unsent === undefined
  }

  /**
   * A statement that opens or ends the transaction: never cancelled, waited for within a bound. A bound that passes
   * leaves the connection in doubt, so it is destroyed. `sent` is false when the connection was known to be closed.
   */
  control(sql: string, boundMillis: number): Effect.Effect<OkPacket, ControlFailure> {
    return Effect.async<OkPacket, ControlFailure>((resume) => {
      const job: Job = {
        state: "queued",
        start: () => {
          const bound = setTimeout(() => {
            this.abandon(new Error(`No answer to ${sql} within ${boundMillis} ms`))
            answer(
              Object.assign(new Error("No answer in time"), { code: "PROTOCOL_SEQUENCE_TIMEOUT", fatal: true }),
              null
            )
          }, boundMillis)
          const answer = this.settleOnce(job, (error, results) => {
            clearTimeout(bound)
            if (error === null) return resume(Effect.succeed(lastOk(results)!))
            const lost = driver.isConnectionLost(error)
            if (lost) this.lose(error)
            resume(Effect.fail({ error: MysqlError.fromDriver(error, sql), lost, sent }))
          })
          let sent = true
          if (this.phase._tag === "Lost") {
            sent = false
            return answer(this.phase.cause, null)
          }
          // mysql2 refuses at once, within this call, when it knows that the connection is closed.
          let refused = true
          this.raw.query({ sql }, (error, results) => {
            sent = !refused
            answer(error, results)
          })
          refused = false
        }
      }
      this.enqueue(job)
    })
  }

  /** Takes the kill that may have come late and asks whether the transaction is still open. Never fails. */
  probe(then: () => void): void {
    if (this.phase._tag === "Lost") return then()
    this.raw.query({ sql: "DO 0" }, (error: unknown, results: unknown) => {
      if (error !== null) {
        // 1317 is the late kill itself: it is spent now, and the statement that it hit was only this one.
        if ((error as { errno?: number }).errno === 1317) return this.probe(then)
        this.lose(error)
      } else {
        this.watch(results, "ended-by-server")
      }
      then()
    })
  }

  /** From here on, statements of fibers that outlived their scope are refused. */
  end(): void {
    this.ended = true
    // A stream that somebody has left open: its rows are of no use any more.
    if (this.active?.cursor === undefined) return
    this.active.cursor.finish(this.outlived)
    this.cancel(this.active, () => {}, streamMillis)
  }

  /** Kills what another fiber still runs, so that ROLLBACK does not wait behind it. */
  readonly interruptRunning: Effect.Effect<void> = Effect.async<void>((resume) => {
    if (this.active === undefined) return resume(Effect.void)
    this.cancel(this.active, () => resume(Effect.void))
  })

  /** The connection is gone: it never goes back to the pool. */
  readonly lose = (cause: unknown): void => {
    if (this.phase._tag === "Lost") return
    this.phase = { _tag: "Lost", cause }
    this.raw.destroy()
    // mysql2 tells the connection, and not a statement whose rows are streamed.
    const streaming = this.active
    if (streaming?.cursor !== undefined) {
      streaming.cursor.finish(failed(
        MysqlError.isMysqlError(cause)
          ? cause
          : MysqlError.fromDriver(
            Object.assign(new Error("The connection was given up"), { code: "PROTOCOL_CONNECTION_LOST" })
          )
      ))
      this.settle(streaming)
    }
    this.onLost?.(cause)
  }

  /** The connection says by itself that it is gone. */
  private readonly fell = (error: unknown): void => this.lose(MysqlError.fromDriver(error))

  /** The connection is in doubt: it is thrown away, and the server is told to end the session behind it. */
  abandon(cause: unknown): void {
    if (this.phase._tag === "Lost") return
    this.lose(cause)
    this.canceller.kill("CONNECTION", this.connectionId, this.reservedAt, () => {})
  }

  /**
   * Before the connection goes back: whether it is thrown away instead. It goes back clean or not at all, so one whose
   * session state a statement may have changed is thrown away too.
   */
  detach(): boolean {
    if (this.soiled && this.phase._tag !== "Lost") this.lose(new Error("The session's state was changed"))
    if (this.phase._tag === "Lost") return true
    this.raw.off("error", this.fell)
    return false
  }

  doom(reason: MysqlError.TransactionAborted["reason"], cause?: unknown): void {
    if (this.phase._tag !== "Open") return
    this.phase = { _tag: "Doomed", reason, cause }
    if (reason === "implicit-commit") this.writes.committed(0)
  }

  // -------------------------------------------------------------------------------------------------------------------
  // internal
  // -------------------------------------------------------------------------------------------------------------------

  private submit<E>(
    wrap: (failure: Failure) => E,
    method: Method,
    sql: string,
    values: ReadonlyArray<unknown>,
    rowsAsArray: boolean,
    leavesSessionAsItWas = false,
    text?: (values: ReadonlyArray<unknown>) => string,
    absorbs?: (failure: MysqlError.MysqlError) => boolean
  ): Effect.Effect<unknown, E> {
    return Effect.async<unknown, E>((resume) => {
      const job: Job = {
        state: "queued",
        start: () => {
          const refusal = this.refusal(sql)
          if (refusal !== undefined) {
            this.settle(job)
            return resume(Effect.mapError(refusal, wrap))
          }
          if (!leavesSessionAsItWas && changesSession.test(sql)) this.soiled = true
          this.prepare(job)
          const told = Writes.of(sql)
          const began = told === undefined ? 0 : performance.now()
          const answered: Answer = (error, results) => {
            if (told !== undefined) {
              const well = error === null || absorbs?.(MysqlError.fromDriver(error)) === true
              this.tell(told, (performance.now() - began) / 1000, well)
            }
            // Whoever asked has been interrupted, and the connection thrown away.
            if (job.state === "settled") return
            if (error === null) {
              this.watch(results, "implicit-commit")
              if (beginsAnother.test(sql)) this.doom("implicit-commit")
              resume(Effect.succeed(results))
              return this.settle(job)
            }
            this.explain(job, sql, error, (failure) => {
              if (job.state === "settled") return
              resume(
                this.phase._tag !== "Open" && toSavepoint.test(sql) ? Effect.succeed([]) : Effect.fail(wrap(failure))
              )
              this.settle(job)
            })
          }
          const send = () => {
            try {
              const { comment } = this
              const sent = { sql: comment === undefined ? sql : sql + comment, values, rowsAsArray }
              ;(this.raw as unknown as Record<Method, (options: object, answer: Answer) => void>)[method](
                sent,
                comment === undefined ? answered : (error, results) => {
                  // Its text does not come again.
                  this.raw.unprepare(sent as never)
                  answered(error, results)
                }
              )
            } catch (error) {
              // mysql2 throws at a value that it cannot bind: nothing was sent, and the next one has its turn.
              answered(error, undefined)
            }
          }
          const begin = this.unsent
          if (begin === undefined) return send()
          if (text !== undefined) return this.sendBegin(begin, text(values) + (this.comment ?? ""), answered)
          this.sendBegin(begin, undefined, (error, results) => {
            if (error !== null) answered(error, results)
            else if (job.cancelled === true) this.settle(job)
            else send()
          })
        }
      }
      this.enqueue(job)
      return Effect.async<void>((done) => this.cancel(job, () => done(Effect.void)))
    })
  }

  /** Before a statement is sent. */
  private prepare(job: Job): void {
    if (this.blockers !== undefined) job.watch = this.blockers.watch(this.connectionId)
  }

  /** What the failure of a statement is, and what it means for the transaction. */
  private explain(job: Job, sql: string, error: unknown, then: (failure: MysqlError.MysqlError) => void): void {
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
    } else if (failure._tag === "ConnectionLost") this.lose(failure)
    else if (mayEndTransaction(failure)) return this.probe(() => then(failure))
    then(failure)
  }

  /** Sends a statement whose rows go into a cursor as they come. */
  private stream(
    sql: string,
    values: ReadonlyArray<unknown>
  ): { readonly job: Job; readonly cursor: Cursor<Row, SqlError> } {
    const cursor = new Cursor<Row, SqlError>(this.raw)
    const finish = (end?: Effect.Effect<never, Option.Option<SqlError>>) => {
      if (job.state === "settled") return
      cursor.finish(end)
      this.settle(job)
    }
    const fail = (error: unknown) => this.explain(job, sql, error, (failure) => finish(failed(failure)))
    const send = () => {
      let failure: unknown
      try {
        this.raw.query({ sql: sql + (this.comment ?? ""), values: values as Array<unknown> })
          .on("result", (row) => isOk(row) ? this.watch(row, "implicit-commit") : cursor.push(row as Row))
          .on("error", (error) => {
            failure = error
          })
          .on("end", () => failure === undefined ? finish() : fail(failure))
      } catch (error) {
        fail(error)
      }
    }
    const job: Job = {
      state: "queued",
      cursor,
      start: () => {
        const refusal = this.refusal(sql)
        if (refusal !== undefined) {
          return finish(Effect.matchEffect(refusal, { onFailure: failed, onSuccess: () => Effect.fail(Option.none()) }))
        }
        if (changesSession.test(sql)) this.soiled = true
        this.prepare(job)
        if (this.unsent === undefined) return send()
        this.sendBegin(this.unsent, undefined, (error) => {
          if (error !== null) fail(error)
          else if (job.cancelled === true) finish()
          else send()
        })
      }
    }
    this.enqueue(job)
    return { job, cursor }
  }

  /** BEGIN, and a statement in the same packet where there is one; without it a failure is BEGIN's own. */
  private sendBegin(begin: Begin, statement: string | undefined, answer: Answer): void {
    this.unsent = undefined
    let answered = false
    const done: Answer = (error, results) => {
      if (answered) return
      answered = true
      clearTimeout(bound)
      if (error === null) return answer(null, statement === undefined ? results : lastOk(results))
      const lost = driver.isConnectionLost(error)
      if (statement !== undefined && !lost) return answer(error, null)
      const failure = this.beginFailure = MysqlError.fromDriver(error, begin.sql)
      if (lost) this.lose(failure)
      else this.doom("ended-by-server", failure)
      answer(failure, null)
    }
    const bound = setTimeout(() => {
      this.abandon(new Error(`No answer to ${begin.sql} within ${begin.boundMillis} ms`))
      done(Object.assign(new Error("No answer in time"), { code: "PROTOCOL_SEQUENCE_TIMEOUT", fatal: true }), null)
    }, Math.min(longestMillis, begin.boundMillis + (statement === undefined ? 0 : begin.lockWaitMillis)))
    this.raw.query({ sql: statement === undefined ? begin.sql : `${begin.sql}; ${statement}` }, done)
  }

  /** For the metrics of writes: only outside of a transaction is a statement its own commit. */
  private tell(told: Writes.Told, seconds: number, success: boolean): void {
    if (!success) Writes.failed(told, seconds)
    else if (this.phase._tag === "Open" && !this.phase.transaction) Writes.succeeded(told, seconds)
    else this.writes.add(told, seconds)
  }

  private enqueue(job: Job): void {
    if (this.active === undefined) {
      this.active = job
      job.state = "running"
      job.start()
    } else {
      this.queue.push(job)
      this.active.cursor?.readRest()
    }
  }

  private settle(job: Job): void {
    job.state = "settled"
    job.watch?.stop()
    if (this.active !== job) return
    const next = this.queue.shift()
    this.active = next
    if (next !== undefined) {
      next.state = "running"
      next.start()
    }
  }

  private settleOnce(job: Job, answer: Answer): Answer {
    return (error, results) => {
      if (job.state === "settled") return
      answer(error, results)
      this.settle(job)
    }
  }

  /**
   * Ends a statement whose fiber has been interrupted. Its own answer may come at any time and goes nowhere. The guard
   * takes the turn after it and keeps it until the kill has been answered too and its effect is spent.
   */
  private cancel(job: Job, done: () => void, boundMillis = cancelMillis): void {
    if (job.state === "settled") return done()
    if (job.state === "queued") {
      this.queue.splice(this.queue.indexOf(job), 1)
      return done()
    }
    job.cancelled = true
    job.cursor?.discard()
    let unanswered = 2
    let finished = false
    const answered = () => {
      if (--unanswered === 0 && !finished) this.probe(finish)
    }
    const guard: Job = { state: "queued", start: answered }
    const finish = () => {
      if (finished) return
      finished = true
      clearTimeout(bound)
      // Only after a bound that passed is it still the job's turn.
      this.settle(job)
      this.settle(guard)
      done()
    }
    const bound = setTimeout(() => {
      this.abandon(new Error(`A cancelled statement did not end within ${boundMillis} ms`))
      finish()
    }, boundMillis)
    this.queue.unshift(guard)
    this.canceller.kill("QUERY", this.connectionId, this.reservedAt, (acted) => {
      // Without the kill nothing ends the statement: the bound will pass, there is no use in waiting for it.
      if (!acted && !finished) {
        this.abandon(new Error("KILL QUERY could not be sent"))
        finish()
      } else answered()
    })
  }

  private refusal(sql: string): Effect.Effect<unknown, MysqlError.TransactionAborted> | undefined {
    const phase: Phase = this.ended ? { _tag: "Idle" } : this.phase
    switch (phase._tag) {
      case "Open":
        return undefined
      case "Doomed":
      case "Lost": {
        // A nested sql.withTransaction treats a failure to go back to its savepoint as a defect; there is nothing left
        // to undo, and the error that ended the transaction must reach the outermost one.
        if (toSavepoint.test(sql)) return Effect.succeed([])
        return Effect.fail(
          new MysqlError.TransactionAborted({
            reason: phase._tag === "Lost" ? "connection-lost" : phase.reason,
            connectionId: this.connectionId,
            statement: sql,
            cause: phase.cause
          })
        )
      }
      default:
        return this.outlived
    }
  }

  private get outlived(): Effect.Effect<never> {
    return Effect.dieMessage(
      `A statement was run on a transaction whose scope is closed (connection ${this.connectionId}). ` +
        "A fiber that outlives Transaction.run needs a transaction of its own."
    )
  }

  /** The tripwire: an OK packet without the in-transaction bit, while we believe that one is open. */
  private watch(results: unknown, reason: MysqlError.TransactionAborted["reason"]): void {
    if (this.phase._tag !== "Open" || !this.phase.transaction) return
    const ok = lastOk(results)
    if (ok !== undefined && (ok.serverStatus & inTransaction) === 0) this.doom(reason)
  }
}

/** How a transaction is opened that begins with its first statement. */
export interface Begin {
  readonly sql: string
  /** How long its answer is waited for. */
  readonly boundMillis: number
  /** How much longer when a statement that may wait for a lock goes with it. */
  readonly lockWaitMillis: number
}

export interface ControlFailure {
  readonly error: MysqlError.MysqlError
  /** The connection is gone. */
  readonly lost: boolean
  /** Whether the statement may have reached the server. */
  readonly sent: boolean
}

const toSavepoint = /^ROLLBACK TO /i

/** Statements that end the transaction and begin another, which the tripwire takes for ours. */
const beginsAnother = /^\s*(?:BEGIN|START\s+TRANSACTION|(?:COMMIT|ROLLBACK)\b.*\bCHAIN)\b/i

/** Errors of the statement alone, which leave the transaction as it is: not worth a question to the server. */
const mayEndTransaction = (error: MysqlError.MysqlError): boolean =>
  error._tag === "LockWaitTimeout" || error._tag === "StatementFailed" || error._tag === "ReadOnlyServer"

const isOk = (u: unknown): u is OkPacket =>
  Predicate.isObject(u) && u.constructor !== undefined && u.constructor.name === "ResultSetHeader"

/** Statements after which the session differs from one that is fresh from the pool, whatever becomes of the transaction. */
const changesSession = /^\s*(?:SET|USE|LOCK|PREPARE|HANDLER|CREATE\s+TEMPORARY)\b|\bGET_LOCK\s*\(|@\w+\s*:=|\bINTO\s+@/i

/** The OK packet of a statement, or of the last one where there were several. A result set has none. */
const lastOk = (results: unknown): OkPacket | undefined => {
  const last = Array.isArray(results) ? results[results.length - 1] : results
  return isOk(last) ? last : undefined
}

/** For the modules of this package, and for @effect/sql, whose `Connection` fails with `SqlError` alone. */
const asIs = (failure: Failure): Failure => failure
const asSqlError = (failure: Failure): SqlError => new SqlError({ cause: failure, message: failure.message })

/** The end of a stream that fails. */
const failed = (failure: Failure): Effect.Effect<never, Option.Option<SqlError>> =>
  Effect.fail(Option.some(asSqlError(failure)))

const rows = <E>(
  results: Effect.Effect<unknown, E>,
  transformRows: TransformRows
): Effect.Effect<ReadonlyArray<any>, E> =>
  Effect.map(results, (_) => {
    const array: ReadonlyArray<any> = Array.isArray(_) ? _ : []
    return transformRows === undefined ? array : transformRows(array)
  })

/** The mysql2 connection below a `Connection` of @effect/sql-mysql2, whose class keeps it in `conn`. */
export const make = (
  client: MysqlClient,
  connection: Connection,
  canceller: Canceller.Canceller
): Effect.Effect<Session> => {
  const raw = (connection as { readonly conn?: PoolConnection }).conn
  return raw === undefined || typeof raw.destroy !== "function" || typeof raw.threadId !== "number"
    ? Effect.dieMessage(
      `SafeSync needs the MysqlClient of @effect/sql-mysql2, and this one (${client.constructor.name}) hides its connection`
    )
    : Effect.succeed(new Session(raw, canceller))
}
