/**
 * One statement on its way: from its turn to its answer.
 *
 * @internal
 */
import { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"
import * as MysqlError from "../MysqlError.js"
import * as Begin from "./begin.js"
import * as driver from "./driverError.js"
import * as duration from "./duration.js"
import * as inlined from "./inlined.js"
import type { Link } from "./link.js"
import * as own from "./own.js"
import * as packetSize from "./packetSize.js"
import * as phase from "./phase.js"
import * as statements from "./statements.js"
import { type Answer, Job } from "./turns.js"
import * as Writes from "./writes.js"

export type Failure = MysqlError.MysqlError | MysqlError.TransactionAborted

/** For the modules of this package, and for @effect/sql, whose `Connection` fails with `SqlError` alone. */
export const asIs = (failure: Failure): Failure => failure
export const asSqlError = (failure: Failure): SqlError => new SqlError({ cause: failure, message: failure.message })

/** mysql2's two ways to send, as they are called here. */
type Driver = Record<"execute" | "query", (options: object, answer: Answer) => unknown>

export type Absorbs = (failure: MysqlError.MysqlError) => boolean

/** What is submitted. */
export interface Statement {
  readonly sql: string
  readonly values: ReadonlyArray<unknown>
  /** Sent as text, its values in it as the driver writes them. */
  readonly unprepared?: boolean
  readonly rowsAsArray?: boolean
  /** It is this package's own: its rows are `Cells`. */
  readonly isOwn?: boolean
  /** Its rows are by column, whatever the pool says. */
  readonly byColumn?: boolean
  /** Sent in place of the statement: the same with its values in it, and what else it asks for in the same packet. */
  readonly packet?: string | undefined
  /** It leaves the session as it was, though its text does not look so. */
  readonly keepsSession?: boolean
  /** Gives the statement with its values in it, if it is worth sending in one packet with BEGIN. */
  readonly text?: ((sql: string, values: ReadonlyArray<unknown>) => string | undefined) | undefined
  /** Says of a failure whether it is no failed write. */
  readonly absorbs?: Absorbs | undefined
}

export class Submission<E> extends Job {
  private facts: statements.Facts | undefined = undefined
  private sentAt = 0
  private bound: NodeJS.Timeout | undefined = undefined

  constructor(
    private readonly link: Link,
    private readonly statement: Statement,
    private readonly wrap: (failure: Failure) => E,
    private readonly resume: (result: Effect.Effect<unknown, E>) => void
  ) {
    super()
  }

  /** Not waited for any longer than this, its place in the queue included: then the connection is thrown away. */
  within(millis: number): this {
    this.bound = duration.later(() => {
      this.link.abandon(new Error(`No answer to ${this.statement.sql} within ${millis} ms`), driver.noAnswer())
    }, millis)
    return this
  }

  start(): void {
    const { link, statement: { sql } } = this
    const facts = this.facts = statements.facts(sql)
    if (link.phase._tag !== "Open" || link.accepts === "none") return this.refuse(facts)
    const size = packetSize.of(this.statement)
    if (size <= packetSize.small) return this.begin(facts, false)
    packetSize.check(link.raw, this, size, {
      fits: () => this.cancelled ? this.end() : this.begin(facts, true),
      tooLarge: (limit) => {
        if (facts.told !== undefined) this.tell(facts.told, false)
        this.resume(Effect.fail(this.wrap(MysqlError.tooLarge(size, limit, sql))))
        this.end()
      },
      failed: (error) => this.answered(error, undefined)
    })
  }

  private begin(facts: statements.Facts, isLarge: boolean): void {
    const { link, statement: { keepsSession, sql } } = this
    if (facts.changesSession && keepsSession !== true) link.soiled = true
    if (link.blockers !== undefined) this.watch = link.blockers.watch(link.connectionId)
    if (facts.told !== undefined) this.sentAt = performance.now()
    const begin = link.unsent
    if (begin === undefined) return this.send()
    const { isOwn = false, packet } = this.statement
    const text = packet ??
      (isLarge || facts.binaryOnly || !isOwn && !inlined.leavesAsIs(link.raw) ? undefined : this.inlined(facts))
    if (text !== undefined) {
      return Begin.send(link, this, begin, text + (link.comment ?? ""), this.reading(), (error, results, fields) => {
        if (
          error !== null || !Array.isArray(results) || isOwn || packet !== undefined ||
          inlined.readsTheSame(fields) && inlined.answersTheSame(link.raw, sql, fields)
        ) {
          return this.answered(error, results)
        }
        // Only once for this statement: it is read again, as it would be anywhere else in a transaction.
        facts.binaryOnly = true
        if (this.cancelled) this.end()
        else this.send()
      })
    }
    Begin.send(link, this, begin, undefined, {}, (error, results) => {
      if (error !== null) this.answered(error, results)
      else if (this.cancelled) this.end()
      else this.send()
    })
  }

  /** With its values in it, if that means the same. */
  private inlined(facts: statements.Facts): string | undefined {
    const { sql, text, values } = this.statement
    return text !== undefined
      ? text(sql, values)
      : this.isInlinable(facts)
      ? inlined.learntText(this.link.raw, sql, values)
      : undefined
  }

  private isInlinable(facts: statements.Facts): boolean {
    const { isOwn, rowsAsArray, unprepared } = this.statement
    return isOwn !== true && facts.mayBeInlined && !facts.changesSession && unprepared !== true && rowsAsArray !== true
  }

  private reading(isBound = false): object {
    const { byColumn, isOwn, rowsAsArray = false } = this.statement
    if (isOwn === true) return isBound ? own.asBoundCells : own.asCells
    return byColumn === true ? { rowsAsArray, nestTables: false } : { rowsAsArray }
  }

  private send(): void {
    const { comment = "", raw } = this.link
    const { packet, sql, unprepared, values } = this.statement
    this.awaiting = this.answered
    try {
      if (packet !== undefined) {
        own.send(raw, { ...this.reading(), sql: packet + comment }, (error, results) => this.answer(error, results))
        return
      }
      const sent = { ...this.reading(unprepared !== true), sql: sql + comment, values: values as Array<unknown> }
      const command = (raw as unknown as Driver)[unprepared === true ? "query" : "execute"](
        sent,
        (error, results, fields) => {
          // Its text does not come again.
          if (comment !== "") raw.unprepare(sent as never)
          if (error === null && this.isInlinable(this.facts!)) inlined.learn(raw, sql, command, fields)
          this.answer(error, results)
        }
      )
    } catch (error) {
      // mysql2 throws at a value that it cannot bind: nothing was sent, and the next one has its turn.
      this.answer(error, undefined)
    }
  }

  private answered(error: unknown, results: unknown): void {
    const { link, statement: { absorbs, sql } } = this
    const facts = this.facts!
    if (facts.told !== undefined) {
      this.tell(facts.told, error === null || absorbs?.(MysqlError.fromDriver(error)) === true)
    }
    if (error === null) {
      link.observe(results, "implicit-commit")
      if (facts.beginsAnother) link.doom("implicit-commit")
      const succeed = () => {
        this.resume(Effect.succeed(results))
        this.end()
      }
      return facts.mayCommit && statements.lastOk(results) === undefined
        ? link.askWhetherOpen(this, "implicit-commit", succeed)
        : succeed()
    }
    link.explain(this, sql, error, (failure) => {
      // What could not be undone must not be committed.
      if (facts.toSavepoint) link.doom("savepoint-lost", failure)
      this.resume(
        link.phase._tag !== "Open" && facts.toSavepoint ? Effect.succeed([]) : Effect.fail(this.wrap(failure))
      )
      this.end()
    })
  }

  private refuse(facts: statements.Facts): void {
    const { connectionId } = this.link
    const current = this.link.accepts === "none" ? phase.idle : this.link.phase
    this.resume(
      current._tag !== "Doomed" && current._tag !== "Lost"
        ? phase.outlived(connectionId)
        // A nested sql.withTransaction treats a failure to go back to its savepoint as a defect; there is nothing left
        // to undo, and the error that ended the transaction must reach the outermost one.
        : facts.toSavepoint
        ? Effect.succeed([])
        : Effect.fail(this.wrap(phase.aborted(current, connectionId, this.statement.sql)))
    )
    this.end()
  }

  private end(): void {
    clearTimeout(this.bound)
    this.link.turns.settle(this)
  }

  private tell(told: Writes.Told, success: boolean): void {
    const { phase, savepoints, writes } = this.link
    if (told._tag === "Write") {
      const seconds = (performance.now() - this.sentAt) / 1_000
      if (!success) Writes.failed(told, seconds)
      // Only outside of a transaction is a statement its own commit.
      else if (phase._tag === "Open" && !phase.transaction) Writes.succeeded(told, seconds)
      else writes.add(told, seconds)
    } else if (success) {
      if (told._tag === "Savepoint") savepoints.add(told.name)
      else savepoints.goBackTo(told.name)
    }
  }
}
