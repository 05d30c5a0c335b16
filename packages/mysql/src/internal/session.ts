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
import * as driver from "./driverError.js"
import * as duration from "./duration.js"
import * as inlined from "./inlined.js"
import { Link } from "./link.js"
import * as literals from "./literals.js"
import { Nesting, type Opened, type Place } from "./nesting.js"
import * as own from "./own.js"
import type { OwnStatements } from "./ownStatements.js"
import * as phase from "./phase.js"
import { type Row, RowStream } from "./rowStream.js"
import { lastOk, type OkPacket } from "./statements.js"
import { type Absorbs, asIs, asSqlError, type Failure, type Statement, Submission } from "./submission.js"
import { Job } from "./turns.js"

type TransformRows = (<A extends object>(row: ReadonlyArray<A>) => ReadonlyArray<A>) | undefined

export class Session extends Link implements Connection {
  /** The statements of the client whose transaction this is, where they can be told from another's. */
  own: OwnStatements | undefined = undefined
  readonly nesting = new Nesting(this)

  // -------------------------------------------------------------------------------------------------------------------
  // Connection
  // -------------------------------------------------------------------------------------------------------------------

  execute(sql: string, params: ReadonlyArray<unknown>, transformRows: TransformRows) {
    return rows(this.plain({ sql, values: params }), transformRows)
  }
  executeRaw(sql: string, params: ReadonlyArray<unknown>) {
    return this.plain({ sql, values: params })
  }
  executeValues(sql: string, params: ReadonlyArray<unknown>) {
    return rows(this.plain({ sql, values: params, rowsAsArray: true }), undefined)
  }
  executeUnprepared(sql: string, params: ReadonlyArray<unknown>, transformRows: TransformRows) {
    const nested = this.own?.has(params) === true ? null : ofNestedTransaction.exec(sql)
    return nested === null
      ? rows(this.plain({ sql, values: params, unprepared: true }), transformRows)
      : rows(this.nested(sql, nested[1]!, nested[2]!, Number(nested[3])), undefined)
  }
  executeStream(
    sql: string,
    params: ReadonlyArray<unknown>,
    transformRows: TransformRows
  ): Stream.Stream<any, SqlError> {
    return Stream.fromPull(
      Effect.map(
        Effect.acquireRelease(
          Effect.suspend(() => {
            const refusal = this.isForeign(params) ? phase.foreign(this.connectionId) : this.refusal()
            if (refusal !== undefined) return refusal
            const stream = new RowStream(this, sql, params)
            this.turns.take(stream)
            return Effect.succeed(stream)
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
  lock(
    sql: string,
    params: ReadonlyArray<unknown>,
    text: string,
    how: "bound" | "as text"
  ): ReturnType<Session["ask"]> {
    const statement: Statement = how === "bound"
      ? { sql, values: params, text: () => text, isOwn: true, keepsSession: true }
      : { sql, values: [], packet: text, isOwn: true, keepsSession: true }
    return rows(this.submit(asIs, statement), undefined)
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

  /** `ask` for a statement that is sent as text: its number of values is seldom the same. */
  askAsText(sql: string, params: ReadonlyArray<unknown>): ReturnType<Session["ask"]> {
    return rows(this.submit(asIs, { sql, values: [], packet: own.text(sql, params), isOwn: true }), undefined)
  }

  /**
   * `write` for a statement that is its own COMMIT, on a connection that holds a lock; sent as text. It is never killed, since a server
   * that waits for space for its binary log ends with a session that is killed in its COMMIT: its connection is closed when the answer
   * does not come within the bound, or when its fiber is interrupted.
   */
  commit(sql: string, params: ReadonlyArray<unknown>, boundMillis: number): Effect.Effect<OkPacket, Failure> {
    return Effect.async<unknown, Failure>((resume) => {
      const bound = duration.later(
        () => this.lose(new Error(`No answer to ${sql} within ${boundMillis} ms`), driver.noAnswer()),
        boundMillis
      )
      const statement: Statement = { sql, values: [], packet: own.text(sql, params), isOwn: true }
      const job = new Submission(this, statement, asIs, (result) => {
        clearTimeout(bound)
        resume(result)
      })
      this.turns.take(job)
      return Effect.sync(() => {
        clearTimeout(bound)
        if (job.state !== "settled") this.lose(new Error(`The answer to ${sql} is not waited for`))
      })
    }) as Effect.Effect<OkPacket, Failure>
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

  /**
   * A statement of this package's own that is sent as `text`, its values in it: one whose number of values differs from call to call
   * would be prepared anew for each number, and takes 65,535 at most. `sql` is what errors show.
   */
  unprepared(sql: string, text: string): Effect.Effect<unknown, Failure> {
    return this.submit(asIs, { sql, values: [], packet: text, isOwn: true })
  }

  /** The answers to statements on the caller's tables that are sent in one packet, rows of theirs as `Cells`. */
  together(...statements: readonly [literals.Statement, ...Array<literals.Statement>]): Effect.Effect<any, Failure> {
    const packet = statements.map(({ sql, values }) => literals.inText(this.raw, sql, values)).join("; ")
    const answers = this.submit(asIs, { sql: statements[0].sql, values: [], packet, isOwn: true })
    return statements.length === 1 ? Effect.map(answers, (answer) => [answer]) : answers
  }

  /** Sets a savepoint, whose body runs in its `place`. This and `leave` are not interrupted, and waited for within a bound. */
  enter(name: string, boundMillis: number): Effect.Effect<Opened & { readonly place: Place }, Failure> {
    return Effect.suspend(() =>
      this.refusal() ?? this.set(this.nesting.enter(name), this.mark(`SAVEPOINT ${name}`, boundMillis))
    )
  }

  /** Ends it. */
  leave(opened: Opened, how: "RELEASE" | "ROLLBACK TO", boundMillis: number): Effect.Effect<unknown, Failure> {
    const undo = how === "ROLLBACK TO"
    return Effect.suspend(() =>
      this.nesting.leave(opened, undo) || !this.takes
        ? this.mark(`${how} SAVEPOINT ${opened.name}`, boundMillis)
        : undo && opened.undone
        ? Effect.void
        : this.leftBefore(undo)
    )
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

  /** Whether the fiber that runs is outside of the savepoint that is open, or in one that is not open any more. */
  get isMisplaced(): boolean {
    return this.nesting.used && this.phase._tag === "Open" && !this.nesting.isInnermost()
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

  /** A statement of @effect/sql. */
  private plain(statement: Statement): Effect.Effect<unknown, SqlError> {
    return this.isForeign(statement.values) ? phase.foreign(this.connectionId) : this.submit(asSqlError, statement)
  }

  private submit<E>(wrap: (failure: Failure) => E, statement: Statement): Effect.Effect<unknown, E> {
    return Effect.async<unknown, E>((resume) => {
      const refusal = this.refusal()
      return refusal === undefined ? this.send(statement, wrap, resume) : resume(refusal)
    })
  }

  private send<E>(
    statement: Statement,
    wrap: (failure: Failure) => E,
    resume: (result: Effect.Effect<unknown, E>) => void
  ): Effect.Effect<void> {
    const job = new Submission(this, statement, wrap, resume)
    this.turns.take(job)
    return this.cancel(job)
  }

  private mark(sql: string, boundMillis: number): Effect.Effect<unknown, Failure> {
    return Effect.async((resume) => {
      if (this.accepts !== "all") return resume(phase.outlived(this.connectionId))
      this.turns.take(new Submission(this, { sql, values: [], unprepared: true }, asIs, resume).within(boundMillis))
    })
  }

  /**
   * A nested `sql.withTransaction` sends this from around its body. It goes back to its savepoint also where that could not be set, and
   * might then find one of the same name that is another fiber's.
   */
  private nested(sql: string, how: string, name: string, depth: number): Effect.Effect<unknown, SqlError> {
    const sent = Effect.async<unknown, SqlError>((resume) =>
      this.accepts === "all"
        ? this.send({ sql, values: [], unprepared: true }, asSqlError, resume)
        : resume(phase.outlived(this.connectionId))
    )
    return Effect.suspend(() => {
      if (how === "SAVEPOINT") {
        const set = this.refusal() ?? this.set(this.nesting.enterNested(name, depth), sent)
        return Effect.tapErrorCause(set, () => Effect.sync(() => this.nesting.notSet()))
      }
      const left = this.nesting.leaveNested(name)
      return left === "was never set"
        ? Effect.void
        : left === "was not open" && this.takes
        ? this.leftBefore(true)
        : sent
    })
  }

  private set<A extends Opened, E>(opened: A, sent: Effect.Effect<unknown, E>): Effect.Effect<A, E> {
    return Effect.matchCauseEffect(sent, {
      onFailure: (cause) => {
        this.nesting.leave(opened, true)
        return Effect.failCause(cause)
      },
      onSuccess: () => {
        opened.begun = true
        return Effect.succeed(opened)
      }
    })
  }

  /** A savepoint that ends after the one around it: what was to be undone is part of that one now. */
  private leftBefore(toBeUndone: boolean): Effect.Effect<never> {
    if (toBeUndone) this.doom("savepoint-lost")
    return phase.misplaced(this.connectionId)
  }

  private get takes(): boolean {
    return this.accepts === "all" && this.phase._tag === "Open"
  }

  /** Why the fiber that runs must not send a statement. A transaction that is over says so itself. */
  private refusal(): Effect.Effect<never> | undefined {
    return this.accepts !== "all"
      ? phase.outlived(this.connectionId)
      : this.isMisplaced
      ? phase.misplaced(this.connectionId)
      : undefined
  }

  private isForeign(values: ReadonlyArray<unknown>): boolean {
    return this.own !== undefined && !this.own.has(values)
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

/** The statements of @effect/sql about the savepoints of a `withTransaction` inside another. */
const ofNestedTransaction = /^(SAVEPOINT|ROLLBACK TO SAVEPOINT) (effect_sql_(\d+))$/

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
