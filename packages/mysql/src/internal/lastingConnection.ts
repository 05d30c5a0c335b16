/**
 * A connection beside the pool that is there when it is needed: opened by the first question, shared by those that follow
 * (mysql2 sends one after another), closed after ten idle seconds. It never keeps the process alive.
 *
 * @internal
 */
import type { MysqlClient, MysqlClientConfig } from "@effect/sql-mysql2/MysqlClient"
import type * as Mysql from "mysql2"
import * as driver from "./driverError.js"
import * as duration from "./duration.js"
import { askAgainMillis, ServerStart, uptime } from "./serverStart.js"
import * as sideConnection from "./sideConnection.js"

type Rows = ReadonlyArray<sideConnection.Row>

export interface LastingConnection {
  /** Calls back with the rows, or with the error and no rows when the question was not answered. */
  readonly ask: (
    sql: string,
    values: ReadonlyArray<unknown>,
    done: (rows: Rows | undefined, error: unknown) => void
  ) => void
  /**
   * `ask`, of the server that was there at `since`, a moment by `performance.now()`. Calls back with no rows and no error when
   * the server behind the connection was started later. `proof` is a question that only that server answers with a row; it is asked
   * where the times do not tell.
   */
  readonly askThatOf: (
    since: number,
    proof: string | undefined,
    sql: string,
    done: (rows: Rows | undefined, error: unknown) => void
  ) => void
}

export interface Times {
  /** A connection of which nobody has asked anything for so long is closed. */
  readonly idleMillis: number
  /** A question that is not answered by then is not answered, and the connection is not asked again. */
  readonly answerMillis: number
}

const known = new WeakMap<MysqlClient, LastingConnection>()

/** The one of a client for what must be answered while the pool is exhausted: `KILL`, and questions about silent connections. */
export const of = (client: MysqlClient): LastingConnection => {
  let found = known.get(client)
  if (found === undefined) known.set(client, found = make(client.config))
  return found
}

export const make = (
  config: MysqlClientConfig,
  { answerMillis, idleMillis }: Times = { idleMillis: 10_000, answerMillis: 2_000 }
): LastingConnection => {
  let side: Side | undefined
  let idle: NodeJS.Timeout | undefined
  let waiting = 0

  const forget = (which: Side, error: unknown) => {
    if (side === which) side = undefined
    sideConnection.destroy(which.connection)
    // mysql2 tells nobody who waits on a connection that is thrown away.
    for (const fail of which.unanswered) fail(error)
  }

  const open = (): Side => {
    const connection = sideConnection.open(config, (error) => error === null || forget(made, error))
    const made: Side = side = { connection, start: new ServerStart(), unanswered: new Set() }
    connection.on("error", (error) => forget(made, error))
    connection.on("connect", () => {
      // @ts-expect-error: the socket is not in mysql2's types
      connection.stream?.unref?.()
    })
    return made
  }

  const query = (
    used: Side,
    sql: string,
    values: ReadonlyArray<unknown>,
    then: (error: unknown, rows: Rows) => void
  ) => {
    const answered = (error: unknown, rows: Rows) => {
      if (!used.unanswered.delete(fail)) return
      clearTimeout(bound)
      // The driver's own errors are of the connection, those of the server of the question alone.
      if (error !== null && (error as { errno?: unknown }).errno === undefined) forget(used, error)
      then(error, rows)
    }
    const fail = (error: unknown) => answered(error, [])
    const bound = duration.later(() => forget(used, driver.noAnswer()), answerMillis)
    bound.unref()
    used.unanswered.add(fail)
    sideConnection.ask(used.connection, sql, values, answered)
  }

  /** Whether the server is the one that was there; an error when it could not be asked. */
  const wasThere = (
    used: Side,
    since: number,
    proof: string | undefined,
    then: (error: unknown, same: boolean) => void
  ): void => {
    const same = used.start.wasThere(since)
    if (typeof same === "boolean") return then(null, same)
    if (proof !== undefined) {
      return query(used, proof, [], (error, rows) => {
        if (error === null && rows.length === 0) return wasThere(used, since, undefined, then)
        then(error, error === null)
      })
    }
    if (same === "unclear") return then(null, false)
    query(used, uptime, [], (error, rows) => {
      if (error !== null) return then(error, false)
      used.start.observe(rows)
      if (used.start.wasThere(since) !== undefined) wasThere(used, since, undefined, then)
      else duration.later(() => wasThere(used, since, undefined, then), askAgainMillis).unref()
    })
  }

  const take = (): Side => {
    clearTimeout(idle)
    waiting++
    return side ?? open()
  }

  const giveBack = () => {
    if (--waiting > 0) return
    idle = duration.later(() => side !== undefined && forget(side, driver.givenUp()), idleMillis)
    idle.unref()
  }

  return {
    ask(sql, values, done) {
      query(take(), sql, values, (error, rows) => {
        giveBack()
        done(error === null ? rows : undefined, error)
      })
    },
    askThatOf(since, proof, sql, done) {
      const used = take()
      wasThere(used, since, proof, (error, same) => {
        if (error === null && same) {
          return query(used, sql, [], (error, rows) => {
            giveBack()
            done(error === null ? rows : undefined, error)
          })
        }
        giveBack()
        done(undefined, error)
      })
    }
  }
}

// internal

interface Side {
  readonly connection: Mysql.Connection
  readonly start: ServerStart
  readonly unanswered: Set<(error: unknown) => void>
}
