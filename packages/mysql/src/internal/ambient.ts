/**
 * The transaction that an effect runs in, by its context.
 *
 * @internal
 */
import * as Client from "@effect/sql/SqlClient"
import * as Context from "effect/Context"
import type { State } from "./lifecycle.js"
import * as ownStatements from "./ownStatements.js"

/** Of the tag `Transaction`. */
export const key = "@safesync/mysql/Transaction"

/** Of the context around a transaction's body that is inside a transaction of another client. */
export const aroundKey = "@safesync/mysql/Transaction/around"

export const around = (context: Context.Context<never>): Context.Context<never> | undefined =>
  context.unsafeMap.get(aroundKey)

/** The same context outside of any transaction. */
export const outside = (context: Context.Context<never>): Context.Context<never> => {
  const services = new Map<string, unknown>(context.unsafeMap)
  for (const name of [key, aroundKey, Client.TransactionConnection.key]) services.delete(name)
  return Context.unsafeMake(services)
}

/**
 * Whose transaction is open for a client: ours, or one of `sql.withTransaction`, whose client does not show. That of a fiber that
 * has outlived it is none.
 */
export const open = (context: Context.Context<never>, client: Client.SqlClient): "ours" | "theirs" | undefined => {
  const own: State | undefined = context.unsafeMap.get(key)
  if (own !== undefined && !own.session.isOver && ownStatements.isSameClient(own.client, client)) return "ours"
  const connection: readonly [unknown, number] | undefined = context.unsafeMap.get(Client.TransactionConnection.key)
  if (connection !== undefined && connection[0] !== own?.session) return "theirs"
  const outer = around(context)
  return outer === undefined ? undefined : open(outer, client)
}
