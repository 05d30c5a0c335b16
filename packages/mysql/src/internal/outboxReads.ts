/**
 * Reading the outbox by bytes as well as by count: a batch of long messages fits neither the memory nor a command of Redis.
 *
 * @internal
 */
import * as Effect from "effect/Effect"
import type { Damaged, Found, Stored } from "../Outbox.js"
import * as outboxTable from "./outboxTable.js"
import type * as own from "./own.js"

/** Runs a statement, whose answer has about so many bytes. */
export type Run<E, R> = <A>(
  sql: string,
  values: ReadonlyArray<unknown>,
  bytes: number,
  one: (row: own.Reader) => A
) => Effect.Effect<ReadonlyArray<A>, E, R>

/**
 * The first messages of these slots, in one statement. Long ones come by a second statement, as many as `mostBytes` allow: until
 * their lengths are known nothing of them has been sent.
 */
export const found = <E, R>(run: Run<E, R>, options: outboxTable.Selection): Effect.Effect<Found, E, R> => {
  const { mostBytes } = outboxTable
  const { sql, values } = outboxTable.select(options, Math.max(1_024, Math.floor(mostBytes / options.limit)))
  return Effect.flatMap(run(sql, values, mostBytes, outboxTable.row), (rows) => {
    let count = 0
    for (let bytes = 0; count < rows.length; count++) {
      bytes += rows[count]!.bytes
      if (count > 0 && bytes > mostBytes) break
    }
    const taken = rows.slice(0, count)
    const more = count < rows.length || rows.length === options.limit
    const long = taken.filter(({ content }) => content === undefined)
    if (long.length === 0) return Effect.succeed({ ...sorted(taken), more })
    return Effect.map(
      run(
        outboxTable.selectContent(long.length),
        long.map(({ head }) => BigInt(head.id)),
        long.reduce((sum, { bytes }) => sum + bytes, 0),
        outboxTable.longContent
      ),
      (contents) => {
        const byId = new Map(contents)
        return { ...sorted(taken.map((row) => ({ ...row, content: row.content ?? byId.get(row.head.id) }))), more }
      }
    )
  })
}

// internal

const sorted = (rows: ReadonlyArray<outboxTable.Row>) => {
  const messages: Array<Stored> = []
  const damaged: Array<Damaged> = []
  for (const { content, head } of rows) {
    // It has been removed between the two statements.
    if (content === undefined) continue
    if ("data" in content) messages.push({ ...head, ...content })
    else damaged.push({ ...head, error: content })
  }
  return { messages, damaged }
}
