/**
 * One reserved connection, from the moment it leaves the pool to the moment it goes back or is thrown away.
 *
 * It is the decorator around @effect/sql's `Connection`: every plain `sql` statement of the scope comes through `submit`,
 * which knows all about order, cancelling, doom and errors; nobody else does.
 *
 * @internal
 */
import type { Connection } from "@effect/sql/SqlConnection"
import type { SqlError } from "@effect/sql/SqlError"
import * as Chunk from "effect/Chunk"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Stream from "effect/Stream"
import type { Begin } from "./begin.js"
import * as cancelling from "./cancelling.js"
import { Control, type ControlFailure } from "./control.js"
import * as inlined from "./inlined.js"
import { Link } from "./link.js"
import * as literals from "./literals.js"
import * as own from "./own.js"
import * as phase from "./phase.js"
import { type Row, RowStream } from "./rowStream.js"
import { lastOk, type OkPacket } from "./statements.js"
import { type Absorbs, asIs, asSqlError, type Failure, type Statement, Submission } from "./submission.js"
import { Job } from "./turns.js"

type TransformRows = (<A extends object>(row: ReadonlyArray<A>) => ReadonlyArray<A>) | undefined

export class Session extends Link implements Connection {
  // -------------------------------------------------------------------------------------------------------------------
  // Connection
  // -------------------------------------------------------------------------------------------------------------------

