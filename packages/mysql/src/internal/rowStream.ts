/**
 * A streamed result: it has its turn until its last row has been read, as the protocol wants it. The consumer sets the pace
 * as long as nobody else waits; once another statement does, the rest is read into memory, so that a consumer who writes to
 * the same transaction is not waited for by himself. A stream that ends early is cancelled.
 *
 * @internal
 */
import type { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as MysqlError from "../MysqlError.js"
import * as Begin from "./begin.js"
import { Cursor } from "./cursor.js"
import type { Link } from "./link.js"
import * as packetSize from "./packetSize.js"
import * as phase from "./phase.js"
import * as statements from "./statements.js"
import { asSqlError } from "./submission.js"
import { Job } from "./turns.js"

export type Row = Record<string, unknown>

export class RowStream extends Job {
  override readonly cursor: Cursor<Row, SqlError>

  constructor(
    private readonly link: Link,
    private readonly sql: string,
    private readonly values: ReadonlyArray<unknown>
  ) {
    super()
    this.cursor = new Cursor<Row, SqlError>(link.raw)
  }

  start(): void {
    const { link, sql } = this
    // One that only now had its turn would be read by nobody.
    if (link.accepts !== "all" || link.phase._tag === "Idle") return this.finish(phase.outlived(link.connectionId))
    if (link.phase._tag !== "Open") return this.fail(phase.aborted(link.phase, link.connectionId, sql))
    const size = packetSize.of({ sql, values: this.values, unprepared: true })
    if (size <= packetSize.small) return this.begin()
    packetSize.check(link.raw, this, size, {
      fits: () => this.cancelled ? this.finish() : this.begin(),
      tooLarge: (limit) => this.fail(MysqlError.tooLarge(size, limit, sql)),
      failed: (error) => this.explain(error)
    })
  }

  private begin(): void {
    const { link, sql } = this
    if (statements.facts(sql).changesSession) link.soiled = true
    if (link.blockers !== undefined) this.watch = link.blockers.watch(link.connectionId)
    if (link.unsent === undefined) return this.send()
    Begin.send(link, this, link.unsent, undefined, {}, (error) => {
      if (error !== null) this.explain(error)
      else if (this.cancelled) this.finish()
      else this.send()
    })
  }

  private send(): void {
    const { link } = this
    this.awaiting = this.answered
    let failure: unknown = null
    try {
      link.raw.query({ sql: this.sql + (link.comment ?? ""), values: this.values as Array<unknown> })
        .on(
          "result",
          (row) => statements.isOk(row) ? link.observe(row, "implicit-commit") : this.cursor.push(row as Row)
        )
        .on("error", (error) => {
          failure = error
        })
        .on("end", () => this.answer(failure, undefined))
    } catch (error) {
      this.answer(error, undefined)
    }
  }

  private answered(error: unknown): void {
    if (error !== null) this.explain(error)
    else if (statements.facts(this.sql).mayCommit) {
      this.link.askWhetherOpen(this, "implicit-commit", () => this.finish())
    } else this.finish()
  }

  private explain(error: unknown): void {
    this.link.explain(this, this.sql, error, (failure) => this.fail(failure))
  }

  private fail(failure: MysqlError.MysqlError | MysqlError.TransactionAborted): void {
    this.finish(Effect.fail(Option.some(asSqlError(failure))))
  }

  private finish(end?: Effect.Effect<never, Option.Option<SqlError>>): void {
    this.cursor.finish(end)
    this.link.turns.settle(this)
  }
}
