/**
 * The metrics of the writes of one session, and its savepoints. What a statement of a transaction has written counts when
 * the transaction has ended, as what it came to: until COMMIT is answered nothing is written.
 *
 * @internal
 */
import type * as MetricLabel from "effect/MetricLabel"
import * as MysqlMetrics from "../MysqlMetrics.js"
import { parse, type Statement } from "./statementLabel.js"

type Labels = ReadonlyArray<MetricLabel.MetricLabel>

interface Write {
  readonly _tag: "Write"
  readonly success: Labels
  readonly error: Labels
  readonly latency: Labels
}

export type Told = Write | Exclude<Statement, { readonly _tag: "Write" }>

/** What the metrics need to know of a statement. */
export const describe = (sql: string): Told | undefined => {
  const statement = parse(sql)
  if (statement?._tag !== "Write") return statement
  const [table, operation] = [MysqlMetrics.tableLabel(statement.table), statement.operation]
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
  private savepoints: Array<readonly [name: string, length: number, back: (() => void) | undefined]> | undefined
  /** Called at a savepoint: what it returns is called when the transaction goes back to that one, whoever sends it there. */
  mark: (() => () => void) | undefined

  /** A statement of an open transaction has succeeded. */
  add(told: Told, seconds: number): void {
    switch (told._tag) {
      case "Write":
        this.written.push(told)
        this.took.push(seconds)
        return
      case "Savepoint":
        ;(this.savepoints ??= []).push([told.name, this.written.length, this.mark?.()])
        return
      case "RollbackTo": {
        const { savepoints } = this
        const at = savepoints?.findLastIndex(([name]) => name === told.name) ?? -1
        if (savepoints === undefined || at < 0) return
        savepoints.length = at + 1
        const [, length, back] = savepoints[at]!
        back?.()
        this.undoneFrom(length)
      }
    }
  }

  /** COMMIT was answered, and took so long; or the server has committed by itself. */
  committed(seconds: number): void {
    for (let i = 0; i < this.written.length; i++) {
      const write = this.written[i]!
      MysqlMetrics.writes.unsafeUpdate(1, write.success)
      MysqlMetrics.writeLatency.unsafeUpdate(this.took[i]! + seconds, write.latency)
    }
    this.forget(0)
    this.savepoints = undefined
  }

  /** ROLLBACK, a lost connection, or a COMMIT without an answer. */
  undone(): void {
    this.undoneFrom(0)
    this.savepoints = undefined
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
export const succeeded = (told: Told, seconds: number): void => {
  if (told._tag !== "Write") return
  MysqlMetrics.writes.unsafeUpdate(1, told.success)
  MysqlMetrics.writeLatency.unsafeUpdate(seconds, told.latency)
}

/** The statement itself failed, or was interrupted. */
export const failed = (told: Told, seconds: number): void => {
  if (told._tag !== "Write") return
  MysqlMetrics.writes.unsafeUpdate(1, told.error)
  MysqlMetrics.writeLatency.unsafeUpdate(seconds, told.latency)
}
