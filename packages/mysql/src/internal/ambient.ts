/**
 * The transaction that an effect runs in, by its context.
 *
 * @internal
 */
import * as Client from "@effect/sql/SqlClient"
import type * as Context from "effect/Context"
import type { State } from "./lifecycle.js"

/** Of the tag `Transaction`. */
export const key = "@safesync/mysql/Transaction"

/** Whose transaction is open: ours, or one of `sql.withTransaction`. That of a fiber that has outlived it is none. */
export const open = (context: Context.Context<never>): "ours" | "theirs" | undefined => {
  const own: State | undefined = context.unsafeMap.get(key)
  if (own !== undefined && !own.session.isOver) return "ours"
  const connection: readonly [unknown, number] | undefined = context.unsafeMap.get(Client.TransactionConnection.key)
  return connection !== undefined && connection[0] !== own?.session ? "theirs" : undefined
}
