/**
 * A statement that opens or ends the transaction: never cancelled, waited for within a bound from its turn on. A bound that
 * passes leaves the connection in doubt, so it is destroyed.
 *
 * @internal
 */
import * as Effect from "effect/Effect"
import * as MysqlError from "../MysqlError.js"
import * as driver from "./driverError.js"
import * as duration from "./duration.js"
import type { Link } from "./link.js"
import * as own from "./own.js"
import type { Phase } from "./phase.js"
import { Job } from "./turns.js"

export interface ControlFailure {
  readonly error: MysqlError.MysqlError
  /** The connection is gone. */
  readonly lost: boolean
  /** Whether the statement may have reached the server; it has not when the connection was known to be closed. */
  readonly sent: boolean
}

export class Control extends Job {
  private bound: NodeJS.Timeout | undefined = undefined
  private sent = true

  constructor(
    private readonly link: Link,
    private readonly resume: (result: Effect.Effect<unknown, ControlFailure>) => void,
    private readonly sql: string,
    private readonly boundMillis: number,
    /** The phase that its success leads to. */
    private readonly leadsTo: Phase | undefined,
    /** The text that an error shows. */
    private readonly told = sql
  ) {
    super()
  }

  start(): void {
    const { boundMillis, link, sql } = this
    this.awaiting = this.answered
    if (link.phase._tag === "Lost") {
      this.sent = false
      return this.answer(link.phase.cause, undefined)
    }
    this.bound = duration.later(
      () => link.abandon(new Error(`No answer to ${sql} within ${boundMillis} ms`), driver.noAnswer()),
      boundMillis
    )
    // mysql2 refuses at once, within this call, when it knows that the connection is closed.
    let refused = true
    own.send(link.raw, { ...own.asCells, sql }, (error, results) => {
      if (refused) this.sent = false
      this.answer(error, results)
    })
    refused = false
  }

  private answered(error: unknown, results: unknown): void {
    const { link, sent } = this
    clearTimeout(this.bound)
    if (error === null) {
      if (this.leadsTo !== undefined) link.phase = this.leadsTo
      this.resume(Effect.succeed(results))
    } else {
      const lost = driver.isConnectionLost(error)
      if (lost) link.lose(error)
      this.resume(Effect.fail({ error: MysqlError.fromDriver(error, this.told), lost, sent }))
    }
    link.turns.settle(this)
  }
}