  execute(sql: string, params: ReadonlyArray<unknown>, transformRows: TransformRows) {
    return rows(this.submit(asSqlError, { sql, values: params }), transformRows)
  }
  executeRaw(sql: string, params: ReadonlyArray<unknown>) {
    return this.submit(asSqlError, { sql, values: params })
  }
  executeValues(sql: string, params: ReadonlyArray<unknown>) {
    return rows(this.submit(asSqlError, { sql, values: params, rowsAsArray: true }), undefined)
  }
  executeUnprepared(sql: string, params: ReadonlyArray<unknown>, transformRows: TransformRows) {
    return rows(this.submit(asSqlError, { sql, values: params, unprepared: true }), transformRows)
  }
  executeStream(
    sql: string,
    params: ReadonlyArray<unknown>,
    transformRows: TransformRows
  ): Stream.Stream<any, SqlError> {
    return Stream.fromPull(
      Effect.map(
        Effect.acquireRelease(
          Effect.sync(() => {
            const stream = new RowStream(this, sql, params)
            this.turns.take(stream)
            return stream
          }),
          (stream, exit) =>
            this.cancel(stream, Exit.isInterrupted(exit) ? cancelling.cancelMillis : cancelling.streamMillis)
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

  /**
   * The rows of a statement that only reads the caller's tables, as the driver gives them, and compares its values with columns; its
   * errors classified. Where it is the transaction's first, it travels with BEGIN in one packet if it can.
   */
  select(sql: string, params: ReadonlyArray<unknown>): Effect.Effect<ReadonlyArray<Row>, Failure> {
    // Casts are written for the text that rows come as without parameters: of a bound statement's numbers they make nothing.
    const casts = this.raw.config.typeCast !== true
    const packet = casts ? literals.inText(this.raw, sql, params) : literals.whereNeeded(this.raw, sql, params)
    return rows(this.submit(asIs, { sql, values: params, text: inlined.text, byColumn: true, packet }), undefined)
  }

  /**
   * The answer to a statement of this package's own, whose values are numbers and bytes. Where it is the transaction's first, it
   * travels with BEGIN in one packet.
   */
  ask(sql: string, params: ReadonlyArray<unknown>): Effect.Effect<ReadonlyArray<own.Cells>, Failure> {
    return rows(this.submit(asIs, { sql, values: params, text: own.text, isOwn: true }), undefined)
  }

  /**
   * `ask` for a statement that takes an advisory lock, which the caller releases himself at the transaction's end: the
   * session is as before then, and is not thrown away for it. `text` has its values in it.
   */
  lock(sql: string, text: string): ReturnType<Session["ask"]> {
    return rows(this.submit(asIs, { sql, values: [], packet: text, isOwn: true, keepsSession: true }), undefined)
  }

  /** `write` for the caller's tables. A failure that the caller `absorbs` is no failed write. */
  change(sql: string, params: ReadonlyArray<unknown>, absorbs?: Absorbs): Effect.Effect<OkPacket, Failure> {
    const packet = literals.whereNeeded(this.raw, sql, params)
    return this.submit(asIs, { sql, values: params, absorbs, packet }) as Effect.Effect<OkPacket, Failure>
  }

  /** How many rows a statement of this package's own matched, and the id that it generated. */
  write(sql: string, params: ReadonlyArray<unknown>): Effect.Effect<OkPacket, Failure> {
    return this.submit(asIs, { sql, values: params, isOwn: true }) as Effect.Effect<OkPacket, Failure>
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
    const statement: Statement = { sql, values: params, text: (_, values) => text(values), isOwn: true }
    return this.submit(asIs, statement) as Effect.Effect<OkPacket, Failure>
  }

  /** The answers to statements on the caller's tables that are sent in one packet, rows of theirs as `Cells`. */
  together(...statements: readonly [literals.Statement, ...Array<literals.Statement>]): Effect.Effect<any, Failure> {
    const packet = statements.map(({ sql, values }) => literals.inText(this.raw, sql, values)).join("; ")
    const answers = this.submit(asIs, { sql: statements[0].sql, values: [], packet, isOwn: true })
    return statements.length === 1 ? Effect.map(answers, (answer) => [answer]) : answers
  }

  /** A statement that concerns a savepoint: not interrupted, and waited for within a bound. */
  mark(sql: string, boundMillis: number): Effect.Effect<unknown, Failure> {
    return Effect.async((resume) => {
      if (this.accepts !== "all") return resume(phase.outlived(this.connectionId))
      this.turns.take(new Submission(this, { sql, values: [], unprepared: true }, asIs, resume).within(boundMillis))
    })
  }

  /** A statement that opens or ends the transaction. */
  control(
    sql: string,
    boundMillis: number,
    leadsTo?: phase.Phase | undefined
  ): Effect.Effect<OkPacket, ControlFailure> {
    return Effect.map(
      Effect.async<unknown, ControlFailure>((resume) =>
        this.turns.take(new Control(this, resume, sql, boundMillis, leadsTo))
      ),
      (results) => lastOk(results)!
    )
  }

  /** A whole transaction in one packet, with the answers to its statements. It is cancelled with its fiber; `told` is what an error shows. */
  whole(sql: string, boundMillis: number, told: string): Effect.Effect<ReadonlyArray<unknown>, ControlFailure> {
    return Effect.async<unknown, ControlFailure>((resume) => {
      const job = new Control(this, resume, sql, boundMillis, phase.idle, told)
      this.turns.take(job)
      return this.cancel(job)
    }) as Effect.Effect<ReadonlyArray<unknown>, ControlFailure>
  }

  /** Opens the transaction with the first statement that is sent: one that sends none costs no round trip. */
  beginLater(begin: Begin): void {
    this.unsent = begin
    this.phase = phase.open
  }

  /** Whether the server has been told of the transaction. */
  get hasBegun(): boolean {
    return this.unsent === undefined
  }

  /** Whether the body has ended. */
  get isOver(): boolean {
    return this.accepts !== "all"
  }

  /** Whether a statement runs. */
  get isBusy(): boolean {
    return this.turns.active !== undefined
  }

  /** Waits until everything that has been submitted so far is answered. */
  quiet(): Effect.Effect<void> {
    return Effect.async<void>((resume) => {
      const turn = new Turn(this, () => resume(Effect.void))
      this.turns.take(turn)
      return Effect.sync(() => this.turns.leave(turn))
    })
  }

  /**
   * The body has ended: from here on no statement is taken. One that was there before is sent if the transaction may still
   * be committed, and refused if it is rolled back.
   */
  end(accepts: "those that wait" | "none"): void {
    this.accepts = accepts
    const stream = this.turns.active
    // A stream that somebody has left open: its rows are of no use any more.
    if (stream?.cursor === undefined) return
    stream.cursor.finish(phase.outlived(this.connectionId))
    cancelling.cancel(this, stream, () => {}, cancelling.streamMillis)
  }

  /** Kills what another fiber still runs, so that it is not waited for. Without hurry it has some seconds to end in. */
  interruptRunning(inHurry: boolean): Effect.Effect<void> {
    const { active } = this.turns
    return active === undefined
      ? Effect.void
      : this.cancel(active, inHurry ? cancelling.cancelMillis : cancelling.streamMillis)
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

  // -------------------------------------------------------------------------------------------------------------------
  // internal
  // -------------------------------------------------------------------------------------------------------------------

  private submit<E>(wrap: (failure: Failure) => E, statement: Statement): Effect.Effect<unknown, E> {
    return Effect.async<unknown, E>((resume) => {
      if (this.accepts !== "all") return resume(phase.outlived(this.connectionId))
      const job = new Submission(this, statement, wrap, resume)
      this.turns.take(job)
      return this.cancel(job)
    })
  }

  private cancel(job: Job, boundMillis?: number): Effect.Effect<void> {
    return Effect.async<void>((resume) =>
      cancelling.cancel(
        this,
        job,
        (problem) =>
          resume(
            problem === undefined
              ? Effect.void
              : Effect.logWarning(`${problem}: connection ${this.connectionId} is discarded`)
          ),
        boundMillis
      )
    )
  }
}

// internal

/** A turn in which nothing is sent. */
class Turn extends Job {
  constructor(private readonly session: Session, private readonly come: () => void) {
    super()
  }

  start(): void {
    this.session.turns.settle(this)
    this.come()
  }
}

const rows = <E>(
  results: Effect.Effect<unknown, E>,
  transformRows: TransformRows
): Effect.Effect<ReadonlyArray<any>, E> =>
  Effect.map(results, (_) => {
    const array: ReadonlyArray<any> = Array.isArray(_) ? _ : []
    return transformRows === undefined ? array : transformRows(array)
  })
