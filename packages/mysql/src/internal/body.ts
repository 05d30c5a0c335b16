/**
 * The body of a transaction: what it runs in, and how its result decides between COMMIT and ROLLBACK.
 *
 * @internal
 */
import * as MysqlClient from "@effect/sql-mysql2/MysqlClient"
import * as Client from "@effect/sql/SqlClient"
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as FiberRef from "effect/FiberRef"
import * as Scope from "effect/Scope"
import * as MysqlError from "../MysqlError.js"
import type { Options } from "../Transaction.js"
import type * as TransactionError from "../TransactionError.js"
import * as ambient from "./ambient.js"
import * as lifecycle from "./lifecycle.js"
import * as nesting from "./nesting.js"
import * as tracing from "./tracing.js"

/** `Transaction.run`, without its span. */
export const run = <A, E, R>(
  effect: Effect.Effect<A, E, R>,
  options: Options,
  inTime = false
): Effect.Effect<A, any, any> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.withFiberRuntime((fiber) => {
      const outer = fiber.currentContext
      return Effect.flatMap(
        open(outer, options, restore, "lazily", inTime),
        (transaction) =>
          Effect.flatMap(Scope.make(), (scope) => {
            const end = (result: Exit.Exit<A, E>) =>
              Effect.flatMap(enter(outer), () => close(transaction, restore, scope, result))
            // `Effect.locally` without its bracket, which costs a third of the whole: nothing can come between here.
            return Effect.flatMap(enter(context(outer, transaction, scope)), () =>
              Effect.matchCauseEffect(restore(effect), {
                onFailure: (cause) => end(Exit.failCause(cause)),
                onSuccess: (value) => end(Exit.succeed(value))
              }))
          })
      )
    })
  )

/** The context of the body: one copy, since this is on the path of every transaction. */
export const context = (
  outer: Context.Context<never>,
  transaction: lifecycle.State,
  scope?: Scope.Scope
): Context.Context<never> => {
  const services = new Map<string, unknown>(outer.unsafeMap)
  const other: lifecycle.State | undefined = services.get(ambient.key) as lifecycle.State | undefined
  if (other !== undefined && other !== transaction) services.set(ambient.aroundKey, outer)
  services.set(ambient.key, transaction)
  // An effect that `provide` runs again inside a savepoint of this transaction stays in it.
  services.set(
    Client.TransactionConnection.key,
    nesting.placeOn(outer, transaction.session) ?? [transaction.session, 0]
  )
  if (scope !== undefined) services.set(Scope.Scope.key, scope)
  return Context.unsafeMake(services) as Context.Context<never>
}

/** Takes a connection, unless the client has a transaction open already: that is a defect. */
export const open = (
  outer: Context.Context<never>,
  options: Options,
  restore: lifecycle.Restore,
  when: "at once" | "lazily",
  inTime = false
): Effect.Effect<lifecycle.State, TransactionError.BeginFailed> => {
  const client = Context.get(outer as Context.Context<MysqlClient.MysqlClient>, MysqlClient.MysqlClient)
  const around = ambient.open(outer, client)
  const comment = options.sqlComments === true ? tracing.comment(outer) : undefined
  return around === undefined
    ? lifecycle.open(client, options, restore, when, comment, inTime)
    : Effect.dieMessage(refusals[around])
}

// internal

const enter = (context: Context.Context<never>): Effect.Effect<void> => FiberRef.set(FiberRef.currentContext, context)

/** By what the body came to, and its scope's finalizers. */
const close = <A, E>(
  transaction: lifecycle.State,
  restore: lifecycle.Restore,
  scope: Scope.CloseableScope,
  result: Exit.Exit<A, E>
): Effect.Effect<A, any> =>
  Effect.flatMap(Effect.exit(Scope.close(scope, result)), (closed): Effect.Effect<A, any> => {
    const exit = Exit.zipLeft(result, closed)
    return Exit.isSuccess(exit)
      ? Effect.as(lifecycle.commit(transaction, restore), exit.value)
      : Effect.zipRight(
        lifecycle.rollback(transaction, exit.cause),
        Effect.failCause(
          Cause.map(exit.cause, (error) => lifecycle.beginFailed(transaction, MysqlError.refailError(error)))
        )
      )
  })

const refusals = {
  ours: "A transaction was opened inside another. Use Transaction.savepoint to undo a part of the open one, " +
    "or open the second one outside.",
  theirs: "A SafeSync transaction was opened inside sql.withTransaction. Open it with Transaction.run instead: " +
    "sql.withTransaction inside Transaction.run is a savepoint."
}
