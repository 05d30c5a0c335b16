/**
 * Which statements are a client's own.
 *
 * @effect/sql has one tag for the open transactions of all clients, so whichever client a statement is of, it comes to the session
 * that is open. Of all that it carries there, only its array of values is the client's: its compiler has made it. So the compiler
 * notes what it makes.
 *
 * @internal
 */
import type { SqlClient } from "@effect/sql/SqlClient"
import * as Statement from "@effect/sql/Statement"
import { identity } from "effect/Function"

export interface OwnStatements {
  readonly has: (values: ReadonlyArray<unknown>) => boolean
}

/** Whether two are one: the copies of a client, such as that without transforms, share its pool. */
export const isSameClient = (one: SqlClient, other: SqlClient): boolean => one.reserve === other.reserve

/** None where the client's statements do not show how they are compiled: then they are not told apart. */
export const of = (client: SqlClient): OwnStatements | undefined => {
  let known = clients.get(client.reserve)
  if (known === undefined) clients.set(client.reserve, known = watch(client))
  return known.own
}

// internal

interface Watched {
  readonly own: OwnStatements | undefined
}

const clients = new WeakMap<SqlClient["reserve"], Watched>()

/** @effect/sql's class has these, its interface does not. */
type Made = Partial<{
  readonly acquirer: Parameters<typeof Statement.make>[0]
  readonly compiler: Statement.Compiler
  readonly spanAttributes: Parameters<typeof Statement.make>[2]
}>

const watch = (client: SqlClient): Watched => {
  const { acquirer, compiler, spanAttributes } = client.unsafe("") as Made
  if (acquirer === undefined || compiler === undefined || spanAttributes === undefined) return { own: undefined }
  // A client and its copy without transforms have one acquirer, and a compiler each: `make` answers with the client that there is.
  const copies = [client, client.withoutTransforms(), Statement.make(acquirer, compiler, spanAttributes, identity)]
  const own = new WeakSet<object>()
  new Set(copies.map((copy) => (copy.unsafe("") as Made).compiler ?? compiler)).forEach((each) => note(each, own))
  return { own }
}

const note = (compiler: Statement.Compiler, own: WeakSet<object>): void => {
  const { compile } = compiler
  Object.assign(compiler, {
    compile(this: Statement.Compiler, ...args: Parameters<typeof compile>) {
      const compiled = compile.apply(this, args)
      own.add(compiled[1])
      return compiled
    }
  })
}
