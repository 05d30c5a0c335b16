/**
 * A connection beside the pool that is there when it is needed: opened by the first question, shared by those that follow,
 * closed after ten idle seconds. It never keeps the process alive.
 *
 * @internal
 */
import type { MysqlClientConfig } from "@effect/sql-mysql2/MysqlClient"
import type * as Mysql from "mysql2"
import * as sideConnection from "./sideConnection.js"

const idleMillis = 10_000

/** A question that is not answered by then is not answered, and the connection is not asked again. */
const answerMillis = 2_000

export interface LastingConnection {
  /** Calls back with the rows, or with nothing when the question was not answered. */
  readonly ask: (
    sql: string,
    values: ReadonlyArray<unknown>,
    done: (rows: ReadonlyArray<Readonly<Record<string, unknown>>> | undefined) => void
  ) => void
}

export const make = (config: MysqlClientConfig): LastingConnection => {
  let connection: Mysql.Connection | undefined
  let idle: NodeJS.Timeout | undefined
  let waiting = 0

  const forget = (which: Mysql.Connection) => {
    if (connection === which) connection = undefined
    which.destroy()
  }

  const open = (): Mysql.Connection => {
    const made = connection = sideConnection.open(config)
    made.on("error", () => forget(made))
    made.on("connect", () => {
      // @ts-expect-error: the socket is not in mysql2's types
      made.stream?.unref?.()
    })
    return made
  }

  return {
    ask(sql, values, done) {
      clearTimeout(idle)
      waiting++
      const used = connection ?? open()
      used.query({ sql, values: values as Array<unknown>, timeout: answerMillis }, (error, rows) => {
        // The driver's own errors are of the connection, those of the server of the question alone.
        if (error !== null && error.errno === undefined) forget(used)
        if (--waiting === 0) {
          idle = setTimeout(() => connection === used && forget(used), idleMillis)
          idle.unref()
        }
        done(error === null && Array.isArray(rows) ? rows as Array<Record<string, unknown>> : undefined)
      })
    }
  }
}
