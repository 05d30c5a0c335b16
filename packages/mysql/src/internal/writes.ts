/**
 * The metrics of the writes of one session. What a statement of a transaction has written counts when
 * the transaction has ended, as what it came to: until COMMIT is answered nothing is written.
 *
 * @internal
 */
import type * as MetricLabel from "effect/MetricLabel"
import * as MysqlMetrics from "../MysqlMetrics.js"
import * as identifier from "./identifier.js"
import type { Mark } from "./savepoints.js"
import { parse, type Statement } from "./statementLabel.js"

type Labels = ReadonlyArray<MetricLabel.MetricLabel>

interface Write {
  readonly _tag: "Write"
  readonly success: Labels
  readonly error: Labels
  readonly latency: Labels
}

export type Told = Write | Exclude<Statement, { readonly _tag: "Write" }>

/** The metrics' view of a statement. Writes to this package's own tables are none of the application's. */
export const describe = (sql: string): Told | undefined => {
  const statement = parse(sql)
  if (statement?._tag !== "Write") return statement
  if (statement.table.startsWith("safesync_")) return undefined
  const [table, operation] = [MysqlMetrics.tableLabel(identifier.quoted(statement.table)), statement.operation]
  const latency = MysqlMetrics.labels({ table, op_type: operation })
  return {
    _tag: "Write",
    success: MysqlMetrics.labels({ table, op_type: operation, status: "success" }),
    error: MysqlMetrics.labels({ table, op_type: operation, status: "error" }),
    latency
  }
}

export class Writes {
  private written: Array<Write> = []
  /** How long each of them took, in seconds. */
  private took: Array<number> = []

  /** One of an open transaction has succeeded. */
  add(write: Write, seconds: number): void {
    this.written.push(write)
    this.took.push(seconds)
  }

  /** A savepoint: what has been written since then is undone when the transaction goes back to it. */
  readonly mark: Mark = () => {
    const { length } = this.written
    return () => this.undoneFrom(length)
  }

  /** COMMIT was answered, and took so long; or the server has committed by itself. */
  committed(seconds: number): void {
    for (let i = 0; i < this.written.length; i++) succeeded(this.written[i]!, this.took[i]! + seconds)
    this.forget(0)
  }

  /** ROLLBACK, a lost connection, or a COMMIT without an answer. */
  undone(): void {
    this.undoneFrom(0)
  }

  private undoneFrom(index: number): void {
    for (let i = index; i < this.written.length; i++) failed(this.written[i]!, this.took[i]!)
    this.forget(index)
  }

  private forget(from: number): void {
    this.written.length = from
    this.took.length = from
  }
}

/** A write that stands for itself, outside of a transaction. */
export const succeeded = (write: Write, seconds: number): void => {
  MysqlMetrics.writes.unsafeUpdate(1, write.success)
  MysqlMetrics.writeLatency.unsafeUpdate(seconds, write.latency)
}

/** The statement itself failed, or was interrupted. */
export const failed = (write: Write, seconds: number): void => {
  MysqlMetrics.writes.unsafeUpdate(1, write.error)
  MysqlMetrics.writeLatency.unsafeUpdate(seconds, write.latency)
}
